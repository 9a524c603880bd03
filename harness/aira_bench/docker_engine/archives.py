"""Folders as tar streams, to an engine and from it, without a copy of them on disk.

Not covered: streams of strangers; what comes back is of containers that a build of ours made.
"""

import os
import tarfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

_CHUNK_BYTES = 1 << 20


def packed(folder: Path) -> Iterator[bytes]:
    """Yield the content of a folder as a tar archive, all of it root's, in an order that does not change."""
    reading, writing = os.pipe()
    packing = threading.Thread(target=_pack, args=(folder, writing), daemon=True)
    packing.start()
    try:
        with os.fdopen(reading, "rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
    finally:  # the reading end is closed: a packer that is not done gets an error, and ends
        packing.join()


def _pack(folder: Path, descriptor: int) -> None:
    def of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        return entry

    try:
        with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w|") as archive:
            for path in sorted(folder.iterdir()):
                archive.add(path, path.name, filter=of_root)
    except BrokenPipeError:
        pass  # the engine has stopped listening, and says why


def unpacked(stream: Iterable[bytes], into: Path) -> list[Path]:
    """Write the regular files of a tar stream into one folder, by their own names alone; return their paths."""
    reading, writing = os.pipe()

    def feed() -> None:
        try:
            with os.fdopen(writing, "wb") as pipe:
                for chunk in stream:
                    pipe.write(chunk)
        except BrokenPipeError:
            pass

    feeding = threading.Thread(target=feed, daemon=True)
    feeding.start()
    paths = []
    try:
        with os.fdopen(reading, "rb") as pipe, tarfile.open(fileobj=pipe, mode="r|") as archive:
            for entry in archive:
                content = archive.extractfile(entry) if entry.isreg() else None
                if content is None:
                    continue
                path = into / PurePosixPath(entry.name).name
                with path.open("wb") as file:
                    while chunk := content.read(_CHUNK_BYTES):
                        file.write(chunk)
                paths.append(path)
            while pipe.read(_CHUNK_BYTES):
                pass
    finally:
        feeding.join()
    return sorted(paths)
