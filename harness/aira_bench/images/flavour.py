"""What a flavour of images is made of, and the tags that follow from it.

A tag is a hash over everything that goes into the image: Dockerfile, lock, flavour settings and the sources of the
packages copied in. Equal content has an equal tag on every machine, and a changed comment makes a new image.
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
from aira_bench.images.names import flavour_names

TARGETS = ("agent", "evaluator")
PACKAGES = ("aira_contract", "aira_kernels", "aira_evaluator")
"""Packages of ours that images get; the Dockerfiles take whatever lies in the context's `packages`."""
LABEL = "aira-bench.flavour"


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Debootstrap(_Schema):
    """How to make the base where no registry answers."""

    suite: str
    include: tuple[str, ...]


class Base(_Schema):
    """The image everything is built on."""

    pull: str
    debootstrap: Debootstrap | None = None


class Imports(_Schema):
    """Modules that a build imports at its end: what is not there or does not load fails the build."""

    evaluator: tuple[str, ...]
    only_agent: tuple[str, ...]
    """What the agent image has besides; the evaluator image must not have it."""


class Settings(_Schema):
    """The content of a flavour's `flavour.toml`."""

    python: str
    platforms: tuple[str, ...]
    extra_index: str | None = None
    gpu_for: tuple[str, ...]
    """Evaluators, as tasks' metadata names them, for which these are the images where there is a GPU."""
    source_packages: tuple[str, ...]
    """Packages published as source only; they are compiled inside the build."""
    imports: Imports
    base: Base


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

    @property
    def dockerfile(self) -> Path:
        """The file with the recipe of both images."""
        own = self.folder / "Dockerfile"
        return own if own.is_file() else self.folder.parent / "Dockerfile"

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

    def imports(self, target: str) -> tuple[str, ...]:
        """Modules that the build of a target imports at its end."""
        imports = self.settings.imports
        return imports.evaluator + imports.only_agent if target == "agent" else imports.evaluator

    @cached_property
    def base_tag(self) -> str:
        """Tag of the base image, by its recipe."""
        return f"aira-bench-base-{self.name}:{_digest([self.settings.base.model_dump_json().encode()])}"

    @cached_property
    def content(self) -> str:
        """Hash over everything that goes into the images."""
        parts = [path.read_bytes() for path in (self.dockerfile, *self.locks, self.folder / "flavour.toml")]
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
