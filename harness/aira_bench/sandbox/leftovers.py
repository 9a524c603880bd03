"""What orchestrators left on an engine, found by its labels and removed.

Not covered: containers of a live run that are used no more; the sandbox that made them removes those.
"""

import contextlib
import time
from collections.abc import Callable, Sequence

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import SandboxError
from aira_bench.sandbox.hardening import OWNER_LABEL, RUN_LABEL
from aira_bench.sandbox.owner import is_dead

_LATE_PAUSES_S = (0.2, 1.0, 3.0)
"""A killed orchestrator's last request for a container may be carried out after a sweep has listed what there is."""


def remove_run(engine: DockerEngine, run_id: str, then: Sequence[Callable[[], None]] = ()) -> int:
    """Remove every container and volume labelled `run_id`; return how many containers went.

    Args:
        engine: where they are.
        run_id: the label's value.
        then: called when the containers that could be removed are gone, whether or not all could.

    Raises:
        SandboxError: a container or volume could not be removed; the other containers are.
    """
    label = f"{RUN_LABEL}={run_id}"
    try:
        removed = _remove_containers(engine, label)
    finally:
        for call in then:
            call()
    for pause_s in _LATE_PAUSES_S:
        with contextlib.suppress(SandboxError):
            _remove_volumes(engine, label)
            return removed
        time.sleep(pause_s)
        removed += _remove_containers(engine, label)
    _remove_volumes(engine, label)
    return removed


def remove_hung(engine: DockerEngine) -> None:
    """Remove trusted containers of dead orchestrators: they belong to no run, and end unless they hang."""
    for item in engine.containers(OWNER_LABEL):
        if RUN_LABEL not in item.labels and is_dead(item.labels[OWNER_LABEL]):
            engine.remove_container(item.id)


def dead_runs(engine: DockerEngine) -> list[str]:
    """Runs of which containers or volumes are left, all of them by orchestrators that are certainly dead."""
    containers, volumes = engine.containers(OWNER_LABEL), engine.volumes(OWNER_LABEL)
    found = [labels for labels in (*(item.labels for item in containers), *volumes.values()) if RUN_LABEL in labels]
    dead = {labels[RUN_LABEL] for labels in found if is_dead(labels[OWNER_LABEL])}
    live = {labels[RUN_LABEL] for labels in found if not is_dead(labels[OWNER_LABEL])}
    return sorted(dead - live)


def _remove_containers(engine: DockerEngine, label: str) -> int:
    """Remove all; return how many. Raises the first failure, when the others are gone."""
    containers, failures = engine.containers(label), list[SandboxError]()
    for container in containers:
        try:
            engine.remove_container(container.id)
        except SandboxError as error:
            failures.append(error)
    if failures:
        raise failures[0]
    return len(containers)


def _remove_volumes(engine: DockerEngine, label: str) -> None:
    for volume in engine.volumes(label):
        engine.remove_volume(volume)
