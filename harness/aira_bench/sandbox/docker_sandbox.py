"""The `Sandbox` made of Docker containers.

Each step gets a fresh workspace, a step container and a reader container, all started ahead of time. They are
removed by threads of the sandbox's own, off the step's critical path; the interpreter does not exit before they are
done, and what a killed orchestrator leaves is found by its labels.

A container that was killed and does not die holds cores, memory or a device that the next step needs, and the code in
it may still run: until it is dead no other is started here.

Not covered: images, and how many containers a machine bears at once.
"""

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

from aira_bench.docker_engine import Attachment, DockerEngine
from aira_bench.errors import AiraError, PrerequisiteError, SandboxError
from aira_bench.sandbox import hardening
from aira_bench.sandbox.owner import is_dead
from aira_bench.sandbox.protocol import ContainerSpec
from aira_bench.sandbox.step import DockerStep, StepContainers

REMOVAL_TIMEOUT_S = 120.0
"""Longest wait for removals that are under way when the sandbox is closed; what is left then is found by its labels."""
_REMOVERS = 4
StepBody = Callable[[ContainerSpec, str, int], dict[str, Any]]
_log = logging.getLogger(__name__)


class DockerSandbox:
    """An engine that makes hardened containers."""

    def __init__(self, engine: DockerEngine, step_body: StepBody = hardening.step_body) -> None:
        """`step_body` makes a step container's request; another one is for showing that the probe sees it."""
        self._engine = engine
        self._step_body = step_body
        self._cores = engine.info().cpus
        self._removals = ThreadPoolExecutor(max_workers=_REMOVERS, thread_name_prefix="container-removal")
        self._lock = threading.Lock()
        self._live: dict[DockerStep, str] = {}
        self._removing: set[Future[None]] = set()
        self._undead: list[str] = []

    def __enter__(self) -> "DockerSandbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self, spec: ContainerSpec) -> DockerStep:
        """Create and start a container that waits for its files.

        Raises:
            PrerequisiteError: the image or a mount's source is not there, the engine cannot grant a limit, or
                an earlier container outlived its kill.
            SandboxError: the engine failed.
        """
        self._require_dead()
        name = f"aira-{spec.role}-{secrets.token_hex(6)}"
        labels = hardening.labels(spec.run_id, spec.role)
        self._engine.create_volume(name, hardening.workspace_options(spec.limits, spec.role), labels)
        if spec.meeting is not None:  # the first of those who meet makes it; the run's sweep removes it
            self._engine.create_volume(spec.meeting, hardening.meeting_options(), labels)
        made: list[str] = []
        streams: list[Attachment] = []
        try:
            step = self._start(spec, name, made, streams)
        except BaseException as error:
            for stream in streams:
                stream.close()
            self._remove(made, name)
            lacking = _lacking(error, spec)
            if lacking is not None:
                raise lacking from error
            raise
        try:
            step.wait_ready()
        except BaseException:
            step.close()
            raise
        return step

    def sweep(self, run_id: str) -> int:
        """Remove every container and workspace labelled `run_id`; return how many containers went.

        A step of ours that is running under `run_id` ends in a `SandboxError`.

        Raises:
            SandboxError: a container could not be removed; the others are.
        """
        with self._lock:
            swept = [step for step, run in self._live.items() if run == run_id]
        for step in swept:
            step.sweep()
        self._join_removals()
        label = f"{hardening.RUN_LABEL}={run_id}"
        containers = self._engine.containers(label)
        failures: list[SandboxError] = []
        for container in containers:
            try:
                self._engine.remove_container(container.id)
            except SandboxError as error:  # the others go all the same
                failures.append(error)
        for step in swept:
            step.close()
        if failures:
            raise failures[0]
        for volume in self._engine.volumes(label):
            self._engine.remove_volume(volume)
        return len(containers)

    def sweep_dead(self) -> int:
        """Remove what orchestrators of this machine left that are certainly dead; return how many containers went."""
        found = self._engine.containers(hardening.OWNER_LABEL)
        runs = {item.labels[hardening.RUN_LABEL] for item in found if is_dead(item.labels[hardening.OWNER_LABEL])}
        live = {item.labels[hardening.RUN_LABEL] for item in found if not is_dead(item.labels[hardening.OWNER_LABEL])}
        return sum(self.sweep(run_id) for run_id in sorted(runs - live))

    def close(self) -> None:
        """Remove every container of ours, and wait until that is done."""
        with self._lock:
            left = list(self._live)
        for step in left:
            step.close()
        self._join_removals()

    def _start(self, spec: ContainerSpec, name: str, made: list[str], streams: list[Attachment]) -> DockerStep:
        """Create, attach and start both containers; what came of it is in `made` and `streams` even on failure."""
        threads = len(spec.limits.cpus) if spec.limits.cpus else self._cores
        bodies = {name: self._step_body(spec, name, threads), f"{name}-reader": hardening.reader_body(spec, name)}
        for container, body in bodies.items():
            made.append(self._engine.create_container(container, body))
            streams.append(self._engine.attach(made[-1]))
        for identifier in reversed(made):  # the reader first: it keeps the workspace
            self._engine.start_container(identifier)
        variables = [*hardening.environment(spec, threads), *hardening.PASSED_ON]
        containers = StepContainers(made[0], made[1], name)
        step = DockerStep(self._engine, containers, (streams[0], streams[1]), spec.limits, variables, self._discard)
        with self._lock:
            self._live[step] = spec.run_id
        return step

    def _discard(self, step: DockerStep) -> None:
        with self._lock:
            if self._live.pop(step, None) is None:
                return
            if step.is_undead:
                self._undead.append(step.containers.step)
                for other in self._live:
                    other.retire()
            removal = self._removals.submit(self._remove_step, step)
            self._removing.add(removal)
        removal.add_done_callback(self._forget)

    def _forget(self, removal: Future[None]) -> None:
        with self._lock:
            self._removing.discard(removal)

    def _remove_step(self, step: DockerStep) -> None:
        step.release()
        self._remove([step.containers.step, step.containers.reader], step.containers.volume)

    def _remove(self, containers: list[str], volume: str) -> None:
        """Remove what can be removed; the labels let a later sweep have the rest."""
        for container in containers:
            with _logged(f"container {container[:12]}"):
                self._engine.remove_container(container)
        with _logged(f"volume {volume}"):
            self._engine.remove_volume(volume)

    def _require_dead(self) -> None:
        with self._lock:
            undead = list(self._undead)
        for container in undead:
            found = self._engine.find_container(container)
            if found is not None and found["State"]["Running"]:
                raise PrerequisiteError(
                    f"Container {container[:12]} was killed and has not died: a process in it may be stuck in a "
                    "driver. No other container is started beside it.",
                    hint=f"docker inspect {container[:12]}; then restart the machine",
                )
            with self._lock, contextlib.suppress(ValueError):
                self._undead.remove(container)

    def _join_removals(self) -> None:
        with self._lock:
            waiting = set(self._removing)
        _, late = wait(waiting, timeout=REMOVAL_TIMEOUT_S)
        if late:
            _log.warning("left behind: %d containers were not removed in %.0f s", len(late), REMOVAL_TIMEOUT_S)


def _lacking(error: BaseException, spec: ContainerSpec) -> PrerequisiteError | None:
    """The failures of a start that a person can mend, in words that say how."""
    if isinstance(error, FileNotFoundError):
        return PrerequisiteError(f"A folder to mount is not there: {error.filename}.")
    if isinstance(error, SandboxError) and "rlimit" in error.message:
        return PrerequisiteError(
            f"Docker cannot grant {spec.limits.open_files} open files: its own hard limit is lower.",
            hint="raise LimitNOFILE of docker.service",
        )
    return None


@contextlib.contextmanager
def _logged(what: str) -> Iterator[None]:
    try:
        yield
    except AiraError as error:
        _log.warning("left behind: %s: %s", what, error.message)
