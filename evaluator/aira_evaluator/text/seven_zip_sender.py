"""Unpacks one 7z archive in the process that `seven_zip` starts for it, and sends its members to standard output.

py7zr reads it, after this process has given up memory beyond `MEMORY_BYTES` and every file it could write. Nothing is
unpacked to disk: names of members are text for messages, never paths, and of a link comes what is stored of it, the
name of its target. Accepted are Copy, LZMA and LZMA2, which is what `7z a` makes of text.

Not covered: other methods, filters and encryption, which are refused. (A packed header is unpacked by whatever method
it names; this process is what that can hurt.)
"""

import io
import lzma
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import py7zr
from py7zr.exceptions import CrcError

from aira_evaluator.text.member_frames import ARCHIVE_ENDS, CHUNK_BYTES, DATA, FRAME, MEMBER, MEMBER_ENDS, REFUSAL

MEMORY_BYTES = 2 << 30
"""Of addresses: a dictionary of 1 GiB, the library itself, and its blocks of 128 MB."""
_METHODS = (b"\x00", b"\x03\x01\x01", b"\x21")
"""Copy, LZMA, LZMA2. The library knows a dozen more, most of them in C code of their own."""
_ELSEWHERE = "unpack it with 7z and pass the folder with --source"


class _Member(py7zr.Py7zIO):
    """One file of the archive, sent on as it is unpacked."""

    def __init__(self, name: str, out: BinaryIO) -> None:
        self._out = out
        _send(out, MEMBER, name[:1000].encode("utf-8", "replace"))

    def write(self, s: bytes | bytearray) -> int:
        for start in range(0, len(s), CHUNK_BYTES):
            _send(self._out, DATA, memoryview(s)[start : start + CHUNK_BYTES])
        return len(s)

    def close(self) -> None:
        """The library has compared checksums by now."""
        _send(self._out, MEMBER_ENDS)

    def read(self, size: int | None = None) -> bytes:
        return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def flush(self) -> None: ...

    def size(self) -> int:
        return 0


class _Members(py7zr.WriterFactory):
    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def create(self, filename: str) -> py7zr.Py7zIO:
        return _Member(filename, self._out)


class Volumes(io.RawIOBase):
    """Files one behind the other, as one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Open them all, in order."""
        self._files: list[BinaryIO] = [path.open("rb") for path in paths]
        self._sizes = [path.stat().st_size for path in paths]
        self._at = 0

    def readable(self) -> bool:
        """They are only read."""
        return True

    def seekable(self) -> bool:
        """Archives are read from both ends."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place in all of them together."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: sum(self._sizes)}[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Bytes of one file at most; none at the end of the last."""
        start = 0
        for file, size in zip(self._files, self._sizes, strict=True):
            if start <= self._at < start + size:
                file.seek(self._at - start)
                count: int = file.readinto(buffer)  # type: ignore[attr-defined]
                self._at += count
                return count
            start += size
        return 0


def send_members(paths: Sequence[Path], out: BinaryIO) -> None:
    """Unpack the archive in these volumes and write its members, or why it is refused, as frames."""
    try:
        with io.BufferedReader(Volumes(paths)) as file, py7zr.SevenZipFile(file) as archive:
            _refuse_other_methods(archive)
            archive.extractall(factory=_Members(out))
        return _send(out, ARCHIVE_ENDS)
    except MemoryError:
        why = f"it takes more than {MEMORY_BYTES >> 20} MiB of memory to read"
    except py7zr.PasswordRequired:
        why = f"it is encrypted; {_ELSEWHERE}"
    except (EOFError, lzma.LZMAError, CrcError) as error:
        why = f"its content is damaged ({type(error).__name__})"
    except py7zr.Bad7zFile as error:
        why = f"its header makes no sense, or a volume is missing ({error})"
    except Exception as error:  # a header that makes no sense ends in errors of many other kinds, too
        why = str(error) or type(error).__name__
    _send(out, REFUSAL, " ".join(why.split())[:300].encode("utf-8", "replace"))
    return None


def _refuse_other_methods(archive: py7zr.SevenZipFile) -> None:
    streams = archive.header.main_streams
    for folder in streams.unpackinfo.folders if streams is not None else ():
        methods = [bytes(coder["method"]) for coder in folder.coders]
        if len(methods) != 1 or methods[0] not in _METHODS:
            raise ValueError(f"it is packed by method {' and '.join(method.hex() for method in methods)}; {_ELSEWHERE}")


def _send(out: BinaryIO, kind: bytes, data: bytes | memoryview = b"") -> None:
    out.write(FRAME.pack(kind, len(data)))
    out.write(data)


def main() -> None:
    """Send the archive whose volumes the command line names."""
    for kind, most in ((resource.RLIMIT_AS, MEMORY_BYTES), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))
    send_members([Path(name) for name in sys.argv[1:]], sys.stdout.buffer)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
