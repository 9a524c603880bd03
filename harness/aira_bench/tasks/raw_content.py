"""What the files of a raw data folder are, by content: prepared data is known by it, whatever path it was read from.

A folder whose files were exchanged in place is other data. Hashes are remembered by each file's inode, size and times,
so that a second look at gigabytes takes moments; a file that changed in the last seconds is not remembered, since it
may change again within one tick of the file system's clock.

Not covered: which files a task reads (`data_source`).
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aira_bench.files import Unacceptable, parse_json, read_file, write_json

_MOST_NOTES_BYTES = 256 << 20
_SETTLED_NS = 2 * 10**9


def content_of(folder: Path, names: Sequence[str], notes: Path) -> str:
    """Return a hash over the names and the content of some files and folders.

    Args:
        folder: where they are. If none of them is there any more, they count as what they were at the last look.
        names: relative paths.
        notes: a folder for what was hashed before, made at need.
    """
    note = f"{hashlib.sha256(repr((str(folder.absolute()), sorted(names))).encode()).hexdigest()[:16]}.json"
    seen = _read_notes(notes, note)
    if not any((folder / name).exists() for name in names):
        return seen.sha256
    found = _look(folder, names, seen.files)
    if found != seen:
        write_json(notes / note, {"sha256": found.sha256, "files": found.files})
    return found.sha256


@dataclass(frozen=True)
class _Seen:
    sha256: str = ""
    files: Mapping[str, list[str]] = field(default_factory=dict)
    """Mark and SHA-256 of each file that had settled, by its name in hexadecimal digits."""


def _look(folder: Path, names: Sequence[str], known: Mapping[str, list[str]]) -> _Seen:
    digest, settled = hashlib.sha256(), dict[str, list[str]]()
    shown = [folder / name for name in sorted(names)]  # mounted, so that a link here is followed
    for path in (each for root in shown for each in _below(root)):
        name = os.fsencode(path.relative_to(folder)).hex()
        if path.is_symlink() and path not in shown:
            # What it leads to within a folder is hashed there; what lies elsewhere, containers do not see.
            digest.update(f"link {name} {os.fsencode(path.readlink()).hex()}\n".encode())
        elif path.is_file():
            status = path.stat()
            mark = _mark(status)
            entry = known.get(name)
            sha256 = entry[1] if entry is not None and entry[0] == mark else _sha256(path)
            if time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
                settled[name] = [mark, sha256]
            digest.update(f"file {name} {sha256}\n".encode())
    return _Seen(digest.hexdigest(), settled)


def _read_notes(notes: Path, name: str) -> _Seen:
    try:
        value = parse_json(read_file(notes, name, _MOST_NOTES_BYTES, owned=True))
        return _Seen(str(value["sha256"]), dict(value["files"]))
    except (OSError, Unacceptable, KeyError, TypeError, ValueError):
        return _Seen()


def _below(root: Path) -> Iterator[Path]:
    """The file, or every file and link below the folder; no link below it is followed."""
    if not root.is_dir():
        yield root
        return
    for here, folders, names in os.walk(root):
        folders.sort()
        links = (name for name in folders if Path(here, name).is_symlink())
        yield from (Path(here, name) for name in sorted((*links, *names)))


def _mark(status: os.stat_result) -> str:
    return " ".join(map(str, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
