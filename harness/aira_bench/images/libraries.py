"""The lower part of a flavour's images: everything that its locks name, over its base.

It is made once for a lock and kept, so that a change of our own code installs nothing anew.

Not covered: packages of ours and those that are compiled (`aira_bench.images.ensure`).
"""

from collections.abc import Callable

from aira_bench.docker_engine import DockerEngine
from aira_bench.images.base import ensure_base
from aira_bench.images.building import STAGE_LABEL, Build, new_context, run_build
from aira_bench.images.flavour import CUDA_HOME_SCRIPT, LABEL, LIBRARIES_RECIPE, TARGETS, Flavour
from aira_bench.images.wheels import fetch_wheels


def ensure_libraries(recipe: Flavour, engine: DockerEngine, note: Callable[[str], None]) -> None:
    """Make the libraries of both targets that are not there.

    Raises:
        PrerequisiteError: base or wheels are not to be had, or a build step failed.
        SandboxError: the engine failed.
    """
    missing = [target for target in TARGETS if not engine.image_exists(recipe.libraries_tag(target))]
    if not missing:
        return
    base = ensure_base(recipe, engine, note)
    wheels = fetch_wheels(recipe, note)
    # Both builds get the same arguments, so that the second finds the first one's layers.
    arguments = {f"{each.upper()}_IMPORTS": ", ".join(recipe.library_imports(each)) for each in TARGETS}
    files = (*recipe.locks, recipe.recipe(CUDA_HOME_SCRIPT))
    with new_context(recipe.recipe(LIBRARIES_RECIPE), files, wheels) as context:
        for target in missing:
            tag = recipe.libraries_tag(target)
            note(f"building {tag}")
            build = Build(target, tag, {LABEL: recipe.name}, {**arguments, "BASE": base})
            run_build(context, build, engine, note)
    engine.remove_unnamed(STAGE_LABEL)
