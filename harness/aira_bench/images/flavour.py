"""What a flavour of images is made of, and the tags that follow from it.

A tag is a hash over everything that goes into the image: recipe, locks, settings and the sources of the packages copied
in. Equal content has an equal tag on every machine. Images are made in three steps with tags of their own, so that what
changes often is made anew without the rest: the base, the libraries of the locks, and packages of ours over them.

Not covered: where a compiled package came from (`aira_bench.images.compiled`).
"""

import hashlib
import importlib.util
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from aira_bench.bundled import bundled_folder
from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.images.choices import chosen_architectures, skipped_packages
from aira_bench.images.names import flavour_names

TARGETS = ("agent", "evaluator")
PACKAGES = ("aira_contract", "aira_kernels", "aira_evaluator")
"""Packages of ours that images get; `ours.Dockerfile` takes whatever lies in the context's `packages`."""
LABEL = "aira-bench.flavour"
"""Of every image: the flavour it was made for."""
TARGET_LABEL = "aira-bench.target"
"""Of images that containers are made of, no base and no libraries."""
LIBRARIES_RECIPE, OURS_RECIPE = "Dockerfile", "ours.Dockerfile"
CUDA_HOME_SCRIPT = "cuda_home.sh"


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Unpacked(_Schema):
    """Packages of another suite of Debian whose files are laid into the base, without what they depend on."""

    suite: str
    component: str
    packages: tuple[str, ...]
    """As apt takes them: `name=version`."""


class Debootstrap(_Schema):
    """How to make the base where no registry answers."""

    suite: str
    include: tuple[str, ...]
    unpacked: Unpacked | None = None


class Base(_Schema):
    """The image everything is built on."""

    pull: str
    debootstrap: Debootstrap | None = None


class Imports(_Schema):
    """Modules that a build imports at its end: what is not there or does not load fails the build."""

    evaluator: tuple[str, ...]
    only_agent: tuple[str, ...]
    """What the agent image has besides; the evaluator image must not have it."""


class Compiled(_Schema):
    """A package that comes with CUDA code and without a wheel on the package index; agents' images alone get it."""

    name: str
    version: str
    imports: str
    """The module by which a build sees that it loads."""
    release: str | None = None
    """Where its project has it compiled for this Python, torch and CUDA; None where it has not."""
    architectures: tuple[str, ...]
    """Compute capabilities that it is compiled for where the project's own build cannot be had."""
    core_minutes: float
    """What compiling takes, for each architecture."""
    variables: tuple[str, ...]
    """Settings of its `setup.py`, as `NAME=value`."""

    @property
    def pin(self) -> str:
        """The package as `name==version`."""
        return f"{self.name}=={self.version}"


class DiskGib(_Schema):
    """Disk in GiB, rounded up."""

    wheels: float
    """What is downloaded, and stays in the cache; measured."""
    build: int
    """The most that a build needs at a time, its downloads included, images included."""
    images: int
    """What the finished images take."""
    projected: bool = False
    """Whether the most of a build is a sum of parts and was not measured."""

    @property
    def told(self) -> str:
        """The most of a build in words."""
        return f"{self.build} GiB{' (projected)' * self.projected}"


class Capability(_Schema):
    """Compute capabilities of the devices that images have code for, as `major.minor`."""

    oldest: str
    newest: str
    """Of its major version, later ones run the same code."""


class Settings(_Schema):
    """The content of a flavour's `flavour.toml`."""

    python: str
    glibc: str
    """The newest that wheels may need: at most the base's own."""
    extra_index: str | None = None
    gpu_for: tuple[str, ...]
    """Evaluators, as tasks' metadata names them, for which these are the images where there is a GPU."""
    driver: str | None = None
    """The oldest NVIDIA driver that they run with, its first number; None for images without CUDA."""
    capability: Capability | None = None
    """None where it is not known, or there is no CUDA."""
    disk_gib: DiskGib
    compiled: tuple[Compiled, ...] = ()
    imports: Imports
    base: Base

    @property
    def platforms(self) -> tuple[str, ...]:
        """Platform tags of wheels for these images (PEP 600, and its older names), the newest first."""
        older = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}
        tags: list[str] = []
        for minor in range(int(self.glibc.removeprefix("2.")), 4, -1):
            tags += [f"manylinux_2_{minor}_x86_64", *([f"{older[minor]}_x86_64"] if minor in older else [])]
        return tuple(tags)


