"""Reads 7z archives, whole or in volumes, as far as public text sets need: BabiStories is published as one.

Supported: one coder a folder, of Copy, LZMA, LZMA2, which is what `7z a` makes of text. Everything read is checked
against the archive's CRCs. Memory is the dictionary plus one chunk. Not covered: filters, PPMd, encryption, empty
files.

Layout: 7zFormat.txt of the public-domain LZMA SDK. Decompression: the standard library's liblzma.
"""

import io
import lzma
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from aira_evaluator.split_manifest import DataError

CHUNK_BYTES = 1 << 20
LARGEST_DICTIONARY = 1 << 30
LARGEST_HEADER = 1 << 26
_SIGNATURE = b"7z\xbc\xaf\x27\x1c"
_START = struct.Struct("<6s2sIQQI")
_END, _HEADER, _PACK, _UNPACK, _SUBSTREAMS = 0x00, 0x01, 0x06, 0x07, 0x08
_MAIN_STREAMS, _FILES = 0x04, 0x05
_SIZE, _CRC, _FOLDER, _UNPACK_SIZE, _COUNTS = 0x09, 0x0A, 0x0B, 0x0C, 0x0D
_EMPTY_STREAM, _NAMES, _ENCODED = 0x0E, 0x11, 0x17
_COPY, _LZMA, _LZMA2 = b"\x00", b"\x03\x01\x01", b"\x21"


@dataclass
class _Folder:
    """One compressed stream and the files in it."""

    method: bytes
    properties: bytes
    packed_bytes: int = 0
    unpacked_bytes: int = 0
    crc: int | None = None
    sizes: tuple[int, ...] = ()
    crcs: tuple[int | None, ...] = ()


