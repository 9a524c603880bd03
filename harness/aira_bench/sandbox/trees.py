"""File trees of their own for containers of untrusted code (docs/decisions/0012).

Names that were looked up in an image's layers stay in the kernel, for every container that shares the layers to find.
So such a container gets an image without layers, and in place of the image's folders volumes of its own, each an EROFS
file system mounted for it alone and gone with it. The files behind them are made once an image or data folder, by a
trusted container, and lie in one labelled volume. Contents are read past the page cache (`directio`), so which pages
are in memory says nothing either; the inodes, which are not, are kept in memory by `caches`.

Whether a machine can do this is found out by doing it: `OwnTrees.of_image`.

Not covered: containers with a GPU, whose driver's files the engine puts into the ordinary image's folders.
"""

import hashlib
import platform
import secrets
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aira_bench.docker_engine import DockerEngine, ImageDetails
from aira_bench.errors import EngineAway, PrerequisiteError, SandboxError
from aira_bench.sandbox import hardening, kernel_files
from aira_bench.sandbox.caretaker import STORE, Caretaker, store_mount
from aira_bench.sandbox.owner import this_process
from aira_bench.sandbox.sandbox import Busy, ContainerSpec, Mount
from aira_bench.sandbox.trusted import TrustedContainer

MACHINE = "this machine"
"""Of what the store says that trees are which containers of all images get."""
BARE_IMAGE = "aira-bench-bare:1"
"""An image without layers: what a container sees of it is a folder of its own."""
_RECIPE = 'FROM scratch AS bare\nLABEL aira-bench.bare="1"\n'
_INIT = ("/sbin/docker-init", "--")
"""What the engine begins a container with that has an init."""
_MAKE_TIMEOUT_S = 600.0
_TEST_TIMEOUT_S = 60.0
OPTIONS = ("ro", "nosuid", "nodev", "directio")
"""Of every mount of a tree."""
_TEST = f"""
mounted = {{line.split()[1]: line.split()[2:4] for line in open("/proc/self/mounts")}}
for target in {{targets}}:
    kind, options = mounted[target]
    assert kind == "erofs" and set({OPTIONS}) <= set(options.split(",")), (target, kind, options)
"""


@dataclass(frozen=True)
class Tree:
    """One EROFS file of the store, and where containers get it."""

    file: str
    """Relative to the store."""
    inode_bytes: int
    """The file's beginning that is read through the page cache."""
    target: str


@dataclass(frozen=True)
class ImageTrees:
    """What containers of an image get; no trees where the machine cannot do it, and then why."""

    trees: tuple[Tree, ...]
    environment: Mapping[str, str]
    """The image's variables, which an image without layers lacks."""
    reason: str = ""


