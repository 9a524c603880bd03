"""One file for runs: a gzipped tar in a form so strict that there is nothing to parse.

First stands `pack.json`, which lists every file with its size and hash, then the files, in the order of their names. A
reader makes each header anew from the list and takes that header alone, byte for byte: so there are no links, devices,
owners, modes, times, long names or sizes to lie with. The same files make the same pack.

Not covered: which files of a run belong in a pack (`aira_bench.packs.submitting`), and whether they hold what they say
(`aira_bench.packs.merging`).
"""

import gzip
import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aira_bench.errors import RunStateError
from aira_bench.escaping import json_text
from aira_bench.files import Unacceptable, hash_file, open_file, parse_json
from aira_bench.tasks.schema import describe_validation_error

INDEX = "pack.json"
SCHEMA = 1
MOST_INDEX_BYTES = 64 * 2**20
MOST_FILES = 500_000
MOST_FILE_BYTES = 2**32
MOST_RATIO = 200
"""What a pack may unpack to, as a multiple of its own size, and at least `ALWAYS_BYTES`."""
ALWAYS_BYTES = 64 * 2**20
_BLOCK = 512
_PIECE = 1 << 20
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_STEP = rf"\d{{4,7}}(?:-[0-9a-f-]{{1,20}})?(?:/{_PART}){{1,6}}"
_OF_STEPS = rf"(?:nodes|calls|hidden|hidden/confirmed)/{_STEP}"
_SEED = rf"(?:journal\.jsonl|hidden/scores\.jsonl|hidden/confirmed\.jsonl|{_OF_STEPS})"
_RUN_FILE = re.compile(rf"runs/{_PART}/(?:manifest\.json|record\.jsonl|agent\.py|seeds/\d{{1,10}}/{_SEED})")


class PackedFile(BaseModel):
    """Size and SHA-256 of one file of a pack."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    bytes: int = Field(ge=0, le=MOST_FILE_BYTES)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class PackIndex(BaseModel):
    """What stands first in a pack."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    schema_: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)
    files: Annotated[dict[str, PackedFile], Field(min_length=1, max_length=MOST_FILES)]

    @property
    def total_bytes(self) -> int:
        """What all files have together."""
        return sum(file.bytes for file in self.files.values())


@dataclass(frozen=True)
class Source:
    """Where a file of a pack is read."""

    root: Path
    name: str


def is_packed_name(name: str) -> bool:
    """Whether a name is one that a pack may hold: the board of its runs, or a file of a run."""
    return name == "board.json" or (_RUN_FILE.fullmatch(name) is not None and len(name) <= 250)


def write_pack(stream: IO[bytes], files: Mapping[str, Source], others: Mapping[str, bytes]) -> PackIndex:
    """Write a pack, and return its list.

    Args:
        stream: what it is written to.
        files: where each file is read, by its name in the pack.
        others: content of files that are made for the pack.

    Raises:
        Unacceptable: a name is none of a pack's, or a file changed while it was packed.
        FileNotFoundError: a file is gone.
    """
    names = sorted({*files, *others})
    for name in names:
        if not is_packed_name(name):
            raise Unacceptable(f"{name!r} is no name of a file of a run")
    listed = {}
    for name in names:
        if name in others:
            size, digest = len(others[name]), hashlib.sha256(others[name]).hexdigest()
        else:
            place = files[name]
            size = (place.root / place.name).lstat().st_size
            digest = hash_file(place.root, place.name, MOST_FILE_BYTES)
        listed[name] = PackedFile(bytes=size, sha256=digest)
    index = PackIndex(schema=SCHEMA, files=listed)
    with gzip.GzipFile("", "wb", 9, stream, mtime=0) as packed:
        _add(packed, INDEX, iter([_encoded(index)]), len(_encoded(index)))
        for name in names:
            pieces = iter([others[name]]) if name in others else _pieces(files[name])
            _add(packed, name, pieces, listed[name].bytes)
        packed.write(bytes(2 * _BLOCK))
    return index


def _encoded(index: PackIndex) -> bytes:
    return (json_text(index.model_dump(mode="json", by_alias=True)) + "\n").encode()


def _pieces(place: Source) -> Iterator[bytes]:
    with open_file(place.root, place.name) as descriptor, open(descriptor, "rb", closefd=False) as file:
        while piece := file.read(_PIECE):
            yield piece


def _add(packed: gzip.GzipFile, name: str, pieces: Iterator[bytes], size: int) -> None:
    packed.write(_header(name, size))
    written = 0
    for piece in pieces:
        packed.write(piece)
        written += len(piece)
    if written != size:
        raise Unacceptable(f"{name} changed while it was packed")
    packed.write(bytes(-size % _BLOCK))


