"""One commit to a folder on object storage: which pieces of which files it adds, and how they are put into objects.

A commit is one small object that is made once. It holds the attempt that made it and the pieces of chains (`.jsonl`
files, of which what is appended is a piece) and of small files; larger files are in packs beside it, made before. So a
journal's line is there if and only if all that it speaks of is.

Not covered: the order of commits, and who may make one (`folder_copy`).
"""

import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.errors import RunStateError
from aira_bench.files import open_file, parse_json

CHAIN = ".jsonl"
"""How names of files end that are appended to."""
PIECE_BYTES = 1 << 21
"""Of the largest piece, and of all in one pack: less than an object may have."""
INLINE_BYTES = 1 << 16
"""Compressed, of what a commit holds itself where it could be a pack."""
_MOST_RAW_BYTES = 1 << 28
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def _plain(path: str) -> str:
    if not path or "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise ValueError(f"{path[:80]!r} leads out of its folder")
    return path


Name = Annotated[str, Field(max_length=1000), AfterValidator(_plain)]


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Piece:
    """A part of a file, from a byte on; the file has `size` bytes with this commit."""

    path: Name
    at: Annotated[int, Field(ge=0)]
    bytes: Annotated[int, Field(ge=0, le=_MOST_RAW_BYTES)]
    size: Annotated[int, Field(ge=0)]


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Pack:
    """An object with pieces."""

    name: Annotated[str, Field(pattern="^[0-9a-f]{16,64}$")]
    sha256: str
    chains: bool = False
    """Whether there are pieces of chains among them, too many for the commit itself."""


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Commit:
    """What one commit says."""

    attempt: Annotated[int, Field(ge=0)]
    """Of the lease under which it was made; 0 where nobody needs one."""
    own: str
    """Unlike that of any other commit."""
    packs: tuple[Pack, ...] = ()
    removed: tuple[Name, ...] = ()
    schema: Literal[1] = 1


_COMMIT: TypeAdapter[Commit] = TypeAdapter(Commit)
_PIECES: TypeAdapter[tuple[Piece, ...]] = TypeAdapter(tuple[Piece, ...])


def encode_commit(commit: Commit, inline: bytes) -> bytes:
    """Return a commit as an object, with the pieces that it holds itself as `pack_pieces` made them."""
    return json.dumps(asdict(commit), separators=(",", ":")).encode() + b"\n" + inline


def decode_commit(data: bytes, name: str) -> tuple[Commit, bytes]:
    """Return what a commit says, and the pieces that it holds itself.

    Raises:
        RunStateError: it is none of this version.
    """
    head, _, inline = data.partition(b"\n")
    try:
        parse_json(head)
        return _COMMIT.validate_json(head, strict=False), inline
    except ValueError as error:
        raise RunStateError(f"{name} is no commit of this version: {str(error).splitlines()[0]}.") from error


def pack_pieces(root: Path, pieces: Sequence[Piece]) -> bytes:
    """Return pieces of files as they are now, compressed, with a list of them in front.

    Raises:
        Unacceptable: a file is none, or is shorter by now.
        FileNotFoundError: a file is gone.
    """
    listed = json.dumps([asdict(piece) for piece in pieces], separators=(",", ":")).encode()
    return zlib.compress(listed + b"\n" + b"".join(_read(root, piece) for piece in pieces), 6)


def unpack_pieces(data: bytes, root: Path, name: str) -> list[str]:
    """Write pieces where they belong, in their order, and return the names of their files. Done twice it is the same.

    Raises:
        RunStateError: the data is no pack of this version.
        OSError: a file cannot be written.
    """
    try:
        inflating = zlib.decompressobj()
        raw = inflating.decompress(data, _MOST_RAW_BYTES)
        listed, _, rest = raw.partition(b"\n")
        pieces = _PIECES.validate_json(listed)
        if inflating.unconsumed_tail or sum(piece.bytes for piece in pieces) != len(rest):
            raise ValueError("it has more, or less, than it lists")
    except (ValueError, zlib.error) as error:
        raise RunStateError(f"{name} is no pack of this version: {str(error).splitlines()[0]}.") from error
    at = 0
    for piece in pieces:
        _write(root, piece, rest[at : at + piece.bytes])
        at += piece.bytes
    return [piece.path for piece in pieces]


def split(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """Group pieces for packs, in their order."""
    group: list[Piece] = []
    for piece in pieces:
        if group and sum(each.bytes for each in group) + piece.bytes > PIECE_BYTES:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def pieces_of(path: str, start: int, size: int) -> Iterator[Piece]:
    """The pieces of a file from a byte on; one without bytes where it is empty, or was cut."""
    at = start
    while True:
        count = min(PIECE_BYTES, size - at)
        yield Piece(path, at, count, size)
        at += count
        if at >= size:
            return


@dataclass(frozen=True)
class FileState:
    """By what a file is known to be as it was."""

    size: int
    changed_ns: int
    inode: int
    sha256: str = ""
    """Of chains."""


def file_state(root: Path, name: str) -> FileState:
    """Look at a file.

    Raises:
        FileNotFoundError: it is not there.
    """
    found = (root / name).lstat()
    return FileState(found.st_size, found.st_mtime_ns, found.st_ino)


def sha256_of_start(root: Path, name: str, size: int) -> str:
    """Return the hash of a file's first bytes, or of all where it has fewer."""
    digest = hashlib.sha256()
    with open_file(root, name) as descriptor:
        at = 0
        while at < size and (data := os.pread(descriptor, min(PIECE_BYTES, size - at), at)):
            digest.update(data)
            at += len(data)
    return digest.hexdigest()


def _read(root: Path, piece: Piece) -> bytes:
    with open_file(root, piece.path) as descriptor:
        data = os.pread(descriptor, piece.bytes, piece.at)
    if len(data) != piece.bytes:
        raise FileNotFoundError(piece.path)
    return data


def _write(root: Path, piece: Piece, data: bytes) -> None:
    path, is_hidden = root / piece.path, piece.path.startswith("hidden/")
    for folder in reversed(PurePosixPath(piece.path).parents[:-1] if "/" in piece.path else ()):
        (root / folder).mkdir(mode=0o700 if is_hidden else 0o777, exist_ok=True)
    descriptor = os.open(path, _FLAGS, 0o600 if is_hidden or piece.path.endswith(CHAIN) else 0o666)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise RunStateError(f"{path} is no regular file.")
        if piece.at == 0 or os.fstat(descriptor).st_size > piece.at:
            os.ftruncate(descriptor, piece.at)
        view, at = memoryview(data), piece.at
        while view:
            count = os.pwrite(descriptor, view, at)
            view, at = view[count:], at + count
    finally:
        os.close(descriptor)