class OwnTrees:
    """The store of file trees on an engine's machine. Usable from several threads."""

    def __init__(self, engine: DockerEngine, caretaker: Caretaker) -> None:
        """`caretaker` keeps the store."""
        self._engine, self._caretaker = engine, caretaker
        self._lock = threading.Lock()
        self._keys: dict[str, str] = {}
        self._images: dict[str, ImageTrees] = {}
        self._data: dict[str, Tree] = {}
        self._folder = ""

    def of_image(self, image: str) -> ImageTrees:
        """Return the trees of an image, made and tried at the first call; later ones repeat what came of it.

        Raises:
            PrerequisiteError: there is no such image.
            Busy: what the machine can do could not be found out in time; the next call tries again.
            EngineAway: likewise.
        """
        with self._lock:
            key = self._keys.get(image)
            if key is None:
                details = self._engine.inspect_image(image)
                key = image_key(details)
                if key not in self._images:
                    self._images[key] = self._tried(key, image, details.environment)
                self._keys[image] = key
            return self._images[key]

    def _tried(self, key: str, image: str, environment: Mapping[str, str]) -> ImageTrees:
        engine = self._engine.words
        if engine.program != "docker":  # whose first process, and kinds of volumes, they are made for
            return ImageTrees((), {}, f"{engine.name} gives containers none")
        try:
            machine = self._make(machine_key(self._engine), MACHINE, "machine", image, ())
            found = ImageTrees((*self._make(key, image, "image", image, ()), *machine), environment)
            self._require_bare()
            self._try_out(found)
        except (SandboxError, PrerequisiteError) as error:
            if isinstance(error, Busy | EngineAway):  # nothing was found out: no machine is worse for being busy
                raise
            return ImageTrees((), {}, error.message)
        return found

    def of_data(self, mount: Mount, image: str) -> Tree:
        """Return the tree of a data folder, made by a container of `image` at the first call.

        Raises:
            SandboxError: it cannot be made.
        """
        assert mount.content is not None
        with self._lock:
            if mount.content not in self._data:
                source = {"Type": "bind", "Source": str(mount.source), "Target": "/data", "ReadOnly": True}
                (tree,) = self._make(key_of([mount.content]), str(mount.source), "data", image, [source])
                self._data[mount.content] = tree
            return replace(self._data[mount.content], target=str(mount.target))

    def look_again(self, mounts: Sequence[Mount]) -> None:
        """Forget that the trees of data folders were there: a container with them did not start."""
        with self._lock:
            for mount in mounts:
                self._data.pop(mount.content or "", None)

    def heads(self) -> list[tuple[str, int]]:
        """File and size of all inodes that containers of this process read through the page cache."""
        with self._lock:
            trees = [tree for image in self._images.values() for tree in image.trees]
            return [(tree.file, tree.inode_bytes) for tree in (*trees, *self._data.values())]

    def listed(self, image: str) -> dict[str, dict[str, Any]]:
        """Return what the store holds by key: of what (`of`), `bytes`, `inode_bytes` of each tree, and when it was made
        (`made_s`, seconds since 1970).
        """
        return self._caretaker.ask(image, {"do": "list"}, timeout_s=_TEST_TIMEOUT_S)

    def remove(self, key: str, image: str) -> None:
        """Remove what the store holds under `key`; containers that have it mounted keep it to their end."""
        self._caretaker.ask(image, {"do": "remove", "key": key}, timeout_s=_TEST_TIMEOUT_S)

    def tidy(self, image: str) -> float:
        """Remove what makers left that were killed; return how many MiB that frees."""
        return int(self._caretaker.ask(image, {"do": "tidy"}, timeout_s=_TEST_TIMEOUT_S)["bytes"]) / 2**20

    def volume_options(self, tree: Tree) -> dict[str, str]:
        """Driver options of one container's volume."""
        return {"type": "erofs", "device": f"{self._folder}/{tree.file}", "o": ",".join(OPTIONS)}

    def _make(self, key: str, of: str, kind: str, image: str, mounts: Sequence[Mapping[str, Any]]) -> tuple[Tree, ...]:
        """Write the files unless they are there; they are named by what they hold, and never written again."""
        if not (made := self.listed(image).get(key)):
            arguments = (key, of, kind)
            with TrustedContainer(
                self._engine, image, "erofs", arguments,
                mounts=[store_mount(), *mounts], capabilities=["DAC_OVERRIDE"], init=kind == "machine",
            ) as maker:  # fmt: skip
                maker.answer(timeout_s=_MAKE_TIMEOUT_S)
            made = self.listed(image)[key]
        self._folder = self._engine.volume_folder(STORE)
        trees = tuple(Tree(f"{key}/{name}.erofs", int(size), f"/{name}") for name, size in made["inode_bytes"].items())
        heads = [(tree.file, tree.inode_bytes) for tree in trees]
        self._caretaker.ask(image, {"do": "clean", "drop": False, "heads": heads}, timeout_s=_TEST_TIMEOUT_S)
        return trees

    def _require_bare(self) -> None:
        if not self._engine.image_exists(BARE_IMAGE):
            with tempfile.TemporaryDirectory(prefix="aira-bare-") as folder:
                (Path(folder) / "Dockerfile").write_text(_RECIPE, encoding="utf-8")
                self._engine.build(Path(folder), "Dockerfile", "bare", BARE_IMAGE, {}, {}, lambda line: None)
        if layers := self._engine.inspect_image(BARE_IMAGE).layers:
            raise SandboxError(f"{BARE_IMAGE} has {len(layers)} layers, expected none; containers would share them.")

    def _try_out(self, found: ImageTrees) -> None:
        """Start a container with the trees and look at them from inside.

        Raises:
            SandboxError: the kernel or the engine does not mount them as asked.
        """
        name = f"aira-trees-{secrets.token_hex(6)}"
        targets = [tree.target for tree in found.trees]
        body: dict[str, Any] = {
            "Entrypoint": ["python3", "-I", "-S", "-c", _TEST.replace("{targets}", repr(targets))],
            "User": f"{hardening.TRUSTED_UID}:{hardening.TRUSTED_UID}",
            "WorkingDir": "/",
            "AttachStdout": False,
            "AttachStderr": False,
            "Labels": {hardening.OWNER_LABEL: this_process()},
            "Env": [f"{name}={value}" for name, value in hardening.device_variables(None).items()],
            "HostConfig": {"NetworkMode": "none", "ReadonlyRootfs": True, "CapDrop": ["ALL"], "Mounts": []},
        }
        dress(body, found)
        for tree in found.trees:
            self._engine.create_volume(volume_of(name, tree), self.volume_options(tree), body["Labels"])
            body["HostConfig"]["Mounts"].append(tree_mount(name, tree))
        container = ""
        try:
            container = self._engine.create_container(name, body)
            self._engine.start_container(container)
            status = self._engine.wait_container(container, _TEST_TIMEOUT_S)
            if status is None:
                slow = f"A container that tries file trees of its own took over {_TEST_TIMEOUT_S:.0f} s"
                raise Busy(f"{slow}: the machine is busy.", hint="uptime")
            if status != 0:
                raise SandboxError("A container with file trees of its own did not see them as asked.")
        finally:
            if container:
                self._engine.remove_container(container)
            for tree in found.trees:
                self._engine.remove_volume(volume_of(name, tree))


