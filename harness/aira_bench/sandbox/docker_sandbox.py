"""The `Sandbox` made of Docker containers.

Each step gets a fresh workspace, a step container and a reader container, all started ahead of time. An untrusted
container is named after its user id, and as the engine takes no name twice, no two have the same user, whoever made
them: one that a crash left keeps its own until it is removed. Containers are removed by threads of the sandbox's own,
off the step's critical path; the interpreter does not exit before they are done, and what a killed orchestrator leaves
is found by its labels.

A container that was killed and does not die holds cores, memory or a device that the next step needs, and the code in
it may still run: until it is dead no other is started here.

Not covered: images, and how many containers a machine bears at once.
"""

import contextlib
import logging
import os
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any

from aira_bench.docker_engine import Attachment, Conflict, DockerEngine, EngineWords
from aira_bench.errors import AiraError, PrerequisiteError, SandboxError
from aira_bench.sandbox import hardening
from aira_bench.sandbox.caretaker import Caretaker
from aira_bench.sandbox.core_share import CoreShare
from aira_bench.sandbox.hardening import ContainerPlace
from aira_bench.sandbox.leftovers import HANDS, Swept, remove_dead, remove_owner, remove_run
from aira_bench.sandbox.own_files import own_kernel_files, with_own_files
from aira_bench.sandbox.sandbox import ContainerSpec, Isolation, Role
from aira_bench.sandbox.separation import Own, Separation, volumes_of
from aira_bench.sandbox.step_containers import DockerStep, StepContainers

REMOVAL_TIMEOUT_S = 120.0
"""Longest time in which not one removal that is under way gets done; what is left then is found by its labels."""
USER_ATTEMPTS = 20
StepBody = Callable[[ContainerSpec, ContainerPlace], dict[str, Any]]
_NO_DEVICE = re.compile(r"device driver|CDI device|nvidia-container-cli|libnvidia-ml|unknown device", re.IGNORECASE)
"""In what Docker says that lacks the toolkit, the driver or the device."""
_log = logging.getLogger(__name__)


