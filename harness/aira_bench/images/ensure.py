"""Builds images, only on change.

The build context is a fresh folder with exactly what the Dockerfile copies: the locks, their wheels and our packages.
No checkout, no `.git`, no caches can slip in.
"""

import os
import secrets
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aira_bench.bundled import bundled_folder
from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError
from aira_bench.excerpts import NAME_CHARS
from aira_bench.images.base import ensure_base
from aira_bench.images.declared import Declared, Layer, declared_folder, find_layer, layer_files
from aira_bench.images.flavour import LABEL, PACKAGES, TARGETS, Flavour, load_flavour, package_files, package_folder
from aira_bench.images.wheels import fetch_wheels
from aira_bench.unfinished import staging_folder, sweep_staging

NOTHING = Declared()
_TARGET_LABEL = "aira-bench.target"
_DECLARED_LABEL = "aira-bench.declared"


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


def ensure_images(
    flavour: str, engine: DockerEngine, note: Callable[[str], None], declared: Declared = NOTHING
) -> ImageSet:
    """Build what is missing and name both images, each with what a task declares for it.

    Raises:
        PrerequisiteError: base, wheels or declared packages are not to be had, or a build step failed.
        SandboxError: the engine failed.
    """
    recipe = load_flavour(flavour)
    layers = {target: find_layer(recipe, target, declared, note) for target in TARGETS}
    build_images(flavour, engine, note)
    tags = {target: _with_layer(recipe, target, declared, layers[target], engine, note) for target in TARGETS}
    return ImageSet(tags["agent"], tags["evaluator"])


def build_images(flavour: str, engine: DockerEngine, note: Callable[[str], None]) -> list[Built]:
    """Build what is missing; one row an image."""
    recipe = load_flavour(flavour)
    missing = [target for target in TARGETS if not engine.image_exists(recipe.tag(target))]
    seconds = dict.fromkeys(TARGETS, 0.0)
    if missing:
        base = ensure_base(recipe, engine, note)
        wheels = fetch_wheels(recipe, note)
        # Both builds get the same arguments, so that the second finds the first one's layers.
        arguments = {f"{each.upper()}_IMPORTS": ", ".join(recipe.imports(each)) for each in TARGETS} | {"BASE": base}
        with _context(recipe, wheels) as context:
            for target in missing:
                started_s = time.monotonic()
                note(f"building {recipe.tag(target)}")
                labels = {LABEL: recipe.name, _TARGET_LABEL: target}
                _build(context, target, recipe.tag(target), labels, arguments, engine, note)
                seconds[target] = time.monotonic() - started_s
    sizes = {image.tag: image.size_bytes / 2**20 for image in engine.list_images(LABEL)}
    return [Built(recipe.tag(target), sizes.get(recipe.tag(target), 0.0), seconds[target]) for target in TARGETS]


def _with_layer(
    recipe: Flavour,
    target: str,
    declared: Declared,
    layer: Layer | None,
    engine: DockerEngine,
    note: Callable[[str], None],
) -> str:
    """Tag of a target's image with a layer over it, built if it is not there."""
    image = recipe.tag(target)
    if layer is None:
        return image
    dockerfile = bundled_folder("images") / "declared.Dockerfile"
    tag = layer.tag(image, dockerfile.read_bytes())
    if not engine.image_exists(tag):
        wheels = layer_files(recipe, target, declared, layer, note)
        note(f"building {tag} with {', '.join(layer.pins)}")
        labels = {LABEL: recipe.name, _TARGET_LABEL: target, _DECLARED_LABEL: ",".join(layer.pins)}
        with _empty_context(declared_folder(recipe)) as context:
            shutil.copy(dockerfile, context / "Dockerfile")
            (context / "declared.lock").write_text(layer.lock, encoding="utf-8")
            (context / "wheels").mkdir()
            for wheel in wheels:
                os.link(wheel, context / "wheels" / wheel.name)
            _build(context, "declared", tag, labels, {"IMAGE": image}, engine, note)
    return tag


def _build(
    context: Path,
    target: str,
    tag: str,
    labels: Mapping[str, str],
    arguments: Mapping[str, str],
    engine: DockerEngine,
    note: Callable[[str], None],
) -> None:
    tail: deque[str] = deque(maxlen=3)

    def on_line(line: str) -> None:
        tail.append(line)
        if line.startswith("Step "):
            note(line.partition("  ")[0][:NAME_CHARS])

    try:
        engine.build(context, "Dockerfile", target, tag, labels, arguments, on_line)
    except PrerequisiteError as error:
        raise PrerequisiteError(f"{error.message} Last output: {' | '.join(tail)}", hint=error.hint) from error


@contextmanager
def _empty_context(beside: Path) -> Iterator[Path]:
    sweep_staging(beside.parent)
    with staging_folder(beside.with_name("context"), secrets.token_hex(6)) as context:
        yield context


@contextmanager
def _context(recipe: Flavour, wheels: list[Path]) -> Iterator[Path]:
    """A build context in the wheels' file system, so that they can be linked instead of copied."""
    with _empty_context(wheels[0].parent) as context:
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
