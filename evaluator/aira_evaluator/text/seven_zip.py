"""Reads 7z archives, whole or in volumes, in a process of its own: BabiStories is published as one.

What a header says of sizes, counts and dictionaries are a stranger's words, and a small archive can make any reader
ask for gigabytes. So another process (`seven_zip_sender`) gives up memory beyond a limit, lets py7zr unpack, and sends
what it finds through a pipe. Here is the pipe's other end, which trusts what comes no more than the archive.

Not covered: how much an archive may become (`unpacking`), and time, which the preparation's deadline ends.
"""

import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO

from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.member_frames import ARCHIVE_ENDS, CHUNK_BYTES, FRAME, MEMBER, MEMBER_ENDS, REFUSAL


def read_members(paths: Sequence[Path]) -> Generator[tuple[str, Iterator[bytes]]]:
    """Names and contents of an archive's files, in the order they are stored; each must be read before the next.

    A content is only to be believed once its iterator has ended: checksums come last. Closing the generator ends the
    process.

    Raises:
        DataError: not a whole archive of the supported kind, its content is damaged, or reading it takes too much
            memory.
    """
    command = [sys.executable, "-P", "-m", "aira_evaluator.text.seven_zip_sender", *map(str, paths)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield from received(process.stdout, paths[0].name)
        finally:
            process.kill()


def received(stream: IO[bytes], archive: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """The members that come through a pipe.

    Raises:
        DataError: the archive was refused, or the sender died.
    """
    frames = _frames(stream, archive)
    for kind, data in frames:
        if kind == MEMBER:
            yield data.decode("utf-8", "replace"), _content(frames)


def _content(frames: Iterator[tuple[bytes, bytes]]) -> Iterator[bytes]:
    for kind, data in frames:
        if kind == MEMBER_ENDS:
            return
        yield data


def _frames(stream: IO[bytes], archive: str) -> Iterator[tuple[bytes, bytes]]:
    while True:
        head = stream.read(FRAME.size)
        kind, size = FRAME.unpack(head) if len(head) == FRAME.size else (b"", 0)
        data = stream.read(size) if size <= CHUNK_BYTES else b""
        if kind == ARCHIVE_ENDS:
            return
        if kind == REFUSAL:
            raise DataError(f"{archive}: not a 7z archive that can be read here: {data.decode('utf-8', 'replace')}")
        if not kind or len(data) != size:
            raise DataError(f"{archive}: the process that unpacks it died")
        yield kind, data
