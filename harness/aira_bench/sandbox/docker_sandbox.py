"""The `Sandbox` made of Docker containers.

Each step gets a fresh workspace, a step container and a reader container, all started ahead of time. They are
removed by a thread of the sandbox's own, off the step's critical path; the interpreter does not exit before it is
done, and what a killed orchestrator leaves is found by its labels.

Containers of untrusted code get what separates them best on this machine (`isolation`): a runtime with a kernel of its
own, file trees of their own (`trees`), or an ordinary image whose remembered names are freed behind them (`caches`).

Not covered: images, and how many containers a machine bears at once.
"""

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from types import TracebackType
from typing import Any

from aira_bench.docker_engine import Attachment, DockerEngine
from aira_bench.errors import AiraError, PrerequisiteError, SandboxError
from aira_bench.sandbox import hardening
from aira_bench.sandbox.caches import Caches
from aira_bench.sandbox.isolation import UNTRUSTED, brings_kernel
from aira_bench.sandbox.keeper import Keeper
from aira_bench.sandbox.owner import is_dead
from aira_bench.sandbox.protocol import ContainerSpec, Isolation, Role
from aira_bench.sandbox.step import DockerStep, StepContainers
from aira_bench.sandbox.trees import ImageTrees, OwnTrees, Tree, dress, tree_mount, volume_of, without_data