class DockerSandbox:
    """An engine that makes hardened containers."""

    def __init__(
        self,
        engine: DockerEngine,
        step_body: StepBody = hardening.step_body,
        *,
        runtime: str | None = None,
        own_trees: bool = True,
    ) -> None:
        """Look at the engine.

        Args:
            engine: makes the containers.
            step_body: makes a step container's request; another one is for showing that the probe sees it.
            runtime: the engine's name of the runtime that untrusted containers get. By default only predict
                containers get another one than the rest: one that brings a kernel, where the engine has such.
            own_trees: False leaves untrusted containers the ordinary image, as where the kernel cannot do better.

        Raises:
            PrerequisiteError: the engine has no such runtime.
        """
        self._engine = engine
        self._step_body = step_body
        self._separation = Separation(engine, runtime, own_trees=own_trees)
        machine = engine.info()
        self._cores, self._cdi_devices = machine.cpus, machine.cdi_devices
        self._removals = ThreadPoolExecutor(max_workers=HANDS, thread_name_prefix="container-removal")
        self._lock = threading.Lock()
        self._live: dict[DockerStep, ContainerSpec] = {}
        self._removing: set[Future[None]] = set()
        self._undead: list[str] = []
        self._left: dict[str, str] = {}
        self._shares: dict[str, CoreShare] = {}
        """By the socket volume of those that meet there and take turns on their cores."""

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
        if hardening.is_trusted(spec.role):
            return self._prepare(spec, uid=None)
        for _ in range(USER_ATTEMPTS):
            uid = secrets.choice(hardening.UNTRUSTED_UIDS)
            if uid != os.geteuid():
                with contextlib.suppress(Conflict):  # another container has this user
                    return self._prepare(spec, uid)
        raise SandboxError(
            f"No user was free for a container in {USER_ATTEMPTS} attempts.",
            hint=self._command(hardening.RUN_LABEL),
        )

    def _prepare(self, spec: ContainerSpec, uid: int | None) -> DockerStep:
        name = f"aira-{spec.role}-{secrets.token_hex(6)}"
        threads = len(spec.limits.cpus) if spec.limits.cpus else self._cores
        labels = hardening.labels(spec.run_id, spec.role)
        own = self._separation.own(spec)
        made: list[str] = []
        streams: list[Attachment] = []
        with contextlib.ExitStack() as stack:
            place = ContainerPlace(name, threads, cdi_devices=self._cdi_devices)
            if uid is not None:
                files = stack.enter_context(own_kernel_files(spec))
                place, spec = replace(place, uid=uid, kernel_files=files), with_own_files(spec, files)
            self._engine.create_volume(name, hardening.workspace_options(spec.limits, spec.role, place), labels)
            if spec.socket_volume is not None:  # the first of those who meet makes it; the run's sweep removes it
                self._engine.create_volume(spec.socket_volume, hardening.socket_volume_options(), labels)
            try:
                self._separation.make_volumes(own, name, labels)
                step = self._start(spec, place, own, made, streams)
            except BaseException as error:
                for stream in streams:
                    stream.close()
                self._remove(list(reversed(made)), [name, *volumes_of(own, name)])
                self._separation.look_again(spec)
                lacking = _lacking(error, spec, self._engine.words)
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

        A step of ours that is running under `run_id` ends in a `SandboxError`. What another live process made stays.

        Raises:
            SandboxError: a container or volume could not be removed; the other ones are.
        """
        with self._lock:
            swept = [step for step, spec in self._live.items() if spec.run_id == run_id]
        for step in swept:
            step.sweep()
        self._join_removals()
        with self._lock:
            self._left.clear()  # it is labelled, too
        found = remove_run(self._engine, run_id, [step.close for step in swept])
        self._join_removals()
        if found.left:
            raise SandboxError(found.told, hint=self._command(f"{hardening.RUN_LABEL}={run_id}"))
        return found.containers

    def sweep_owner(self, owner: str) -> int:
        """Remove what a process left that is dead (`Sandbox.sweep_owner`); nothing of one that is seen to live."""
        found = remove_owner(self._engine, owner)
        if found.left:
            raise SandboxError(found.told, hint=self._command(f"{hardening.OWNER_LABEL}={owner}"))
        return found.containers

    def sweep_dead(self) -> Swept:
        """Remove what orchestrators of this machine left that are certainly dead."""
        return remove_dead(self._engine)

    @property
    def caretaker(self) -> Caretaker:
        """What keeps the store of file trees on this engine's machine."""
        return self._separation.caretaker

    def isolation(self, image: str, role: Role, *, gpu: bool) -> Isolation:
        """Return what separates containers of `image` in `role` (`Sandbox.isolation`)."""
        return self._separation.isolation(image, role, gpu=gpu)

    def close(self) -> None:
        """Remove every container of ours, and wait until that is done."""
        with self._lock:
            left = list(self._live)
        for step in left:
            step.close()
        self._join_removals()
        self._separation.close()
        with self._lock:
            behind, self._left = self._left, {}
        if behind:
            _log.warning("%s", Swept(0, tuple(behind), next(iter(behind.values()))).told)

    def _start(
        self, spec: ContainerSpec, place: ContainerPlace, own: Own, made: list[str], streams: list[Attachment]
    ) -> DockerStep:
        """Create, attach and start both containers; what came of it is in `made` and `streams` even on failure."""
        name = place.volume if hardening.is_trusted(spec.role) else f"aira-user-{place.uid}"
        body = self._step_body(self._separation.shared(spec, own), place)
        self._separation.dress(body, spec, own, place.volume)
        bodies = {name: body, f"{place.volume}-reader": hardening.reader_body(spec, place)}
        for container, body in bodies.items():
            made.append(self._engine.create_container(container, body))
            streams.append(self._engine.attach(made[-1]))
        for identifier in reversed(made):  # the reader first: it keeps the workspace
            self._engine.start_container(identifier)
        variables = [*hardening.environment(spec, place.threads), *hardening.PASSED_ON]
        containers = StepContainers(made[0], made[1], place.volume, volumes_of(own, place.volume))
        settle = partial(self._separation.settle, spec)
        both = (streams[0], streams[1])
        step = DockerStep(
            self._engine, containers, both, spec.limits, variables, self._discard, settle, self._share(spec)
        )
        with self._lock:
            self._live[step] = spec
        return step

    def _share(self, spec: ContainerSpec) -> CoreShare:
        if spec.socket_volume is None:
            return CoreShare(spec.limits.cpus)
        with self._lock:
            return self._shares.setdefault(spec.socket_volume, CoreShare(spec.limits.cpus))

    def _discard(self, step: DockerStep) -> None:
        with self._lock:
            spec = self._live.pop(step, None)
            if spec is None:
                return
            if step.is_undead:
                self._undead.append(step.containers.step)
                for other in self._live:
                    other.retire()
            removal = self._removals.submit(self._remove_step, step)
            self._removing.add(removal)
        removal.add_done_callback(self._forget)
        if step.was_used:
            await_death = (lambda: None) if step.is_dead else removal.result
            self._separation.clean_behind(spec, await_death, trees=bool(step.containers.trees))

    def _forget(self, removal: Future[None]) -> None:
        with self._lock:
            self._removing.discard(removal)

    def _remove_step(self, step: DockerStep) -> None:
        step.release()
        # The step last: its name keeps the user that the reader has too.
        containers = step.containers
        self._remove([containers.reader, containers.step], [containers.volume, *containers.trees])

    def _remove(self, containers: list[str], volumes: list[str]) -> None:
        """Remove what can be removed; the labels let a later sweep have the rest."""
        for container in containers:
            with self._noting(container[:12]):
                self._engine.remove_container(container)
        for volume in volumes:
            with self._noting(volume):
                self._engine.remove_volume(volume)

    @contextlib.contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        try:
            yield
        except AiraError as error:
            with self._lock:
                self._left[name] = error.message

    def _command(self, label: str) -> str:
        """The engine's command that lists what has a label."""
        return self._engine.words.command(f"ps --all --filter label={label}")

    def _require_dead(self) -> None:
        with self._lock:
            undead = list(self._undead)
        for container in undead:
            found = self._engine.find_container(container)
            if found is not None and found["State"]["Running"]:
                raise PrerequisiteError(
                    f"Container {container[:12]} was killed and has not died: a process in it may be stuck in a "
                    "driver. No other container is started beside it.",
                    hint=self._engine.words.command(f"inspect {container[:12]}") + "; then restart the machine",
                )
            with self._lock, contextlib.suppress(ValueError):
                self._undead.remove(container)

    def _join_removals(self) -> None:
        """Wait until all that is under way is done, for as long as it goes on at all."""
        with self._lock:
            waiting = set(self._removing)
        while waiting:
            done, waiting = wait(waiting, timeout=REMOVAL_TIMEOUT_S, return_when=FIRST_COMPLETED)
            if not done:
                with self._lock:
                    self._left |= {f"of {len(waiting)} steps": f"no removal was done in {REMOVAL_TIMEOUT_S:.0f} s."}
                return


def _lacking(error: BaseException, spec: ContainerSpec, engine: EngineWords) -> PrerequisiteError | None:
    """The failures of a start that a person can mend, in words that say how."""
    if isinstance(error, FileNotFoundError):
        return PrerequisiteError(f"A folder to mount is not there: {error.filename}.")
    if isinstance(error, SandboxError) and "rlimit" in error.message:
        return PrerequisiteError(
            f"{engine.name} cannot grant {spec.limits.open_files} open files: its own hard limit is lower.",
            hint="raise LimitNOFILE of docker.service" if engine.program == "docker" else "ulimit -Hn",
        )
    if isinstance(error, SandboxError) and spec.limits.gpu_uuid is not None and _NO_DEVICE.search(error.message):
        return PrerequisiteError(
            f"{engine.name} cannot give a container the GPU {spec.limits.gpu_uuid}: {error.message}",
            hint=f"install the NVIDIA container toolkit, restart {engine.name}, then: aira-bench doctor",
        )
    return None
