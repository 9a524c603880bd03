"""A container's standard streams as one socket.

Not covered: telling the streams apart in what is received (`aira_bench.sandbox.streams`).
"""

import contextlib
import math
import socket
import ssl
import time
from typing import Any, cast

_RECEIVE_BYTES = 256 * 1024
_TICK_S = 0.2


class Attachment:
    """A container's standard streams as one socket, opened before the container starts."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - the SDK returns a SocketIO or a TLS socket, untyped
        # The SDK object is kept: closing it closes the HTTP response that owns the descriptor.
        self._stream = stream
        self._socket = cast("socket.socket | ssl.SSLSocket", getattr(stream, "_sock", stream))
        # One thread reads while another writes, and both share the socket's timeout: it is set once, to a tick
        # after which each looks at its own deadline.
        self._socket.settimeout(_TICK_S)

    def send(self, data: bytes, timeout_s: float) -> None:
        """Write all of `data` to the container's standard input.

        Raises:
            TimeoutError: it was not taken within `timeout_s`.
            OSError: the container or the engine is gone.
        """
        deadline_s = time.monotonic() + timeout_s
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except TimeoutError:
                if time.monotonic() >= deadline_s:
                    raise

    def receive(self, timeout_s: float = math.inf) -> bytes:
        """Next bytes of the multiplexed output, empty at its end or when the connection is lost.

        Raises:
            TimeoutError: nothing came within `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                return self._socket.recv(_RECEIVE_BYTES)
            except TimeoutError:
                if time.monotonic() >= deadline_s:
                    raise
            except OSError:
                return b""

    def close(self) -> None:
        """End the connection and wake a blocked `receive`. Safe to call twice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        # The SDK's stream only counts itself out; the descriptor is the socket's, and would wait for a collection. The
        # response goes first: a buffer in it closes itself once more when it is collected, of which Python 3.13 tells.
        ends = (getattr(self._stream, "_response", None), self._stream, self._socket)
        for end in ends:
            if end is not None:
                with contextlib.suppress(OSError, ValueError):
                    end.close()
