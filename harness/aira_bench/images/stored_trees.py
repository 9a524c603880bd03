"""What the store of file trees holds, and which of it nothing will ask for again.

Files are made by the first container that needs them (`aira_bench.sandbox.trees`), 2 GB for an image. They stay while
an image is there that they belong to, or a data folder that they were made of last, or a volume that mounts them:
`images build` and the start of a run remove the others.

Not covered: images themselves; `docker image rm` removes those.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from aira_bench.docker_engine import DockerEngine
from aira_bench.images.flavour import LABEL, TARGET_LABEL
from aira_bench.sandbox.caretaker import STORE_LABEL, Caretaker
from aira_bench.sandbox.hardening import OWNER_LABEL
from aira_bench.sandbox.trees import MACHINE, OwnTrees, image_key, machine_key

UNFINISHED = "unfinished"
"""What stored trees are of whose maker was killed."""


@dataclass(frozen=True)
class StoredTrees:
    """The files of one image or data folder."""

    key: str
    of: str
    """An image's tag, or the path of a data folder."""
    size_mib: float
    current: bool
    """Whether something may still ask for them."""


def stored_trees(engine: DockerEngine) -> list[StoredTrees]:
    """Return all that the store holds.

    Raises:
        SandboxError: the engine failed.
    """
    with _store(engine, None) as store:
        return [] if store is None else _listed(engine, *store)


def prune_trees(engine: DockerEngine, caretaker: Caretaker | None = None) -> list[StoredTrees]:
    """Remove what is not current, and what makers left that were killed; return it. Live containers keep theirs.

    Args:
        engine: where the store is.
        caretaker: looks into it; None starts one for this alone.

    Raises:
        SandboxError: the engine failed.
    """
    with _store(engine, caretaker) as store:
        if store is None:
            return []
        trees, image = store
        stale = [stored for stored in _listed(engine, trees, image) if not stored.current]
        for stored in stale:
            trees.remove(stored.key, image)
        unfinished_mib = trees.tidy(image)
        return stale + ([StoredTrees("", UNFINISHED, unfinished_mib, current=False)] if unfinished_mib else [])


def freed(removed: list[StoredTrees]) -> str:
    """One line about what was removed; empty if nothing was."""
    if not removed:
        return ""
    total_gib = sum(stored.size_mib for stored in removed) / 1024
    return f"removed file trees that nothing uses any more: {len(removed)}, {total_gib:.1f} GiB freed"


@contextmanager
def _store(engine: DockerEngine, caretaker: Caretaker | None) -> Iterator[tuple[OwnTrees, str] | None]:
    """The store and an image of ours, for the container that looks into it; None if there is none of either."""
    tags = [image.tag for image in engine.list_images(TARGET_LABEL)]
    if not tags or not engine.volumes(STORE_LABEL):
        yield None
        return
    looking = caretaker or Caretaker(engine)
    try:
        yield OwnTrees(engine, looking), tags[0]
    finally:
        if caretaker is None:
            looking.close()


def _listed(engine: DockerEngine, trees: OwnTrees, image: str) -> list[StoredTrees]:
    found = trees.listed(image)
    needed = {PurePath(device).parent.name for device in engine.devices(OWNER_LABEL)}
    needed |= {image_key(engine.inspect_image(each.tag)) for each in engine.list_images(LABEL)}
    needed |= {machine_key(engine), *_newest_of_folders(found)}
    return [StoredTrees(key, str(each["of"]), int(each["bytes"]) / 2**20, key in needed) for key, each in found.items()]


def _newest_of_folders(found: dict[str, dict[str, Any]]) -> set[str]:
    """Keys of data folders that are there, each as it was last: its trees of before are of content that is gone."""
    by_age = sorted(found, key=lambda key: float(found[key]["made_s"]))
    newest = {str(found[key]["of"]): key for key in by_age if found[key]["of"] != MACHINE}
    return {key for of, key in newest.items() if of.startswith("/") and Path(of).is_dir()}