def _header(name: str, size: int) -> bytes:
    """The one header that a file of that name and size has."""
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf(tarfile.USTAR_FORMAT)


def unpack(path: Path, folder: Path) -> PackIndex:
    """Write all files of a pack below an empty folder, and return its list.

    Args:
        path: of the pack, which may be anybody's.
        folder: where they are written; its files are new, or it fails.

    Raises:
        RunStateError: it is no pack, or its content is not what it lists; what was written by then is left.
    """
    try:
        with open_file(path.parent, path.name) as descriptor, open(descriptor, "rb", closefd=False) as file:
            return _unpacked(_Inflating(file), path.stat().st_size, folder)
    except FileNotFoundError:
        raise RunStateError(f"There is no pack at {path}.", hint="aira-bench submit RUN --out PACK") from None
    except (Unacceptable, zlib.error) as error:
        raise RunStateError(f"{path} is no pack of runs: {error}.") from error


def _unpacked(stream: "_Inflating", packed_bytes: int, folder: Path) -> PackIndex:
    index = _index_of(stream)
    most = max(ALWAYS_BYTES, MOST_RATIO * packed_bytes)
    if index.total_bytes > most:
        raise Unacceptable(f"it would unpack to {index.total_bytes:,} bytes, at most {most:,} are taken of its size")
    for name, listed in index.files.items():
        stream.require(_header(name, listed.bytes), f"the header of {name}")
        place = folder / PurePosixPath(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with place.open("xb") as file:
            for piece in stream.pieces(listed.bytes):
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != listed.sha256:
            raise Unacceptable(f"{name} is not what it lists: its hash is another")
        stream.require(bytes(-listed.bytes % _BLOCK), f"what fills the last block of {name}")
    stream.require(bytes(2 * _BLOCK), "the end")
    stream.require_over()
    return index


def _index_of(stream: "_Inflating") -> PackIndex:
    """The list, whose size its header says in a form that is made anew and compared."""
    header = stream.read(_BLOCK)
    digits = header[124:135]
    size = int(digits, 8) if re.fullmatch(rb"[0-7]{11}", digits) else -1
    if not 0 < size <= MOST_INDEX_BYTES or header != _header(INDEX, size):
        raise Unacceptable(f"it does not begin with {INDEX}")
    content = stream.read(size)
    stream.require(bytes(-size % _BLOCK), f"what fills the last block of {INDEX}")
    try:
        index = PackIndex.model_validate(parse_json(content))
    except ValidationError as error:
        raise Unacceptable(f"{INDEX}: {describe_validation_error(error)}") from error
    if wrong := next((name for name in index.files if not is_packed_name(name)), None):
        raise Unacceptable(f"{INDEX} names a file that no run has: {wrong[:100]!r}")
    if list(index.files) != sorted(index.files):
        raise Unacceptable(f"{INDEX} names its files out of their order")
    folders = {str(folder) for name in index.files for folder in PurePosixPath(name).parents}
    if wrong := next((name for name in index.files if name in folders), None):
        raise Unacceptable(f"{INDEX} names {wrong[:100]!r} as a file and as a folder")
    if len({name.lower() for name in index.files}) != len(index.files):
        raise Unacceptable(f"{INDEX} names two files that are one on some machines")
    return index


class _Inflating:
    """Bytes of a gzipped file of one member, never more of them in memory than were asked for, and some."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._inflate, self._ahead = file, zlib.decompressobj(wbits=31), b""

    def read(self, size: int) -> bytes:
        """Return just so many bytes; raises Unacceptable at an earlier end."""
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[bytes]:
        """Yield just so many bytes, piece by piece; raises Unacceptable at an earlier end."""
        while size > 0:
            piece = self._next(min(size, _PIECE))
            if not piece:
                raise Unacceptable("it ends too early")
            size -= len(piece)
            yield piece

    def _next(self, most: int) -> bytes:
        while not self._inflate.eof:
            ahead = self._ahead or self._file.read(1 << 16)
            piece = self._inflate.decompress(ahead, most)
            self._ahead = self._inflate.unconsumed_tail
            if piece or not ahead:
                return piece
        return b""

    def require(self, expected: bytes, what: str) -> None:
        """Raises Unacceptable unless just these bytes come next."""
        if self.read(len(expected)) != expected:
            raise Unacceptable(f"{what} is not as it is in every pack")

    def require_over(self) -> None:
        """Raises Unacceptable unless nothing follows, inside or behind."""
        if self._next(1) or not self._inflate.eof or self._inflate.unused_data or self._file.read(1):
            raise Unacceptable("something follows its end")