REMOVAL_TIMEOUT_S = 60.0
StepBody = Callable[[ContainerSpec, str, int], dict[str, Any]]
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
        info = engine.info()
        self._cores = info.cpus
        if runtime is not None and runtime not in info.runtimes:
            raise PrerequisiteError(
                f"Docker has no runtime {runtime!r}; it has: {', '.join(info.runtimes)}.",
                hint="docker info --format '{{json .Runtimes}}'   (docs/isolation.md says how to add one)",
            )
        self._runtime = runtime
        self._kernels = tuple(name for name in info.runtimes if brings_kernel(name))
        self._keeper = Keeper(engine)
        self._trees = OwnTrees(engine, self._keeper) if own_trees else None
        self._caches = Caches(engine, self._keeper, self._trees.heads if self._trees else list)
        self._removals = ThreadPoolExecutor(max_workers=1, thread_name_prefix="container-removal")
        self._lock = threading.Lock()
        self._live: dict[DockerStep, ContainerSpec] = {}
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
        name = f"aira-{spec.role}-{secrets.token_hex(6)}"
        image, data = self._own_trees(spec)
        labels = hardening.labels(spec.run_id, spec.role)
        self._engine.create_volume(name, hardening.workspace_options(spec.limits, spec.role), labels)
        if spec.meeting is not None:  # the first of those who meet makes it; the run's sweep removes it
            self._engine.create_volume(spec.meeting, hardening.meeting_options(), labels)
        trees = (*image.trees, *data)
        made: list[str] = []
        streams: list[Attachment] = []
        try:
            for tree in trees:
                assert self._trees is not None
                self._engine.create_volume(volume_of(name, tree), self._trees.volume_options(tree), labels)
            step = self._start(spec, name, (image, data), made, streams)
        except BaseException as error:
            for stream in streams:
                stream.close()
            self._remove(made, [name, *(volume_of(name, tree) for tree in trees)])
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
            swept = [step for step, spec in self._live.items() if spec.run_id == run_id]
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
        containers = self._engine.containers(hardening.OWNER_LABEL)
        found = [item.labels for item in containers] + list(self._engine.volumes(hardening.OWNER_LABEL).values())
        for item in containers:  # trusted containers belong to no run, and end by themselves unless they hang
            if hardening.RUN_LABEL not in item.labels and is_dead(item.labels[hardening.OWNER_LABEL]):
                self._engine.remove_container(item.id)
        found = [labels for labels in found if hardening.RUN_LABEL in labels]
        runs = {labels[hardening.RUN_LABEL] for labels in found if is_dead(labels[hardening.OWNER_LABEL])}
        live = {labels[hardening.RUN_LABEL] for labels in found if not is_dead(labels[hardening.OWNER_LABEL])}
        return sum(self.sweep(run_id) for run_id in sorted(runs - live))

    def isolation(self, image: str, role: Role, *, gpu: bool) -> Isolation:
        """What separates containers of `image` in `role` (`Sandbox.isolation`)."""
        runtime = self._runtime_of(role, gpu=gpu)
        if runtime is not None and brings_kernel(runtime):
            return Isolation("own kernel", f"runtime {runtime}")
        trees = self._image_trees(image, gpu=gpu)
        lacking = self._keeper.lacking(image)
        if trees.trees:
            return Isolation("own trees", "file systems of each container's own (EROFS)")
        if not lacking:
            return Isolation("dropped caches", f"no file trees of their own: {trees.reason}")
        return Isolation("shared", f"no file trees of their own: {trees.reason}; caches cannot be freed: {lacking}")

    def close(self) -> None:
        """Remove every container of ours, and wait until that is done."""
        with self._lock:
            left = list(self._live)
        for step in left:
            step.close()
        self._join_removals()
        self._caches.close()
        self._keeper.close()

    def _runtime_of(self, role: Role, *, gpu: bool) -> str | None:
        """Which runtime a container gets; None for the engine's own. GPUs are known to the engine's own only."""
        if gpu or role not in (*UNTRUSTED, "probe"):
            return None
        if self._runtime is None and role == "predict":  # it sees hidden data
            return next(iter(self._kernels), None)
        return self._runtime

    def _image_trees(self, image: str, *, gpu: bool) -> ImageTrees:
        if self._trees is None:
            return ImageTrees((), {}, "they are switched off")
        if gpu:
            return ImageTrees((), {}, "the engine puts a GPU's driver into the ordinary image")
        return self._trees.of_image(image)

    def _own_trees(self, spec: ContainerSpec) -> tuple[ImageTrees, tuple[Tree, ...]]:
        """What a container gets of its own: trees of the image, and of the data folders it sees."""
        if spec.role not in (*UNTRUSTED, "probe"):
            return ImageTrees((), {}), ()
        image = self._image_trees(spec.image, gpu=spec.limits.gpu_uuid is not None)
        folders = [mount for mount in spec.mounts if mount.content is not None]
        if image.trees and self._trees is not None:
            return image, tuple(self._trees.of_data(mount, spec.image) for mount in folders)
        self._caches.read_first(spec.image)
        for mount in folders:
            self._caches.read_first(spec.image, mount)
        return image, ()

    def _start(
        self,
        spec: ContainerSpec,
        name: str,
        own: tuple[ImageTrees, tuple[Tree, ...]],
        made: list[str],
        streams: list[Attachment],
    ) -> DockerStep:
        """Create, attach and start both containers; what came of it is in `made` and `streams` even on failure."""
        threads = len(spec.limits.cpus) if spec.limits.cpus else self._cores
        bodies = {name: self._body(spec, name, threads, own), f"{name}-reader": hardening.reader_body(spec, name)}
        for container, body in bodies.items():
            made.append(self._engine.create_container(container, body))
            streams.append(self._engine.attach(made[-1]))
        for identifier in reversed(made):  # the reader first: it keeps the workspace
            self._engine.start_container(identifier)
        variables = [*hardening.environment(spec, threads), *hardening.PASSED_ON]
        volumes = tuple(volume_of(name, tree) for tree in (*own[0].trees, *own[1]))
        containers = StepContainers(made[0], made[1], name, volumes)
        step = DockerStep(
            self._engine, containers, (streams[0], streams[1]), spec.limits, variables, self._discard,
            partial(self._caches.settle, spec.image),
        )  # fmt: skip
        with self._lock:
            self._live[step] = spec
        return step

    def _body(
        self, spec: ContainerSpec, name: str, threads: int, own: tuple[ImageTrees, tuple[Tree, ...]]
    ) -> dict[str, Any]:
        """The request of a step's container, with all that is its own."""
        image, data = own
        body = self._step_body(without_data(spec) if image.trees else spec, name, threads)
        runtime = self._runtime_of(spec.role, gpu=spec.limits.gpu_uuid is not None)
        if runtime is not None:
            body["HostConfig"]["Runtime"] = runtime
        if image.trees:
            dress(body, image)
            body["HostConfig"]["Mounts"] += [tree_mount(name, tree) for tree in (*image.trees, *data)]
        return body

    def _discard(self, step: DockerStep) -> None:
        with self._lock:
            spec = self._live.pop(step, None)
            if spec is None:
                return
            removal = self._removals.submit(self._remove_step, step)
            self._removing.add(removal)
        removal.add_done_callback(self._forget)
        if step.was_used and spec.role in UNTRUSTED:
            drop = spec.role == "predict" or not step.containers.trees
            self._caches.soil(spec.image, (lambda: None) if step.is_dead else removal.result, drop=drop)

    def _forget(self, removal: Future[None]) -> None:
        with self._lock:
            self._removing.discard(removal)

    def _remove_step(self, step: DockerStep) -> None:
        step.release()
        containers = step.containers
        self._remove([containers.step, containers.reader], [containers.volume, *containers.trees])

    def _remove(self, containers: list[str], volumes: list[str]) -> None:
        """Remove what can be removed; the labels let a later sweep have the rest."""
        for container in containers:
            with _logged(f"container {container[:12]}"):
                self._engine.remove_container(container)
        for volume in volumes:
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
