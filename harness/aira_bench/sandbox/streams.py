"""Takes apart a container's multiplexed output and keeps a bounded part of it.

Docker sends standard output and error of an attached container as frames: one byte for the stream, three zero
bytes, four bytes of big-endian length, then that many bytes. Frames are cut anywhere by the transport, and a
container may write without end, so nothing here holds more than a few chunks at a time.

Not covered: what the bytes mean. Nothing a container prints is ever trusted.
"""

import hashlib
import struct
from collections.abc import Iterator

from aira_bench.output import CapturedOutput

STDOUT = 1
"""Of the frames' stream numbers; 2 is standard error."""
KEPT_BYTES = 64 * 1024
"""Kept of a stream's beginning, and again of its end."""
_HEADER = struct.Struct(">BxxxI")


class FrameDecoder:
    """Incremental decoder; payloads are passed on in the pieces they arrive in."""

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._left_bytes = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield stream number and payload of every piece in `data`. Exhaust the iterator before the next call."""
        view = memoryview(data)
        while view:
            if self._left_bytes == 0:
                missing = _HEADER.size - len(self._header)
                self._header += bytes(view[:missing])
                view = view[missing:]
                if len(self._header) < _HEADER.size:
                    return
                self._stream, self._left_bytes = _HEADER.unpack(self._header)
                self._header = b""
                continue
            piece = bytes(view[: self._left_bytes])
            view = view[len(piece) :]
            self._left_bytes -= len(piece)
            yield self._stream, piece


class OutputRecorder:
    """Keeps a stream's head and tail, counts and hashes all of it."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self._total_bytes = 0
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Take the stream's next bytes."""
        self._sha256.update(data)
        self._total_bytes += len(data)
        room = self._kept_bytes - len(self._head)
        self._head += data[:room]
        self._tail += data[room:]
        if len(self._tail) > 2 * self._kept_bytes:
            del self._tail[: -self._kept_bytes]

    def captured(self) -> CapturedOutput:
        """Return what was kept so far."""
        return CapturedOutput(
            head=bytes(self._head),
            tail=bytes(self._tail[-self._kept_bytes :]),
            total_bytes=self._total_bytes,
            sha256=self._sha256.hexdigest(),
        )
