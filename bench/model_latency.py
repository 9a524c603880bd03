"""Latency of blocks and of whole models on one device, and how far the sum of blocks is from the whole.

    python3 bench/model_latency.py --budget-s 170              # on a GPU, at 350M and 1B, 8,192 positions
    python3 bench/model_latency.py --toy                       # on a CPU, at toy size: does it run at all?

Needs a Python with torch, on a GPU with triton: no installation of this project. Prints a line of JSON for each figure
as soon as it is there: the machine, blocks and models as `aira_contract.latency` has them, and `composed` rows, which
`aira-bench scale latency --from FILE` reads past and makes anew. Every row has its own limit of time, and all together
have `--budget-s`. The device's settings are left alone. Exit statuses: 0 all rows had their turn, 2 no device.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("harness", "evaluator", "kernels")]

from aira_bench.scaling.latency import LatencyTable, MissingLatency  # noqa: E402
from aira_contract.latency import MODEL, AskedModel, LatencyRequest, LatencyRow  # noqa: E402
from aira_contract.model_sizes import TOY_SCALE  # noqa: E402
from aira_contract.patterns import read_pattern  # noqa: E402
from aira_contract.presets import find_preset  # noqa: E402
from aira_evaluator.latency.session import Line, measure_all  # noqa: E402

MODELS = ("Llama 3.2", "AIRAhybrid-D (Stretched)", "AIRAformer-D (Stretched)")
TOYS = {"Llama 3.2": "2(A-M)", "AIRAhybrid-D (Stretched)": "2Mb-M-A", "AIRAformer-D (Stretched)": "2A-M"}


def request(arguments: argparse.Namespace) -> LatencyRequest:
    if not arguments.toy:
        models = tuple(
            AskedModel(name, scale, find_preset(name).full_size[scale].written)
            for scale in arguments.scales
            for name in MODELS
        )
        return LatencyRequest(models, rounds=arguments.rounds, budget_s=arguments.budget_s)
    models = tuple(AskedModel(name, TOY_SCALE, pattern) for name, pattern in TOYS.items())
    full = LatencyRequest(models, rounds=arguments.rounds, budget_s=arguments.budget_s)
    return replace(full, length=64, context=64, decode_batches=(1, 4), vocabulary=97, dtype="float32", device="cpu")


class Printer:
    """Prints lines and, behind each whole model, what its parts come to."""

    def __init__(self) -> None:
        self.lines: list[Line] = []

    def __call__(self, line: Line) -> None:
        """Print a line and what follows from it."""
        self.lines.append(line)
        print(line.to_line(), flush=True)
        if isinstance(line, LatencyRow) and line.part == MODEL:
            print(json.dumps({"composed": self._composed(line)}), flush=True)

    def _composed(self, row: LatencyRow) -> dict[str, object]:
        what: dict[str, object] = {
            "name": row.name, "scale": row.scale, "phase": row.phase, "batch": row.batch, "length": row.length,
            "context": row.context, "measured_s": row.median_s,
        }  # fmt: skip
        try:
            found = LatencyTable.of(self.lines).compose(row.name, read_pattern(row.pattern), row.scale, row.case)
        except MissingLatency as error:
            return what | {"why": str(error)}
        return what | {
            "blocks_s": found.blocks_s, "total_s": found.total_s, "low_s": found.low_s, "high_s": found.high_s,
            "difference": found.difference, "cold": found.cold,
        }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget-s", type=float, default=170.0)
    parser.add_argument("--scales", nargs="+", default=["1B", "350M"])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--toy", action="store_true")
    wanted = request(parser.parse_args())
    try:
        measure_all(wanted, Printer())
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
