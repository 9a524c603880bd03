"""Builds images, only on change: packages of ours over libraries, and over those what a task declares.

Not covered: the libraries (`aira_bench.images.libraries`), and packages that are compiled
(`aira_bench.images.compiled`).
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aira_bench.bundled import bundled_folder
from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError
from aira_bench.images.building import STAGE_LABEL, Build, new_context, only_builder, run_build
from aira_bench.images.choices import chosen_architectures
from aira_bench.images.compiled import CompiledWheel, compiled_wheels, serves
from aira_bench.images.declared import Declared, Layer, find_layer, layer_files
from aira_bench.images.flavour import (
    LABEL,
    OURS_RECIPE,
    PACKAGES,
    TARGET_LABEL,
    TARGETS,
    Flavour,
    load_flavour,
    package_files,
    package_folder,
)
from aira_bench.images.libraries import ensure_libraries

NOTHING = Declared()
_DECLARED_LABEL, _COMPILED_LABEL = "aira-bench.declared", "aira-bench.compiled"


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
        PrerequisiteError: base, wheels or declared packages are not to be had, a build step failed, or our sources
            changed meanwhile: this process was begun with those of before.
        SandboxError: the engine failed.
    """
    recipe = load_flavour(flavour)
    wanted = [recipe.tag(target) for target in TARGETS]
    layers = {target: find_layer(recipe, target, declared, note) for target in TARGETS}
    built = build_images(flavour, engine, note)
    if [each.tag for each in built] != wanted:
        raise PrerequisiteError(
            f"Our sources changed while the images {flavour} were built; this process has those of before.",
            hint="the same command again; the images are there",
        )
    tags = {target: _with_layer(recipe, target, declared, layers[target], engine, note) for target in TARGETS}
    return ImageSet(tags["agent"], tags["evaluator"])


def build_images(flavour: str, engine: DockerEngine, note: Callable[[str], None]) -> list[Built]:
    """Build what is missing; one row an image.

    What libraries and compiled packages are made of may take hours and is none of our sources, so those that are
    there afterwards count.

    Raises:
        PrerequisiteError: base or wheels are not to be had, a build step failed, or what is built of changed under it.
        SandboxError: the engine failed.
    """
    recipe = load_flavour(flavour)
    seconds = dict.fromkeys(TARGETS, 0.0)
    if _missing(recipe, engine):
        with only_builder(note):
            for target in _missing(recipe, engine):
                started_s = time.monotonic()
                ensure_libraries(recipe, engine, note)
                wheels = compiled_wheels(recipe, engine, note) if target == "agent" else {}
                recipe = _as_it_is(recipe)
                _build_ours(recipe, target, wheels, engine, note)
                seconds[target] = time.monotonic() - started_s
            engine.remove_unnamed(STAGE_LABEL)
    sizes = {image.tag: image.size_bytes / 2**20 for image in engine.list_images(TARGET_LABEL)}
    return [Built(recipe.tag(target), sizes.get(recipe.tag(target), 0.0), seconds[target]) for target in TARGETS]


def _missing(recipe: Flavour, engine: DockerEngine) -> list[str]:
    missing = [target for target in TARGETS if not engine.image_exists(recipe.tag(target))]
    # Tags do not say for which devices something was compiled. Where nobody chose, any image does.
    if "agent" not in missing and recipe.compiled and chosen_architectures(recipe.name):
        origins = json.loads(engine.image_labels(recipe.tag("agent")).get(_COMPILED_LABEL, "{}"))
        if not all(serves(origins.get(each.name, ""), each) for each in recipe.compiled):
            return ["agent", *missing]
    return missing


def _as_it_is(recipe: Flavour) -> Flavour:
    """The flavour with the sources of now; its libraries and what is compiled over them must be the same."""
    now = load_flavour(recipe.name)
    if (now.libraries_tag("agent"), now.compiled) != (recipe.libraries_tag("agent"), recipe.compiled):
        raise _changed(recipe)
    return now


def _changed(recipe: Flavour) -> PrerequisiteError:
    return PrerequisiteError(
        f"What the images {recipe.name} are made of changed while they were built; what was built so far is kept.",
        hint=f"aira-bench images build --flavour {recipe.name}",
    )


def _build_ours(
    recipe: Flavour, target: str, wheels: Mapping[str, CompiledWheel], engine: DockerEngine, note: Callable[[str], None]
) -> None:
    """Put packages of ours over the libraries of a target."""
    note(f"building {recipe.tag(target)}")
    origins = json.dumps({name: wheel.origin for name, wheel in wheels.items()}, sort_keys=True)
    labels = {LABEL: recipe.name, TARGET_LABEL: target, _COMPILED_LABEL: origins}
    arguments = {"LIBRARIES": recipe.libraries_tag(target), "IMPORTS": ", ".join(recipe.our_imports(target))}
    with _our_context(recipe, [wheel.path for wheel in wheels.values()]) as context:
        # A tag stands for one content, and somebody may have saved a file while it was copied.
        if load_flavour(recipe.name).tag(target) != recipe.tag(target):
            raise _changed(recipe)
        run_build(context, Build("ours", recipe.tag(target), labels, arguments), engine, note)


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
        labels = {LABEL: recipe.name, TARGET_LABEL: target, _DECLARED_LABEL: ",".join(layer.pins)}
        with new_context(dockerfile, wheels=wheels) as context:
            (context / "declared.lock").write_text(layer.lock, encoding="utf-8")
            run_build(context, Build("declared", tag, labels, {"IMAGE": image}), engine, note)
    return tag


@contextmanager
def _our_context(recipe: Flavour, wheels: Sequence[Path]) -> Iterator[Path]:
    """A build context with packages of ours, and wheels that lie over the libraries."""
    with new_context(recipe.recipe(OURS_RECIPE), wheels=wheels) as context:
        for package in PACKAGES:
            root = package_folder(package)
            for path in package_files(root):
                copied = context / "packages" / package / path.relative_to(root)
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copied)
                copied.chmod(0o644)
        yield context
