"""The harness's own time per step against a bare `docker run` of the same image and program.

The step is a solution that writes three bytes. Its critical path reaches from handing it over to having the outcome
and the artifact on disk; preparing the container lies outside, as in a run, where the next container starts while
the agent thinks. Both are timed in turn, so that a busy machine slows both. Prints Markdown; exit status 1 if the
ratio of the medians is above `--at-most`. With `--compare` each repetition also prepares and runs a container on the
ordinary image, and both import torch once: what file trees of their own cost (docs/isolation.md).

    python bench/step_overhead.py --image IMAGE --repeats 30 --compare

Not covered: the time of agents, models and evaluators.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from aira_bench.docker_engine import DockerEngine
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import Artifact, ArtifactRequest, ContainerSpec, Limits
from aira_contract.files import ARCHITECTURE_FILE

SOLUTION = "open('{folder}/submission.csv', 'w').write('mA\\n')"
LIMITS = Limits(memory_mib=256, workspace_mib=64, tmp_mib=64)
IMPORT_LIMITS = Limits(memory_mib=2048, workspace_mib=64, tmp_mib=64)
SUBMISSION = ArtifactRequest(ARCHITECTURE_FILE, 4096)


@dataclass(frozen=True)
class Timing:
    """One repetition, in seconds."""

    prepare_s: float
    step_s: float
    bare_s: float


def time_import(sandbox: DockerSandbox, image: str, destination: Path) -> tuple[float, float]:
    """Seconds of a step that imports torch, and the most memory in MiB that was charged to it."""
    container = sandbox.prepare(ContainerSpec(image, "agent", "bench-step-overhead", IMPORT_LIMITS))
    outcome = container.run(
        ["python3", "-c", "import torch; print(torch.ones(2).sum())"],
        files={}, timeout_s=120, artifacts=[], destination=destination,
    )  # fmt: skip
    container.close()
    sandbox.sweep("bench-step-overhead")
    return outcome.wall_s, outcome.peak_memory_mib or 0.0


def compare(engine: DockerEngine, image: str, repeats: int, destination: Path) -> None:
    """Print preparing, step, import and memory with file trees of their own and without, in turn."""
    with DockerSandbox(engine) as own, DockerSandbox(engine, own_trees=False) as ordinary:
        print(f"isolation: {own.isolation(image, 'agent', gpu=False).word}\n")
        sandboxes = {"own trees": own, "ordinary image": ordinary}
        taken: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in sandboxes}
        for repeat in range(repeats + 1):
            for name, sandbox in sandboxes.items():
                figures = (*time_step(sandbox, image, destination), *time_import(sandbox, image, destination))
                if repeat:  # the first reads the image from disk
                    taken[name].append(figures)
    print("| | prepare ms | step ms | torch import in a step, ms | peak memory MiB |\n|---|---|---|---|---|")
    for name, rows in taken.items():
        prepare_s, step_s, import_s, memory_mib = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"| {name} | {prepare_s * 1000:.0f} | {step_s * 1000:.0f} | {import_s * 1000:.0f} | {memory_mib:.0f} |")
    pairs = zip(taken["own trees"], taken["ordinary image"], strict=True)
    more = [(a[0] - b[0]) * 1000 for a, b in pairs]
    print(f"\nPreparing takes {statistics.median(more):.0f} ms more (median of {repeats} pairs, quartiles "
          f"{', '.join(f'{value:.0f}' for value in statistics.quantiles(more)[::2])}).")  # fmt: skip


def time_step(sandbox: DockerSandbox, image: str, destination: Path) -> tuple[float, float]:
    """Seconds to prepare a container, and of the critical path of a step in it."""
    start_s = time.perf_counter()
    container = sandbox.prepare(ContainerSpec(image, "agent", "bench-step-overhead", LIMITS))
    prepared_s = time.perf_counter()
    outcome = container.run(
        ["python3", "solution.py"],
        files={"solution.py": SOLUTION.format(folder=".").encode()},
        timeout_s=60,
        artifacts=[SUBMISSION],
        destination=destination,
    )
    container.close()
    end_s = time.perf_counter()
    if outcome.exit_code != 0 or not isinstance(outcome.artifacts[SUBMISSION.name], Artifact):
        raise SystemExit(f"the solution did not run: {outcome}")
    sandbox.sweep("bench-step-overhead")  # its removal must not slow the bare run that follows
    return prepared_s - start_s, end_s - prepared_s


def time_bare(image: str) -> float:
    """Seconds of `docker run` with no network and no other option."""
    command = ["docker", "run", "--rm", "--network", "none", image, "python3", "-c", SOLUTION.format(folder="/tmp")]
    start_s = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return time.perf_counter() - start_s


def row(name: str, values_s: list[float]) -> str:
    """Median, 10th and 90th percentile in milliseconds."""
    deciles = [value_s * 1000 for value_s in statistics.quantiles(values_s, n=10)]
    return f"| {name} | {statistics.median(values_s) * 1000:.0f} | {deciles[0]:.0f} | {deciles[-1]:.0f} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--image", required=True, help="tag of a local image with python3, see `aira-bench images list`"
    )
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--at-most", type=float, default=0.5, help="ratio of medians that still passes")
    parser.add_argument("--compare", action="store_true", help="print what file trees of their own cost, and stop")
    options = parser.parse_args()
    engine = DockerEngine.connect()
    if options.compare:
        with tempfile.TemporaryDirectory() as folder:
            compare(engine, options.image, options.repeats, Path(folder))
        return 0
    with DockerSandbox(engine) as sandbox, tempfile.TemporaryDirectory() as folder:
        time_step(sandbox, options.image, Path(folder))  # the first one of each reads the image from disk
        time_bare(options.image)
        timings = []
        for _ in range(options.repeats):
            prepare_s, step_s = time_step(sandbox, options.image, Path(folder))
            timings.append(Timing(prepare_s, step_s, time_bare(options.image)))
    ratio = statistics.median(t.step_s for t in timings) / statistics.median(t.bare_s for t in timings)
    info = engine.info()
    print(f"Docker {info.version}, cgroup v{info.cgroup_version}, {info.cpus} cores, {options.repeats} repetitions.\n")
    print("| | median ms | p10 | p90 |\n|---|---|---|---|")
    print(row("step: hand-over to outcome, artifact on disk", [t.step_s for t in timings]))
    print(row("bare `docker run --rm --network none`", [t.bare_s for t in timings]))
    print(row("preparing a container (off the critical path)", [t.prepare_s for t in timings]))
    print(f"\nRatio of the medians: {ratio:.2f} (at most {options.at_most}).")
    return 0 if ratio <= options.at_most else 1


if __name__ == "__main__":
    sys.exit(main())
