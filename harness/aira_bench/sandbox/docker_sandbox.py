"""The `Sandbox` made of Docker containers.

Each step gets a fresh workspace, a step container and a reader container, all started ahead of time. An untrusted
container is named after its user id, and as the engine takes no name twice, no two have the same user, whoever made
them: one that a crash left keeps its own until it is removed. Containers are
removed by a thread of the sandbox's own, off the step's critical path; the interpreter does not exit before it is
done, and what a killed orchestrator leaves is found by its labels.

Not covered: images, and how many containers a machine bears at once.
"""

import contextlib
import logging
import os
import secrets
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType
from typing import Any

from aira_bench.docker_engine import Attachment, Conflict, DockerEngine
from aira_bench.errors import AiraError, PrerequisiteError, SandboxError
from aira_bench.paths import host_paths
from aira_bench.sandbox import hardening, kernel_files
from aira_bench.sandbox.hardening import Place
from aira_bench.sandbox.owner import is_dead
from aira_bench.sandbox.protocol import ContainerSpec
from aira_bench.sandbox.step import DockerStep, StepContainers

REMOVAL_TIMEOUT_S = 60.0
USER_ATTEMPTS = 20
StepBody = Callable[[ContainerSpec, Place], dict[str, Any]]
_log = logging.getLogger(__name__)


class DockerSandbox:
    """An engine that makes hardened containers."""

    def __init__(self, engine: DockerEngine, step_body: StepBody = hardening.step_body) -> None:
        """`step_body` makes a step container's request; another one is for showing that the probe sees it."""
        self._engine = engine
        self._step_body = step_body
        self._cores = engine.info().cpus
        self._removals = ThreadPoolExecutor(max_workers=1, thread_name_prefix="container-removal")
        self._lock = threading.Lock()
        self._live: dict[DockerStep, str] = {}
        self._removing: set[Future[None]] = set()

    def __enter__(self) -> "DockerSandbox":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def prepare(self, spec: ContainerSpec) -> DockerStep:
        """Create and start a container that waits for its files.

        Raises:
            PrerequisiteError: the image or a mount's source is not there, or the engine cannot grant a limit.
            SandboxError: the engine failed.
        """
        if hardening.is_trusted(spec.role):
            return self._prepare(spec, uid=None)
        for _ in range(USER_ATTEMPTS):
            uid = secrets.choice(hardening.UNTRUSTED_UIDS)
            if uid != os.geteuid():
                with contextlib.suppress(Conflict):  # another container has this user
                    return self._prepare(spec, uid)
        raise SandboxError(
            f"No user was free for a container in {USER_ATTEMPTS} attempts.",
            hint=f"docker ps --all --filter label={hardening.RUN_LABEL}",
        )

    def _prepare(self, spec: ContainerSpec, uid: int | None) -> DockerStep:
        name = f"aira-{spec.role}-{secrets.token_hex(6)}"
        threads = len(spec.limits.cpus) if spec.limits.cpus else self._cores
        labels = hardening.labels(spec.run_id, spec.role)
        made: list[str] = []
        streams: list[Attachment] = []
        with contextlib.ExitStack() as stack:
            place = Place(name, threads)
            if uid is not None:
                place = Place(name, threads, uid, stack.enter_context(_kernel_files(spec)))
            self._engine.create_volume(name, hardening.workspace_options(spec.limits, spec.role, place), labels)
            if spec.meeting is not None:  # the first of those who meet makes it; the run's sweep removes it
                self._engine.create_volume(spec.meeting, hardening.meeting_options(), labels)
            try:
                step = self._start(spec, place, made, streams)
            except BaseException as error:
                for stream in streams:
                    stream.close()
                self._remove(list(reversed(made)), name)
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
        """
        with self._lock:
            swept = [step for step, run in self._live.items() if run == run_id]
        for step in swept:
            step.sweep()
        self._join_removals()
        label = f"{hardening.RUN_LABEL}={run_id}"
        containers = self._engine.containers(label)
        for container in containers:
            self._engine.remove_container(container.id)
        for volume in self._engine.volumes(label):
            self._engine.remove_volume(volume)
        for step in swept:
            step.close()
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

    def _start(self, spec: ContainerSpec, place: Place, made: list[str], streams: list[Attachment]) -> DockerStep:
        """Create, attach and start both containers; what came of it is in `made` and `streams` even on failure."""
        name = place.volume if hardening.is_trusted(spec.role) else f"aira-user-{place.uid}"
        bodies = {
            name: self._step_body(spec, place),
            f"{place.volume}-reader": hardening.reader_body(spec, place),
        }
        for container, body in bodies.items():
            made.append(self._engine.create_container(container, body))
            streams.append(self._engine.attach(made[-1]))
        for identifier in reversed(made):  # the reader first: it keeps the workspace
            self._engine.start_container(identifier)
        variables = [*hardening.environment(spec, place.threads), *hardening.PASSED_ON]
        containers = StepContainers(made[0], made[1], place.volume)
        step = DockerStep(self._engine, containers, (streams[0], streams[1]), spec.limits, variables, self._discard)
        with self._lock:
            self._live[step] = spec.run_id
        return step

    def _discard(self, step: DockerStep) -> None:
        with self._lock:
            if self._live.pop(step, None) is None:
                return
            removal = self._removals.submit(self._remove_step, step)
            self._removing.add(removal)
        removal.add_done_callback(self._forget)

    def _forget(self, removal: Future[None]) -> None:
        with self._lock:
            self._removing.discard(removal)

    def _remove_step(self, step: DockerStep) -> None:
        step.release()
        # The step last: its name keeps the user that the reader has too.
        self._remove([step.containers.reader, step.containers.step], step.containers.volume)

    def _remove(self, containers: list[str], volume: str) -> None:
        """Remove what can be removed; the labels let a later sweep have the rest."""
        for container in containers:
            with _logged(f"container {container[:12]}"):
                self._engine.remove_container(container)
        with _logged(f"volume {volume}"):
            self._engine.remove_volume(volume)

    def _join_removals(self) -> None:
        with self._lock:
            waiting = set(self._removing)
        _, late = wait(waiting, timeout=REMOVAL_TIMEOUT_S)
        if late:
            raise SandboxError(
                f"{len(late)} containers were not removed in {REMOVAL_TIMEOUT_S:.0f} s.", hint="docker ps"
            )


@contextlib.contextmanager
def _kernel_files(spec: ContainerSpec) -> Iterator[Path]:
    """One container's files in place of the kernel's; bound at its start, they need no name after it."""
    folder = host_paths().home / "containers"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kernel-files-", dir=folder) as made:
        kernel_files.write_stand_ins(Path(made), hardening.granted_mib(spec.limits))
        yield Path(made)


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
