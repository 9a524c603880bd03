"""What the files of a raw data folder are, by content: prepared data is known by it, whatever path it was read from.

A folder whose files were exchanged in place is other data. Hashes are remembered by each file's inode, size and times,
so that a second look at gigabytes takes moments; a file that changed in the last seconds is not remembered, since it
may change again within one tick of the file system's clock.

Not covered: which files a task reads (`data_source`).
"""

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aira_bench.files import write_json

_MOST_NOTES_BYTES = 256 << 20
_SETTLED_NS = 2 * 10**9


def content_of(folder: Path, names: Sequence[str], notes: Path) -> str:
    """Return a hash over the names and the content of some files and folders.

    Args:
        folder: where they are.
        names: relative paths; one that is not there counts as such.
        notes: a folder for what was hashed before, made at need.
    """
    key = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
    known = _read_notes(notes, f"{key}.json")
    digest, now = hashlib.sha256(), dict[str, list[Any]]()
    for path in (each for name in sorted(names) for each in _below(folder / name)):
        name = os.fsencode(path.relative_to(folder)).hex()
        if path.is_symlink():  # what it leads to within the folder is hashed there; elsewhere containers see nothing
            digest.update(b"link " + name.encode() + b" " + os.fsencode(path.readlink()).hex().encode() + b"\n")
            continue
        mark = _mark(path)
        entry = known.get(name)
        sha256 = entry[1] if entry is not None and entry[0] == mark else _sha256(path)
        if time.time_ns() - max(mark[2:]) > _SETTLED_NS:
            now[name] = [mark, sha256]
        digest.update(b"file " + name.encode() + b" " + sha256.encode() + b"\n")
    if now != known:
        write_json(notes / f"{key}.json", now)
    return digest.hexdigest()


def _below(path: Path) -> Iterator[Path]:
    """The file, or every file and link below the folder."""
    if path.is_dir() and not path.is_symlink():
        for here, folders, names in os.walk(path):
            folders.sort()
            links = (name for name in folders if os.path.islink(os.path.join(here, name)))  # noqa: PTH114, PTH118
            yield from (Path(here, name) for name in sorted((*links, *names)))
    elif os.path.lexists(path):
        yield path


def _mark(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
