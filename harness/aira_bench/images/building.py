"""One build by the engine: a context that holds what its recipe copies, and progress as lines.

The context is a fresh folder beside the wheels, which are linked into it. No checkout, no `.git` and no caches can slip
in.

Not covered: what is built of what (`libraries`, `compiled`, `ensure`).
"""

import contextlib
import os
import re
import secrets
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.excerpts import NAME_CHARS
from aira_bench.paths import cache_folder
from aira_bench.unfinished import only_one, staging_folder, sweep_staging

STAGE_LABEL = "aira-bench.stage"
"""Of stages that hold everything twice, and go when the images are there; until then another try goes on from them."""
_LAYER = re.compile(r"---> ([0-9a-f]{12})")
"""How the engine tells of a layer that a step made, or found."""
_DOCKERFILE = "Dockerfile"


@dataclass(frozen=True)
class Build:
    """What an engine is to make of a context."""

    target: str
    tag: str
    labels: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def new_context(recipe: Path, files: Iterable[Path] = (), wheels: Iterable[Path] | None = None) -> Iterator[Path]:
    """A build context with a recipe, files that it copies, and a folder of wheels where some are given."""
    place = _wheels() / "context"
    place.parent.mkdir(parents=True, exist_ok=True)
    sweep_staging(place.parent)
    with staging_folder(place, secrets.token_hex(6)) as context:
        shutil.copyfile(recipe, context / _DOCKERFILE)
        for path in files:
            shutil.copyfile(path, context / path.name)
            (context / path.name).chmod(0o644)
        if wheels is not None:
            (context / "wheels").mkdir()
            for wheel in wheels:
                os.link(wheel, context / "wheels" / wheel.name)
        yield context


@contextmanager
def only_builder(note: Callable[[str], None]) -> Iterator[None]:
    """Let one process of this user build at a time: what a build leaves is removed when it ends."""
    _wheels().mkdir(parents=True, exist_ok=True)
    with only_one(_wheels() / "build.lock", lambda: note("waiting: another process builds images")):
        yield


def run_build(
    context: Path,
    build: Build,
    engine: DockerEngine,
    note: Callable[[str], None],
    told: Callable[[str], str] | None = None,
) -> None:
    """Build an image, telling its steps.

    Args:
        context: from `new_context`.
        build: what is made of it.
        engine: builds.
        note: told each step.
        told: makes more notes of a line of output; an empty one is no note.

    Raises:
        PrerequisiteError: a step failed; the message ends with its last output.
    """
    tail: deque[str] = deque(maxlen=3)
    layers: set[str] = set()

    def on_line(line: str) -> None:
        tail.append(line)
        if layer := _LAYER.fullmatch(line.strip()):
            layers.add(layer[1])
        if line.startswith("Step "):
            note(line.partition("  ")[0][:NAME_CHARS])
        elif told is not None and (more := told(line)):
            note(more)

    try:
        engine.build(context, _DOCKERFILE, build.target, build.tag, build.labels, build.arguments, on_line)
    except BaseException as error:
        with contextlib.suppress(SandboxError):  # what the build died of is what there is to say
            engine.remove_unfinished(layers, STAGE_LABEL)
        if isinstance(error, PrerequisiteError):
            raise PrerequisiteError(f"{error.message} Last output: {' | '.join(tail)}", hint=error.hint) from error
        raise


def _wheels() -> Path:
    return cache_folder() / "wheels"