class _Volumes(io.RawIOBase):
    """Files one behind the other, as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files: list[BinaryIO] = [path.open("rb") for path in paths]
        self._sizes = [path.stat().st_size for path in paths]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset if whence == io.SEEK_SET else self._at + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        start = 0
        for file, size in zip(self._files, self._sizes, strict=True):
            if start <= self._at < start + size:
                file.seek(self._at - start)
                count = file.readinto(buffer)  # type: ignore[attr-defined]
                self._at += count
                return int(count)
            start += size
        return 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


class _Header:
    """The bytes of a header, read from the front."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def byte(self) -> int:
        return self.take(1)[0]

    def take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if count < 0 or len(part) != count:
            _broken("its header ends too early")
        self._at += count
        return part

    def number(self) -> int:
        """A number of 1 to 9 bytes: leading ones of the first byte count the bytes that follow."""
        first = self.byte()
        value = 0
        for index in range(8):
            mask = 0x80 >> index
            if not first & mask:
                return value | ((first & (mask - 1)) << (8 * index))
            value |= self.byte() << (8 * index)
        return value

    def count(self) -> int:
        """A number of things, each of which takes at least a byte of the header: a size, a method or a name."""
        value = self.number()
        if value > len(self._data):
            _broken("its header is damaged")
        return value

    def bits(self, count: int) -> list[bool]:
        data = self.take((count + 7) // 8)
        return [bool(data[index // 8] & (0x80 >> index % 8)) for index in range(count)]

    def crcs(self, count: int) -> list[int | None]:
        defined = [True] * count if self.byte() else self.bits(count)
        return [struct.unpack("<I", self.take(4))[0] if known else None for known in defined]

    def expect(self, identifier: int) -> None:
        if self.byte() != identifier:
            _broken("its header holds something unknown")


def read_members(paths: Sequence[Path]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Names and contents of an archive's files, in the order they are stored; each must be read before the next.

    Raises:
        DataError: not a whole archive of the supported kind, or its content is damaged.
    """
    name = paths[0].name
    try:
        with _Volumes(paths) as volumes:
            position, folders, names = _read_index(volumes)
            for folder in folders:
                volumes.seek(position)
                position += folder.packed_bytes
                stream = _unpack(volumes, folder)
                for crc, size in zip(folder.crcs, folder.sizes, strict=True):
                    yield names.pop(0), _Member(name, _Checked(stream, size, crc))
    except _Broken as error:
        raise DataError(f"{name}: {error}") from None


class _Broken(Exception):
    pass


def _broken(reason: str) -> NoReturn:
    raise _Broken(f"not a 7z archive that can be read here: {reason}")


class _Checked:
    """An iterator over one member's bytes that ends with a check of their number and CRC."""

    def __init__(self, stream: "_Stream", size: int, crc: int | None) -> None:
        self._stream, self._left, self._crc, self._seen = stream, size, crc, 0

    def __iter__(self) -> "_Checked":
        return self

    def __next__(self) -> bytes:
        if self._left == 0:
            if self._crc not in (None, self._seen):
                _broken("a file's checksum is wrong")
            raise StopIteration
        data = self._stream.read(min(CHUNK_BYTES, self._left))
        if not data:
            _broken("it ends in the middle of a file")
        self._left -= len(data)
        self._seen = zlib.crc32(data, self._seen)
        return data


class _Member:
    """A member's bytes for readers outside, who know nothing of archives."""

    def __init__(self, archive: str, checked: _Checked) -> None:
        self._archive, self._checked = archive, checked

    def __iter__(self) -> "_Member":
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._checked)
        except _Broken as error:
            raise DataError(f"{self._archive}: {error}") from None


class _Stream:
    """The unpacked bytes of a folder."""

    def __init__(self, source: BinaryIO, packed: int, decoder: "lzma.LZMADecompressor | None") -> None:
        self._source, self._left, self._decoder = source, packed, decoder

    def _packed(self, limit: int) -> bytes:
        data = self._source.read(min(limit, self._left))
        self._left -= len(data)
        return data

    def read(self, limit: int) -> bytes:
        """Up to `limit` bytes, empty at the end."""
        if self._decoder is None:
            return self._packed(limit)
        while not self._decoder.eof:
            data = self._packed(CHUNK_BYTES) if self._decoder.needs_input else b""
            if self._decoder.needs_input and not data:
                return b""
            try:
                unpacked = self._decoder.decompress(data, max_length=limit)
            except lzma.LZMAError as error:
                _broken(f"its content is damaged ({error})")
            if unpacked:
                return unpacked
        return b""


def _unpack(volumes: _Volumes, folder: _Folder) -> _Stream:
    return _Stream(io.BufferedReader(_Kept(volumes)), folder.packed_bytes, _decoder(folder))


class _Kept(io.RawIOBase):
    """Volumes whose closing is someone else's business."""

    def __init__(self, volumes: _Volumes) -> None:
        self._volumes = volumes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        return self._volumes.readinto(buffer)


def _decoder(folder: _Folder) -> "lzma.LZMADecompressor | None":
    if folder.method == _COPY:
        return None
    properties = folder.properties
    if folder.method == _LZMA2 and len(properties) == 1 and properties[0] <= 40:
        size = 0xFFFFFFFF if properties[0] == 40 else (2 | properties[0] & 1) << (properties[0] // 2 + 11)
        chosen: dict[str, int] = {"id": lzma.FILTER_LZMA2, "dict_size": size}
    elif folder.method == _LZMA and len(properties) == 5 and properties[0] < 225:
        size = int.from_bytes(properties[1:], "little")
        rest, lc = divmod(properties[0], 9)
        pb, lp = divmod(rest, 5)
        chosen = {"id": lzma.FILTER_LZMA1, "dict_size": max(size, 4096), "lc": lc, "lp": lp, "pb": pb}
    else:
        _broken(f"it is packed by method {folder.method.hex()}; unpack it with 7z and pass the folder with --source")
    if size > LARGEST_DICTIONARY:
        _broken(f"its dictionary of {size} bytes is too large")
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[chosen])


def _read_index(volumes: _Volumes) -> tuple[int, list[_Folder], list[str]]:
    """Where the first packed stream begins, the folders, and the names of the files in them."""
    start = volumes.read(_START.size) or b""
    if len(start) != _START.size or not start.startswith(_SIGNATURE):
        _broken("it does not begin like one")
    _, _, start_crc, offset, size, crc = _START.unpack(start)
    if zlib.crc32(start[12:]) != start_crc:
        _broken("its first bytes are damaged")
    data = _read_exactly(volumes, _START.size + offset, size)
    if zlib.crc32(data) != crc:
        _broken("its header is damaged")
    header = _Header(data)
    kind = header.byte()
    if kind == _ENCODED:  # once: a header can hold itself
        position, (folder,) = _read_streams(header)
        volumes.seek(_START.size + position)
        if folder.unpacked_bytes > LARGEST_HEADER:
            _broken("its header is too large")
        unpacked = b"".join(_Checked(_unpack(volumes, folder), folder.unpacked_bytes, folder.crc))
        header = _Header(unpacked)
        kind = header.byte()
    if kind != _HEADER:
        _broken("its header holds something unknown")
    header.expect(_MAIN_STREAMS)
    position, folders = _read_streams(header)
    names = _read_names(header)
    if len(names) != sum(len(folder.sizes) for folder in folders):
        _broken("its header names another number of files than it holds")
    return _START.size + position, folders, names


def _read_exactly(volumes: _Volumes, position: int, size: int) -> bytes:
    if size > LARGEST_HEADER:
        _broken("its header is too large")
    volumes.seek(position)
    parts = []
    while size:
        part = volumes.read(size)
        if not part:
            _broken("it is shorter than its header says; is a volume missing?")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _read_streams(header: _Header) -> tuple[int, list[_Folder]]:
    position, packed, folders = 0, list[int](), list[_Folder]()
    while (kind := header.byte()) != _END:
        if kind == _PACK:
            position, packed = _read_pack(header)
        elif kind == _UNPACK:
            folders = _read_folders(header)
        elif kind == _SUBSTREAMS:
            _read_substreams(header, folders)
        else:
            _broken("its header holds something unknown")
    if len(packed) != len(folders) or not folders:
        _broken("its streams and folders do not match")
    for folder, size in zip(folders, packed, strict=True):
        folder.packed_bytes = size
    return position, folders


def _read_pack(header: _Header) -> tuple[int, list[int]]:
    position, count, sizes = header.number(), header.count(), list[int]()
    while (kind := header.byte()) != _END:
        if kind == _SIZE:
            sizes = [header.number() for _ in range(count)]
        elif kind == _CRC:
            header.crcs(count)
        else:
            _broken("its header holds something unknown")
    return position, sizes


def _read_folders(header: _Header) -> list[_Folder]:
    header.expect(_FOLDER)
    count = header.count()
    header.expect(0)  # not stored elsewhere
    folders = [_read_folder(header) for _ in range(count)]
    header.expect(_UNPACK_SIZE)
    for folder in folders:
        folder.unpacked_bytes = header.number()
    while (kind := header.byte()) != _END:
        if kind != _CRC:
            _broken("its header holds something unknown")
        for folder, crc in zip(folders, header.crcs(count), strict=True):
            folder.crc = crc
    for folder in folders:
        folder.sizes, folder.crcs = (folder.unpacked_bytes,), (folder.crc,)
    return folders


def _read_folder(header: _Header) -> _Folder:
    if header.number() != 1:
        _broken("it uses filters; unpack it with 7z and pass the folder with --source")
    flags = header.byte()
    method = header.take(flags & 0x0F)
    if flags & 0x10 or flags & 0x80:
        _broken("it uses filters; unpack it with 7z and pass the folder with --source")
    return _Folder(method, header.take(header.number()) if flags & 0x20 else b"")


def _read_substreams(header: _Header, folders: list[_Folder]) -> None:
    counts = [1] * len(folders)
    kind = header.byte()
    if kind == _COUNTS:
        counts = [header.count() for _ in folders]
        kind = header.byte()
    sizes = []
    for folder, count in zip(folders, counts, strict=True):
        known = [header.number() for _ in range(count - 1)] if kind == _SIZE and count else []
        sizes.append([*known, folder.unpacked_bytes - sum(known)][:count])
        if any(size < 0 for size in sizes[-1]):
            _broken("its header is damaged")
    if kind == _SIZE:
        kind = header.byte()
    unknown = [count for folder, count in zip(folders, counts, strict=True) if count != 1 or folder.crc is None]
    crcs = iter(header.crcs(sum(unknown)) if kind == _CRC else [None] * sum(unknown))
    for folder, count, parts in zip(folders, counts, sizes, strict=True):
        folder.sizes = tuple(parts)
        folder.crcs = (folder.crc,) if count == 1 and folder.crc is not None else tuple(next(crcs) for _ in parts)
    while kind != _END:
        kind = header.byte()


def _read_names(header: _Header) -> list[str]:
    """Names of the files that have content."""
    header.expect(_FILES)
    count, names, empty = header.count(), list[str](), list[bool]()
    while (kind := header.byte()) != _END:
        part = _Header(header.take(header.number()))
        if kind == _NAMES:
            part.expect(0)
            names = part.take(len(part._data) - 1).decode("utf-16-le", "replace").split("\0")[:-1]
        elif kind == _EMPTY_STREAM:
            empty = part.bits(count)
    if len(names) != count:
        _broken("its header is damaged")
    return [name for index, name in enumerate(names) if not (empty and empty[index])]
