"""Command line: print or write a `model.py`.

    python -m aira_evaluator.lra.baselines transformer > model.py
    python -m aira_evaluator.lra.baselines --genome '{"mixers": ["linear_attention", "gated_recurrence"]}' > model.py

The task and profile are those of the data folder, `./data` by default.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aira_evaluator.lra.baselines.compose import compose
from aira_evaluator.lra.baselines.genome import PRESETS, Genome, GenomeError, read_genome
from aira_evaluator.lra.contract import CONTRACTS, MODULE_FILE
from aira_evaluator.lra.data.splits import DataError, read_manifest
from aira_evaluator.lra.profiles import PROFILES


def model_source(genome: Genome, data: Path) -> str:
    """The `model.py` of a genome for the task and profile whose train split is in `data`.

    Raises:
        DataError: there is no split to read the task from.
        ValueError: the genome has factors, and the task's hyper-parameters are fixed.
    """
    manifest = read_manifest(data / "train")
    profile = PROFILES[manifest.profile, manifest.task]
    return compose(genome, CONTRACTS[manifest.task], profile, configurable=manifest.configurable)


def write_model(plain: Mapping[str, Any], data: Path = Path("data"), output: Path = Path(MODULE_FILE)) -> None:
    """Write the `model.py` of a genome given as plain data.

    Raises:
        DataError: there is no split to read the task from.
        ValueError: the genome has an unknown key or value, or factors where hyper-parameters are fixed.
    """
    output.write_text(model_source(read_genome(plain), data), encoding="ascii")


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a preset's or a genome's `model.py`."""
    parser = argparse.ArgumentParser(prog="python -m aira_evaluator.lra.baselines", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("name", nargs="?", choices=list(PRESETS), default="transformer")
    parser.add_argument("--genome", help="a genome as JSON, in place of a name")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the task's data folder")
    options = parser.parse_args(arguments)
    try:
        genome = read_genome(json.loads(options.genome)) if options.genome else PRESETS[options.name]
        sys.stdout.write(model_source(genome, options.data))
    except (DataError, GenomeError, ValueError, TypeError) as error:
        print(f"baselines: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
