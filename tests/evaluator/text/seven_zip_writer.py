"""Writes 7z archives byte by byte, so that a header can say whatever it likes."""

import lzma
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

COPY = b"\x01\x00"


def lzma2(dictionary: int = 0x10) -> bytes:
    """A coder with a dictionary by its code: 0x10 is 1 MiB, 38 is 2 GiB, 40 is 4 GiB less a byte."""
    return bytes([0x21, 0x21, 1, dictionary])


def packed_by_lzma2(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 20}])


def number(value: int) -> bytes:
    """As 7zFormat.txt writes numbers: leading ones of the first byte count the bytes that follow."""
    for more in range(8):
        if value < 1 << 7 * (more + 1):
            first = (0xFF00 >> more) & 0xFF
            return bytes([first | value >> 8 * more]) + (value & ((1 << 8 * more) - 1)).to_bytes(more, "little")
    return b"\xff" + value.to_bytes(8, "little")


@dataclass
class Archive:
    """One folder of members, each with a name, a size and a checksum; every field may lie."""

    packed: bytes
    names: Sequence[str]
    sizes: Sequence[int]
    crcs: Sequence[int] = ()
    coder: bytes = field(default_factory=lzma2)
    coders: int = 1
    members: int | None = None
    unpacked: int | None = None

    @classmethod
    def of(cls, files: dict[str, bytes]) -> "Archive":
        contents = list(files.values())
        return cls(
            packed_by_lzma2(b"".join(contents)), list(files), [len(data) for data in contents],
            [zlib.crc32(data) for data in contents],
        )  # fmt: skip

    def header(self) -> bytes:
        members = len(self.sizes) if self.members is None else self.members
        unpacked = sum(self.sizes) if self.unpacked is None else self.unpacked
        names = b"\0" + b"".join(name.encode("utf-16-le") + b"\0\0" for name in self.names)
        crcs = b"\x0a\x01" + b"".join(struct.pack("<I", crc) for crc in self.crcs) if self.crcs else b""
        sizes = b"\x09" + b"".join(map(number, self.sizes[:-1])) if len(self.sizes) > 1 else b""
        return b"".join([
            b"\x01\x04\x06", number(0), number(1), b"\x09", number(len(self.packed)), b"\x00",
            b"\x07\x0b", number(1), b"\x00", number(self.coders), self.coder, b"\x0c", number(unpacked), b"\x00",
            b"\x08\x0d", number(members), sizes, crcs, b"\x00\x00",
            b"\x05", number(members), b"\x11", number(len(names)), names, b"\x00\x00",
        ])  # fmt: skip

    def plain(self) -> bytes:
        """With its header as it is."""
        return framed(self.packed, self.header())

    def encoded(self, coder: bytes | None = None, said_bytes: int | None = None) -> bytes:
        """With its header packed, as 7z does it."""
        header = self.header()
        packed = packed_by_lzma2(header)
        pointer = b"".join([
            b"\x17\x06", number(len(self.packed)), number(1), b"\x09", number(len(packed)), b"\x00",
            b"\x07\x0b", number(1), b"\x00", number(1), coder or lzma2(), b"\x0c",
            number(len(header) if said_bytes is None else said_bytes), b"\x00\x00",
        ])  # fmt: skip
        return framed(self.packed + packed, pointer)


def framed(body: bytes, header: bytes) -> bytes:
    """A body and the header behind it, with the 32 bytes that point to it."""
    start = struct.pack("<QQI", len(body), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(start)) + start + body + header
