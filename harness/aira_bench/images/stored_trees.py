"""What the store of file trees holds, and which of it nothing will ask for again.

Files are made by the first container that needs them (`aira_bench.sandbox.trees`), 2 GB for an image, and stay.

Not covered: images themselves; `docker image rm` removes those.
"""

from dataclasses import dataclass
from pathlib import Path

from aira_bench.docker_engine import DockerEngine
from aira_bench.images.flavour import LABEL
from aira_bench.sandbox.caretaker import STORE_LABEL, Caretaker
from aira_bench.sandbox.trees import MACHINE, OwnTrees, image_key, machine_key


@dataclass(frozen=True)
class StoredTrees:
    """The files of one image or data folder."""

    key: str
    of: str
    """An image's tag, or the path of a data folder."""
    size_mib: float
    current: bool
    """Whether the image or folder is still there, and these are the files it would get."""


def stored_trees(engine: DockerEngine) -> list[StoredTrees]:
    """Return all that the store holds.

    Raises:
        SandboxError: the engine failed.
    """
    caretaker = Caretaker(engine)
    try:
        return _listed(engine, caretaker)
    finally:
        caretaker.close()


def prune_trees(engine: DockerEngine) -> list[StoredTrees]:
    """Remove what is not current; return it. Containers that have it mounted keep it to their end.

    Raises:
        SandboxError: the engine failed.
    """
    caretaker = Caretaker(engine)
    try:
        stale = [trees for trees in _listed(engine, caretaker) if not trees.current]
        for trees in stale:
            OwnTrees(engine, caretaker).remove(trees.key, _any_image(engine))
        return stale
    finally:
        caretaker.close()


def _listed(engine: DockerEngine, caretaker: Caretaker) -> list[StoredTrees]:
    image = _any_image(engine)
    if not image or not engine.volumes(STORE_LABEL):
        return []
    found = OwnTrees(engine, caretaker).listed(image)
    return [
        StoredTrees(key, str(each["of"]), int(each["bytes"]) / 2**20, _is_current(engine, key, str(each["of"])))
        for key, each in found.items()
    ]


def _is_current(engine: DockerEngine, key: str, of: str) -> bool:
    if of == MACHINE:
        return key == machine_key(engine)
    if of.startswith("/"):
        return Path(of).is_dir()
    return engine.image_exists(of) and image_key(engine.inspect_image(of)) == key


def _any_image(engine: DockerEngine) -> str:
    """An image of ours, for the container that looks into the store; empty if there is none."""
    tags = [image.tag for image in engine.list_images(LABEL) if "-base-" not in image.tag]
    return tags[0] if tags else ""
