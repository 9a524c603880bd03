"""Builds the `Host` that runs work with: engine, sandbox, hardware and paths of this machine.

Not covered: an engine of others, whose `Host` is put together by whoever has its `Sandbox`.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from aira_bench.docker_engine import connect_engine
from aira_bench.errors import SandboxError
from aira_bench.hardware import Hardware, this_machine
from aira_bench.images.declared import Declared
from aira_bench.images.ensure import ImageSet, ensure_images
from aira_bench.images.stored_trees import freed, prune_trees
from aira_bench.paths import host_paths
from aira_bench.remote_judging.nodes import JudgeNodes
from aira_bench.runs.host import Host
from aira_bench.runs.line import dead_in_line
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.engine_gpus import engine_gpus
from aira_bench.sandbox.walls import named
from aira_bench.tasks.store import sweep_dead
from aira_bench.tasks.transfer import Transfer
from aira_bench.world import SystemWorld


def connect_host(
    runs: Path | None = None,
    runtime: str | None = None,
    note: Callable[[str], None] = lambda text: None,
    transfer: Callable[[Transfer], None] = lambda transfer: None,
    hardware: Hardware | None = None,
    *,
    containers: str | None = None,
    accepted_walls: Sequence[str] = (),
    judge_on: str | None = None,
) -> Host:
    """Connect to the container engine of this machine.

    Args:
        runs: the folder of run folders; None for `AIRA_RUNS`, or `./runs`.
        runtime: Docker runtime of containers that run untrusted code, such as `runsc`; None for the engine's own.
        note: told in a line what happens before a search.
        transfer: told how far a download is.
        hardware: the machine, if the caller has looked at it already.
        containers: the engine, one of `CONTAINERS`; None for `AIRA_CONTAINERS`, or Docker.
        accepted_walls: names of walls whose absence the user accepts (`aira_bench.sandbox.walls`).
        judge_on: other machines that judge (`JudgeNodes.of`); None for this one.

    Raises:
        PrerequisiteError: no engine answers, or it has no such runtime.
        UsageError: there is no such engine or wall, nobody may accept that it is missing, or `judge_on` names nothing.
    """
    accepted, judges = named(accepted_walls), None if judge_on is None else JudgeNodes.of(judge_on)
    engine = connect_engine(containers)
    sandbox = DockerSandbox(engine, runtime=runtime)
    ended = dead_in_line()
    dead = sandbox.sweep_dead()
    for entry in [] if dead.left else ended:
        with contextlib.suppress(OSError):  # another user's: who takes its cores next sweeps once more
            entry.unlink()
    if dead.containers:
        note(f"removed {dead.containers} containers that a crashed process of this machine had left")
    if dead.left:
        note(dead.told)

    with contextlib.suppress(SandboxError):  # house-keeping; what a run needs of the engine it finds out for itself
        if told := freed(prune_trees(engine, sandbox.caretaker)):
            note(told)
    paths = host_paths(runs)
    if left := sweep_dead(paths):
        note(f"removed {left} unfinished folders and files that a crashed process had left in {paths.home}")

    def build(flavour: str, declared: Declared) -> ImageSet:
        note(f"images ({flavour})")
        return ensure_images(flavour, engine, note, declared)

    hardware = this_machine(otherwise=engine_gpus) if hardware is None else hardware
    return Host(paths, sandbox, SystemWorld(), hardware, build, transfer, accepted, judges)
