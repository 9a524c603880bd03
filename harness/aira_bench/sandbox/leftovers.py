"""What orchestrators left on an engine, found by its labels and removed.

Each container and volume goes or stays by its own owner: beside what a dead process left of a run, a live one may be
working on the same run already. What cannot be removed now is told by name, and is found again by the next sweep.

Not covered: containers of a live run that are used no more, which the sandbox removes that made them; and unfinished
files on the host (`aira_bench.unfinished`).
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import EngineAway, SandboxError
from aira_bench.sandbox.hardening import OWNER_LABEL, RUN_LABEL
from aira_bench.sandbox.owner import is_another, is_dead, this_process

HANDS = 8
"""Removals at a time: most of one is waiting for the kernel and the engine."""
_LATE_PAUSES_S = (0.2, 1.0, 3.0)
"""A killed orchestrator's last request for a container may be carried out after a sweep has listed what there is."""
_NAMED = 5
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Swept:
    """What a sweep came to."""

    containers: int
    """How many were removed."""
    left: tuple[str, ...] = ()
    """What could not be removed."""
    why: str = ""
    """The first reason."""

    @property
    def told(self) -> str:
        """One line about what is left; empty if nothing is."""
        if not self.left:
            return ""
        more = f" and {len(self.left) - _NAMED} more" if len(self.left) > _NAMED else ""
        return (
            f"{len(self.left)} containers and volumes could not be removed ({', '.join(self.left[:_NAMED])}{more}): "
            f"{self.why} The next run on this machine removes them."
        )


def remove_run(engine: DockerEngine, run_id: str, then: Sequence[Callable[[], None]] = ()) -> Swept:
    """Remove every container and volume labelled `run_id`, except what another live process made.

    Args:
        engine: where they are.
        run_id: the label's value.
        then: called when what could be removed is gone, whether or not all could.

    Raises:
        EngineAway: nobody can say what there is.
    """
    try:
        return _remove(engine, f"{RUN_LABEL}={run_id}", lambda labels: not is_another(labels.get(OWNER_LABEL, "")))
    finally:
        for call in then:
            call()


def remove_dead(engine: DockerEngine) -> Swept:
    """Remove what orchestrators of this machine left that are certainly dead.

    Raises:
        EngineAway: nobody can say what there is.
    """
    return _remove(engine, OWNER_LABEL, lambda labels: is_dead(labels[OWNER_LABEL]))


def remove_owner(engine: DockerEngine, owner: str) -> Swept:
    """Remove what one process made, which somebody knows to be dead; nothing of one that is seen to live.

    Raises:
        EngineAway: nobody can say what there is.
    """
    if owner == this_process() or is_another(owner):
        return Swept(0)
    return _remove(engine, f"{OWNER_LABEL}={owner}", lambda labels: True)


def _remove(engine: DockerEngine, label: str, goes: Callable[[Labels], bool]) -> Swept:
    """Remove all that carries a label and is to go: containers, then the volumes that they no longer use."""
    removed = 0
    with ThreadPoolExecutor(HANDS, thread_name_prefix="sweep") as hands:
        for pause_s in (0.0, *_LATE_PAUSES_S):
            time.sleep(pause_s)
            containers = [item.id for item in engine.containers(label) if goes(item.labels)]
            stuck = _tried(hands, engine.remove_container, containers)
            removed += len(containers) - len(stuck)
            volumes = [name for name, labels in engine.volumes(label).items() if goes(labels)]
            left = stuck | _tried(hands, engine.remove_volume, volumes)
            if stuck or not left:
                break
    return Swept(removed, tuple(left), next(iter(left.values()), ""))


def _tried(hands: ThreadPoolExecutor, remove: Callable[[str], None], names: Iterable[str]) -> dict[str, str]:
    """Remove each; return why those are left that are.

    Raises:
        EngineAway: the engine is gone.
    """

    def tried(name: str) -> tuple[str, str] | None:
        try:
            remove(name)
        except EngineAway:
            raise
        except SandboxError as error:
            return name[:40], error.message
        return None

    return dict(failure for failure in hands.map(tried, names) if failure is not None)
