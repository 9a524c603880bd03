"""What a launcher costs beside the work: the same run in one process, by local workers and on Ray, side by side.

    python bench/launcher_overhead.py --pairs 5
    python bench/launcher_overhead.py --pairs 5 --engines local ray

Each pair is two runs, one after the other, of which the first and the second take turns; both do what users type, from
the start of Python to the board, on a played machine (`tests/played_run.py`) whose steps take no time. A launcher's
cost is the difference of a pair: of one seed of one step, which is its start, and what further seeds and steps add. One
worker, so that nothing runs side by side that did not before.

The bars: 1 s a seed, and 1 % of a step; a real step takes a minute at least. With `ray` a cluster of one node is
started first, as Ray has it for tests. Beside seconds of the clock stand those of the processor, of what the command
and its children did; a worker on Ray is no child of it.

Not covered: containers, Slurm, and file systems of other machines.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))
PLAYED = TESTS / "played_run.py"
SEEDS, STEPS = 10, 40
OPTIONS = {"none": (), "local": ("--engine", "local", "--workers", "1")}
RAY = ("--engine", "ray", "--workers", "1", "--worker-cores", "1")


@dataclass(frozen=True)
class Took:
    """Seconds of one run."""

    wall_s: float
    cpu_s: float

    def __sub__(self, other: "Took") -> "Took":
        return Took(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)


class Desk:
    """Where runs are typed, each under a name of its own."""

    def __init__(self, root: Path, options: dict[str, tuple[str, ...]]) -> None:
        self._root, self._options, self._number = root, options, 0
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRA_")}
        self._variables = kept | {
            "AIRA_HOME": str(root / "home"), "AIRA_RUNS": str(root / "runs"), "AIRA_LEASES": str(root / "cores")
        }  # fmt: skip

    def run(self, engine: str, seeds: int, steps: int) -> Took:
        """Type one run and wait for it."""
        self._number += 1
        command = [
            sys.executable, str(PLAYED), "run", "--agent", "random", "--task", "mad-2p", "--profile", "cpu",
            "--seeds", str(seeds), "--steps", str(steps), "--concurrency", "1", "--no-confirm",
            "--name", f"run-{self._number:03d}", *self._options[engine],
        ]  # fmt: skip
        began_s, before = time.monotonic(), os.times()
        done = subprocess.run(command, env=self._variables, capture_output=True, text=True, check=False, cwd=self._root)
        after = os.times()
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
        return Took(time.monotonic() - began_s, cpu_s)

    def difference(self, engine: str, base: str, seeds: int, steps: int, *, swapped: bool) -> tuple[Took, Took]:
        """How much longer a run took with an engine than with another, and what it took with the other."""
        order = (base, engine) if swapped else (engine, base)
        took = {each: self.run(each, seeds, steps) for each in order}
        return took[engine] - took[base], took[base]


@contextlib.contextmanager
def ray_options() -> Iterator[tuple[str, ...]]:
    """Options of a run on a Ray cluster that is there while the block runs."""
    from launchers.ray_site import ray_site

    with ray_site(nodes=1, cores=2) as site:
        yield (*RAY, "--ray-address", site.address)


def shown(values: list[float], scale: float = 1.0) -> str:
    """Median and range."""
    scaled = sorted(value * scale for value in values)
    return f"{statistics.median(scaled):.2f} ({scaled[0]:.2f} to {scaled[-1]:.2f})"


def compare(desk: Desk, engine: str, base: str, pairs: int) -> None:
    """Print what an engine costs beside another."""

    def more(seeds: int, steps: int) -> list[Took]:
        found = [desk.difference(engine, base, seeds, steps, swapped=bool(pair % 2)) for pair in range(pairs)]
        print(
            f"{engine} beside {base}, {seeds} seeds of {steps} steps, {pairs} pairs: "
            f"{shown([took.wall_s for took, _ in found])} s more, {shown([took.cpu_s for took, _ in found])} s of "
            f"processor; {base} alone {shown([took.wall_s for _, took in found])} s", flush=True,
        )  # fmt: skip
        return [took for took, _ in found]

    one, many, long = more(1, 1), more(SEEDS, 1), more(1, STEPS)
    for what, larger, count in (("seed", many, SEEDS - 1), ("step", long, STEPS - 1)):
        further = [each - start for each, start in zip(larger, one, strict=True)]
        print(
            f"  a further {what}: {shown([each.wall_s for each in further], 1000 / count)} ms, "
            f"{shown([each.cpu_s for each in further], 1000 / count)} ms of processor", flush=True,
        )  # fmt: skip


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--engines", nargs="+", choices=("local", "ray"), default=["local"])
    args = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        options = dict(OPTIONS)
        if "ray" in args.engines:
            options["ray"] = stack.enter_context(ray_options())
        desk = Desk(root, options)
        desk.run("none", 1, 1)  # what a first run makes once
        for engine in args.engines:
            compare(desk, engine, "local" if engine == "ray" else "none", args.pairs)


if __name__ == "__main__":
    main()
