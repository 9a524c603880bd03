"""What a flavour of images is made of, and the tags that follow from it.

A tag is a hash over everything that goes into the image: Dockerfile, lock, flavour settings and the sources of the
packages copied in. Equal content has an equal tag on every machine, and a changed comment makes a new image.
"""

import hashlib
import importlib.util
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from aira_bench.bundled import bundled_folder
from aira_bench.errors import PrerequisiteError, UsageError

FLAVOURS = ("cpu", "cuda", "cuda-jax")
TARGETS = ("agent", "evaluator")
PACKAGES = ("aira_contract", "aira_kernels", "aira_evaluator")
"""Those of ours that images get: what both sides know, and what runs inside."""
LABEL = "aira-bench.flavour"
_REQUIREMENT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*(?:==\s*([^\s;,]+))?")


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


class Settings(_Schema):
    """The content of a flavour's `flavour.toml`."""

    python: str
    platforms: tuple[str, ...]
    extra_index: str | None = None
    source_packages: tuple[str, ...]
    """Packages published as source only; they are compiled inside the build."""
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
        return self.folder / "Dockerfile"

    @property
    def lock(self) -> Path:
        """The file of exact versions, one `name==version` a line."""
        return self.folder / "requirements.lock"

    @cached_property
    def pins(self) -> tuple[str, ...]:
        """The lock's lines without comments."""
        lines = (line.partition("#")[0].strip() for line in self.lock.read_text(encoding="utf-8").splitlines())
        return tuple(line for line in lines if line)

    @cached_property
    def base_tag(self) -> str:
        """Tag of the base image, by its recipe."""
        return f"aira-bench-base-{self.name}:{_digest([self.settings.base.model_dump_json().encode()])}"

    @cached_property
    def content(self) -> str:
        """Hash over everything that goes into the images."""
        parts = [path.read_bytes() for path in (self.dockerfile, self.lock, self.folder / "flavour.toml")]
        for package in PACKAGES:
            root = package_folder(package)
            for path in package_files(root):
                parts += [f"{package}/{path.relative_to(root).as_posix()}".encode(), path.read_bytes()]
        return _digest(parts)

    def tag(self, target: str) -> str:
        """Tag of the image for `agent` or `evaluator`."""
        return f"aira-bench-{self.name}-{target}:{self.content}"


def _digest(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()[:12]


def load_flavour(name: str) -> Flavour:
    """The flavour of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in FLAVOURS:
        raise UsageError(f"Unknown flavour {name!r}; there are: {', '.join(FLAVOURS)}.")
    return Flavour(name, bundled_folder("images") / name)


def lacking(flavour: Flavour, requirements: Iterable[str]) -> list[str]:
    """Those of a task's requirements that the images do not have, or have in another exact version."""
    have = {normal_name(name): version for name, _, version in (pin.partition("==") for pin in flavour.pins)}
    lacked = []
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement.strip())
        if match is None:
            continue
        version = have.get(normal_name(match[1]))
        wanted = match[2]
        if version is None or (wanted and version.partition("+")[0] != wanted):
            lacked.append(requirement.strip())
    return sorted(set(lacked))


def normal_name(name: str) -> str:
    """A package name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def package_folder(package: str) -> Path:
    """Where a package of ours is installed, found without importing it.

    Raises:
        PrerequisiteError: it is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PrerequisiteError(f"Package {package} is not installed.", hint="pip install --force-reinstall aira-bench")
    return Path(next(iter(spec.submodule_search_locations)))


def package_files(root: Path) -> list[Path]:
    """The files of a package that images get: sources and data, no caches."""
    return [path for path in sorted(root.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
