"""The connections of one attempt, so that another thread can end a read on them.

Closing an HTTP client closes its sockets, which on Linux wakes nobody who already waits for bytes from one: the thread
would wait until its time-out, and hold its place in the process as long. Shutting the connection down wakes it at once.

Not covered: looking a host's name up, which no other thread can end.
"""

import contextlib
import socket
import threading
from collections.abc import Mapping


class Connections:
    """Holds every connection that an attempt opens, until they are cut. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: list[socket.socket] = []
        self._is_cut = False

    def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Take note of a connection; for the extension `trace` of a request of `httpx`."""
        stream = info.get("return_value")
        if event.endswith("connect_tcp.complete") and hasattr(stream, "get_extra_info"):
            opened = stream.get_extra_info("socket")
            if isinstance(opened, socket.socket):
                self._hold(opened.dup())  # TLS takes the socket itself away

    def cut(self) -> None:
        """End all connections, and any that is opened later."""
        with self._lock:
            held, self._held, self._is_cut = self._held, [], True
        for each in held:
            _end(each)

    def _hold(self, connection: socket.socket) -> None:
        with self._lock:
            if not self._is_cut:
                self._held.append(connection)
                return
        _end(connection)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
