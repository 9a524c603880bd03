"""Builds images, only on change.

The build context is a fresh folder with exactly what the Dockerfile copies: the locks, their wheels and our packages.
No checkout, no `.git`, no caches can slip in.
"""

import os
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError
from aira_bench.excerpts import NAME_CHARS
from aira_bench.images.base import ensure_base
from aira_bench.images.flavour import LABEL, PACKAGES, TARGETS, Flavour, load_flavour, package_files, package_folder
from aira_bench.images.wheels import fetch_wheels

_TARGET_LABEL = "aira-bench.target"


@dataclass(frozen=True)
class ImageSet:
    """Tags of a flavour's two images."""

    agent: str
    evaluator: str


@dataclass(frozen=True)
class Built:
    """What became of one image."""

    tag: str
    size_mib: float
    seconds: float
    """0 when the image was there."""


def planned_images(flavour: str) -> tuple[str, str]:
    """Tags the installed sources ask for: agent, evaluator."""
    recipe = load_flavour(flavour)
    return recipe.tag("agent"), recipe.tag("evaluator")


def ensure_images(flavour: str, engine: DockerEngine, note: Callable[[str], None]) -> ImageSet:
    """Build what is missing and name both images.

    Raises:
        PrerequisiteError: base or wheels are not to be had, or a build step failed.
        SandboxError: the engine failed.
    """
    return ImageSet(*(built.tag for built in build_images(flavour, engine, note)))


def build_images(flavour: str, engine: DockerEngine, note: Callable[[str], None]) -> list[Built]:
    """Build what is missing; one row an image."""
    recipe = load_flavour(flavour)
    missing = [target for target in TARGETS if not engine.image_exists(recipe.tag(target))]
    seconds = dict.fromkeys(TARGETS, 0.0)
    if missing:
        base = ensure_base(recipe, engine, note)
        wheels = fetch_wheels(recipe, note)
        with _context(recipe, wheels) as context:
            for target in missing:
                started_s = time.monotonic()
                note(f"building {recipe.tag(target)}")
                _build(recipe, target, base, context, engine, note)
                seconds[target] = time.monotonic() - started_s
    sizes = {image.tag: image.size_bytes / 2**20 for image in engine.list_images(LABEL)}
    return [Built(recipe.tag(target), sizes.get(recipe.tag(target), 0.0), seconds[target]) for target in TARGETS]


def _build(
    recipe: Flavour, target: str, base: str, context: Path, engine: DockerEngine, note: Callable[[str], None]
) -> None:
    tail: deque[str] = deque(maxlen=3)

    def on_line(line: str) -> None:
        tail.append(line)
        if line.startswith("Step "):
            note(line.partition("  ")[0][:NAME_CHARS])

    labels = {LABEL: recipe.name, _TARGET_LABEL: target}
    try:
        # Both builds get the same arguments, so that the second finds the first one's layers.
        arguments = {f"{each.upper()}_IMPORTS": ", ".join(recipe.imports(each)) for each in TARGETS} | {"BASE": base}
        engine.build(context, "Dockerfile", target, recipe.tag(target), labels, arguments, on_line)
    except PrerequisiteError as error:
        raise PrerequisiteError(f"{error.message} Last output: {' | '.join(tail)}", hint=error.hint) from error


@contextmanager
def _context(recipe: Flavour, wheels: list[Path]) -> Iterator[Path]:
    """A build context in the wheels' file system, so that they can be linked instead of copied."""
    with tempfile.TemporaryDirectory(prefix=".context-", dir=wheels[0].parent.parent) as temporary:
        context = Path(temporary)
        shutil.copy(recipe.dockerfile, context / "Dockerfile")
        for lock in recipe.locks:
            shutil.copy(lock, context / lock.name)
        (context / "wheels").mkdir()
        for wheel in wheels:
            os.link(wheel, context / "wheels" / wheel.name)
        for package in PACKAGES:
            root = package_folder(package)
            for path in package_files(root):
                copied = context / "packages" / package / path.relative_to(root)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copied)
                copied.chmod(0o644)
        yield context
