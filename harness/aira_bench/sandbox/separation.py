"""How containers of untrusted code are kept from reading what others left in the kernel: chosen for each by its role.

A runtime with a kernel of its own where there is one (`--runtime`, or for predict containers what the engine has), file
trees of their own where the kernel can (`trees`), and behind each its traces are cleaned up (`caches`). What came of it
is one word (`isolation`) that manifest and boards carry.

Not covered: the walls that stand for every untrusted container alike (`hardening`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError
from aira_bench.sandbox import hardening
from aira_bench.sandbox.caches import Caches
from aira_bench.sandbox.caretaker import Caretaker
from aira_bench.sandbox.isolation import brings_kernel
from aira_bench.sandbox.sandbox import ContainerSpec, Isolation, Role
from aira_bench.sandbox.trees import ImageTrees, OwnTrees, Tree, dress, tree_mount, volume_of, without_data


@dataclass(frozen=True)
class Own:
    """The file trees of one container; none where it has the ordinary image."""

    image: ImageTrees = field(default_factory=lambda: ImageTrees((), {}))
    data: tuple[Tree, ...] = ()

    @property
    def trees(self) -> tuple[Tree, ...]:
        """The trees of image and data together, in the order in which they are mounted."""
        return (*self.image.trees, *self.data)


class Separation:
    """What one engine's machine can do. Usable from several threads."""

    def __init__(self, engine: DockerEngine, runtime: str | None, *, own_trees: bool) -> None:
        """Look at the engine's runtimes; the rest is found out at first need (arguments: `DockerSandbox`).

        Raises:
            PrerequisiteError: the engine has no such runtime.
        """
        runtimes = engine.info().runtimes
        if runtime is not None and runtime not in runtimes:
            raise PrerequisiteError(
                f"{engine.words.name} has no runtime {runtime!r}; it has: {', '.join(runtimes) or 'none to choose'}. "
                "docs/isolation.md adds one.",
                hint=engine.words.command(
                    "info --format '{{json .Runtimes}}'" if engine.words.program == "docker" else "info"
                ),
            )
        self._engine, self._runtime = engine, runtime
        self._kernels = tuple(name for name in runtimes if brings_kernel(name))
        self.caretaker = Caretaker(engine)
        self._trees = OwnTrees(engine, self.caretaker) if own_trees else None
        self._caches = Caches(engine, self.caretaker, self._trees.heads if self._trees else list)

    def isolation(self, image: str, role: Role, *, gpu: bool) -> Isolation:
        """Return what separates containers of `image` in `role` (`Sandbox.isolation`)."""
        runtime = self._runtime_of(role, gpu=gpu)
        if runtime is not None and brings_kernel(runtime):
            return Isolation("own kernel", f"runtime {runtime}")
        trees = self._of_image(image, gpu=gpu)
        if trees.trees:
            return Isolation("own trees", "file systems of each container's own (EROFS)")
        lacking = self.caretaker.lacking(image)
        if not lacking:
            return Isolation("dropped caches", f"no file trees of their own: {trees.reason}")
        return Isolation("shared", f"no file trees of their own: {trees.reason}; caches cannot be freed: {lacking}")

    def own(self, spec: ContainerSpec) -> Own:
        """Return the file trees a container gets; without any, all it shares with others is read before it can look."""
        if hardening.is_trusted(spec.role):
            return Own()
        image = self._of_image(spec.image, gpu=spec.limits.gpu_uuid is not None)
        folders = [mount for mount in spec.mounts if mount.content is not None]
        if image.trees and self._trees is not None:
            return Own(image, tuple(self._trees.of_data(mount, spec.image) for mount in folders))
        self._caches.read_first(spec.image)
        for mount in folders:
            self._caches.read_first(spec.image, mount)
        return Own(image)

    def look_again(self, spec: ContainerSpec) -> None:
        """A container of this spec did not start: its trees of data may be gone, and are made again if so."""
        if self._trees is not None:
            self._trees.look_again(spec.mounts)

    def shared(self, spec: ContainerSpec, own: Own) -> ContainerSpec:
        """Return the spec less what the container gets as trees."""
        return without_data(spec) if own.trees else spec

    def make_volumes(self, own: Own, name: str, labels: dict[str, str]) -> None:
        """Make the volumes that one container gets its trees in, named after its workspace."""
        for tree in own.trees:
            assert self._trees is not None
            self._engine.create_volume(volume_of(name, tree), self._trees.volume_options(tree), labels)

    def dress(self, body: dict[str, Any], spec: ContainerSpec, own: Own, name: str) -> None:
        """Put runtime and trees into the request of a container with workspace `name`."""
        runtime = self._runtime_of(spec.role, gpu=spec.limits.gpu_uuid is not None)
        if runtime is not None:
            body["HostConfig"]["Runtime"] = runtime
        if own.trees:
            dress(body, own.image)
            body["HostConfig"]["Mounts"] += [tree_mount(name, tree) for tree in own.trees]

    def clean_behind(self, spec: ContainerSpec, await_death: Callable[[], object], *, trees: bool) -> None:
        """A container that was used is at its end: see to it that nobody reads what it left (`Caches.soil`)."""
        if not hardening.is_trusted(spec.role):
            self._caches.soil(spec.image, await_death, drop=spec.role == "predict" or not trees)

    def settle(self, spec: ContainerSpec) -> None:
        """Wait until all is cleaned up that the container about to get its files could read (`Caches.settle`)."""
        self._caches.settle(spec.image)

    def close(self) -> None:
        """End what runs for this."""
        self._caches.close()
        self.caretaker.close()

    def _runtime_of(self, role: Role, *, gpu: bool) -> str | None:
        """Which runtime a container gets; None for the engine's own. GPUs are known to the engine's own only."""
        if gpu or hardening.is_trusted(role):
            return None
        if self._runtime is None and role == "predict":  # it sees hidden data
            return next(iter(self._kernels), None)
        return self._runtime

    def _of_image(self, image: str, *, gpu: bool) -> ImageTrees:
        if self._trees is None:
            return ImageTrees((), {}, "they are switched off")
        if gpu:
            return ImageTrees((), {}, "the engine puts a GPU's driver into the ordinary image")
        return self._trees.of_image(image)


def volumes_of(own: Own, name: str) -> tuple[str, ...]:
    """Names of the volumes that a container with workspace `name` gets its trees in."""
    return tuple(volume_of(name, tree) for tree in own.trees)