@dataclass(frozen=True)
class Flavour:
    """One folder of `images/`: a recipe, the exact versions it installs, and the settings of its base."""

    name: str
    folder: Path

    @cached_property
    def settings(self) -> Settings:
        """Read the flavour's settings from its `flavour.toml`.

        Raises:
            PrerequisiteError: the file is damaged.
        """
        path = self.folder / "flavour.toml"
        try:
            return Settings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
        except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise PrerequisiteError(f"{path} cannot be used: {' '.join(str(error).split())}") from error

    def recipe(self, name: str) -> Path:
        """Return one of the files that all flavours share."""
        return self.folder.parent / name

    @property
    def locks(self) -> tuple[Path, Path]:
        """The file of exact versions, one `name==version` a line."""
        return self.folder / "requirements.lock", self.folder / "agents.lock"

    @cached_property
    def pins(self) -> tuple[str, ...]:
        """Everything that is installed in the agent image."""
        return tuple(pin for lock in self.locks for pin in _pins(lock))

    @cached_property
    def evaluator_pins(self) -> tuple[str, ...]:
        """Everything that is installed in the evaluator image."""
        return tuple(_pins(self.locks[0]))

    def versions(self, target: str) -> dict[str, str]:
        """Version of each package in the image for a target, by the package's normal name."""
        pins = self.pins if target == "agent" else self.evaluator_pins
        return {normal_name(name): version for name, _, version in (pin.partition("==") for pin in pins)}

    @property
    def compiled(self) -> tuple[Compiled, ...]:
        """What is compiled for the agent image and not left out on this machine, for what was chosen on it."""
        if not self.settings.compiled:
            return ()
        skipped, chosen = skipped_packages(self.name), chosen_architectures(self.name)
        packages = [package for package in self.settings.compiled if package.name not in skipped]
        return tuple(each.model_copy(update={"architectures": chosen}) if chosen else each for each in packages)

    def imports(self, target: str) -> tuple[str, ...]:
        """Modules that the builds of a target import at their end."""
        imports = self.settings.imports
        return imports.evaluator + imports.only_agent if target == "agent" else imports.evaluator

    def library_imports(self, target: str) -> tuple[str, ...]:
        """Those of them that come with the libraries."""
        return tuple(module for module in self.imports(target) if not module.startswith(PACKAGES))

    def our_imports(self, target: str) -> tuple[str, ...]:
        """Those that are ours, and what is compiled."""
        ours = tuple(module for module in self.imports(target) if module.startswith(PACKAGES))
        return ours + (tuple(package.imports for package in self.compiled) if target == "agent" else ())

    @cached_property
    def base_tag(self) -> str:
        """Tag of the base image, by its recipe: flavours with the same base share it."""
        return f"aira-bench-base:{_digest([self.settings.base.model_dump_json(exclude_none=True).encode()])}"

    @cached_property
    def _libraries_content(self) -> str:
        settings = self.settings.model_dump_json(include={"python", "base", "imports"}, exclude_none=True)
        recipes = (self.recipe(LIBRARIES_RECIPE), self.recipe(CUDA_HOME_SCRIPT))
        return _digest([settings.encode(), *(path.read_bytes() for path in (*recipes, *self.locks))])

    def libraries_tag(self, target: str) -> str:
        """Tag of the image of a target without packages of ours."""
        return f"aira-bench-libraries-{self.name}-{target}:{self._libraries_content}"

    @cached_property
    def content(self) -> str:
        """Hash over everything that goes into the images."""
        compiled = " ".join(sorted(package.pin for package in self.compiled))
        parts = [self._libraries_content.encode(), self.recipe(OURS_RECIPE).read_bytes(), compiled.encode()]
        for package in PACKAGES:
            root = package_folder(package)
            for path in package_files(root):
                parts += [f"{package}/{path.relative_to(root).as_posix()}".encode(), path.read_bytes()]
        return _digest(parts)

    def tag(self, target: str) -> str:
        """Tag of the image for `agent` or `evaluator`."""
        return f"aira-bench-{self.name}-{target}:{self.content}"


def _pins(lock: Path) -> Iterator[str]:
    for line in lock.read_text(encoding="utf-8").splitlines():
        if pin := line.partition("#")[0].strip():
            yield pin


def _digest(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:12]


def load_flavour(name: str) -> Flavour:
    """Return the flavour of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in flavour_names():
        raise UsageError(f"Unknown flavour {name!r}; there are: {', '.join(flavour_names())}.")
    return Flavour(name, bundled_folder("images") / name)


def gpu_flavour(evaluator: str) -> str:
    """Return the flavour whose images serve tasks of an evaluator where there is a GPU.

    Raises:
        PrerequisiteError: there is none.
    """
    for name in flavour_names():
        if evaluator in load_flavour(name).settings.gpu_for:
            return name
    raise PrerequisiteError(f"No flavour of images serves evaluator {evaluator!r} with a GPU.")


def normal_name(name: str) -> str:
    """Return a package name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package_folder(package: str) -> Path:
    """Return where a package of ours is installed, found without importing it.

    Raises:
        PrerequisiteError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PrerequisiteError(f"Package {package} is not installed.", hint="pip install --force-reinstall aira-bench")
    return Path(next(iter(spec.submodule_search_locations)))


def package_files(root: Path) -> list[Path]:
    """Return the files of a package that images get: sources and data, no caches."""
    return [path for path in sorted(root.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