def volume_of(container: str, tree: Tree) -> str:
    """Name of the volume in which one container gets a tree."""
    return f"{container}-{tree.target.strip('/').replace('/', '-')}"


def tree_mount(container: str, tree: Tree) -> dict[str, Any]:
    """Return the mount of a container's volume. With ReadOnly the engine would lose nosuid and nodev; EROFS takes no
    write.
    """
    return {
        "Type": "volume",
        "Source": volume_of(container, tree),
        "Target": tree.target,
        "ReadOnly": False,
        "VolumeOptions": {"NoCopy": True},
    }


def dress(body: dict[str, Any], found: ImageTrees) -> None:
    """Let a request's container be one of the image without layers, with the variables of the image it stands for.

    Its first process and the layout of processors come as trees: of the engine's file and the kernel's file system,
    which all containers share, the one tells who waits at its pages (futex) and the other who looked up a name.
    """
    given = dict(line.split("=", 1) for line in body.get("Env", []))
    body["Image"] = BARE_IMAGE
    body["Env"] = [f"{name}={value}" for name, value in sorted({**found.environment, **given}.items())]
    body["Entrypoint"] = [*_INIT, *body["Entrypoint"]]
    host = body["HostConfig"]
    host["Init"] = False
    host.get("Tmpfs", {}).pop("/sys", None)
    host["Mounts"] = [mount for mount in host["Mounts"] if mount["Target"] != kernel_files.PROCESSORS]


def without_data(spec: ContainerSpec) -> ContainerSpec:
    """Return the spec less the folders that it gets as trees."""
    return replace(spec, mounts=tuple(mount for mount in spec.mounts if mount.content is None))


def image_key(details: ImageDetails) -> str:
    """Return the key of an image's files. Images of equal layers, like an agent's and its evaluator's, share them."""
    return key_of([*details.layers, *sorted(details.environment.items())])


def machine_key(engine: DockerEngine) -> str:
    """Return the key of what depends on engine and processors."""
    info = engine.info()
    models = {line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")}
    return key_of([MACHINE, info.version, info.cpus, platform.release(), *sorted(models)])


def key_of(contents: Sequence[object]) -> str:
    """Return what the store names files by: what they hold, and the program that writes them."""
    return hashlib.sha256(repr([hardening.source("erofs"), *contents]).encode()).hexdigest()[:16]
