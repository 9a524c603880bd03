"""Connections of a download: whom they may lead to, and how slow they may be.

A public server may redirect to another public one. It may not send us to this machine, to the network around it or to
a cloud's metadata service: the connected peer is what is looked at, before a byte is sent, so no name that resolves
differently the next time helps. Only the host and port that the task itself names may be private. A watch ends what
is slower than a rate over any window of time, or outlasts a deadline, in whatever part of HTTP it dawdles.

Not covered: what a proxy of the user's connects to. Names and addresses in redirects are looked up here all the same.
"""

import contextlib
import http.client
import ipaddress
import re
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable
from http.client import HTTPMessage, HTTPResponse
from typing import IO, Any
from urllib.parse import urlsplit

from aira_bench.excerpts import VALUE_CHARS

_SHA256 = re.compile(r'"?([0-9a-f]{64})"?$')
_DEFAULT_PORTS = {"http": 80, "https": 443}
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


class Gone(Exception):
    """A failure that trying again does not mend."""


class Watch:
    """Watches one transfer from another thread and cuts its connection when it is too slow."""

    def __init__(self, *, window_s: float, least_bytes_per_s: float, deadline_s: float) -> None:
        """Nothing is watched before the `with` block begins."""
        self.why: str | None = None
        """Why the transfer was cut, if it was."""
        self._window_s, self._least = window_s, least_bytes_per_s * window_s
        self._deadline_s = deadline_s
        self._received = 0
        self._held: list[socket.socket] = []
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="download-watch", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        for connection in self._held:
            connection.close()

    def hold(self, connection: socket.socket) -> None:
        """Take note of a connection. TLS takes the socket itself away, so a duplicate is kept."""
        with self._lock:
            self._held.append(connection.dup())
        if self.why is not None:
            self._cut(self.why)

    def received(self, count: int) -> None:
        """So many bytes of the file have come."""
        self._received += count

    def _run(self) -> None:
        ends_s = time.monotonic() + self._deadline_s
        before = 0
        while not self._over.wait(min(self._window_s, max(ends_s - time.monotonic(), 0.01))):
            received = self._received
            if time.monotonic() >= ends_s:
                return self._cut(f"it was not done after {self._deadline_s:.0f} s")
            if received - before < self._least:
                return self._cut(f"{received - before} bytes came in {self._window_s:g} s, which is too slow")
            before = received
        return None

    def _cut(self, why: str) -> None:
        self.why = why
        with self._lock:
            for connection in self._held:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public network; what an address stands for by translation counts too."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = [ip.ipv4_mapped, ip.sixtofour, ip.teredo[1] if ip.teredo else None]
        if ip in _TRANSLATED:
            inner.append(ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF))
        if any(part is not None and not is_public(str(part)) for part in inner):
            return False
        if ip.ipv4_mapped is not None:
            return True
    return ip.is_global and not ip.is_multicast


class _Connection(http.client.HTTPConnection):
    """Shows its socket to somebody before it is used."""

    look: Callable[[socket.socket], None]

    def connect(self) -> None:
        super().connect()
        try:
            self.look(self.sock)
        except BaseException:
            self.close()
            raise


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    """The same; TLS begins after the look."""


def _looked_at(
    kind: type[_Connection], look: Callable[[socket.socket], None]
) -> Callable[..., http.client.HTTPConnection]:
    """Makes connections of a kind that are shown to `look`."""

    def make(host: str, **options: Any) -> _Connection:  # noqa: ANN401
        connection = kind(host, **options)
        connection.look = look
        return connection

    return make


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, guard: "Guard") -> None:
        super().__init__()
        self._guard = guard

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_looked_at(_Connection, self._guard.look_for(req)), req)


class _Tls(urllib.request.HTTPSHandler):
    def __init__(self, guard: "Guard") -> None:
        super().__init__()
        self._guard, self._trusted = guard, ssl.create_default_context()

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_looked_at(_TlsConnection, self._guard.look_for(req)), req, context=self._trusted)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps what the first server said about the file before it sent us elsewhere."""

    def __init__(self, guard: "Guard") -> None:
        self._guard = guard

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        self._guard.linked_sha256 = linked_sha256(headers) or self._guard.linked_sha256
        scheme = newurl.partition(":")[0].lower()
        if scheme not in _DEFAULT_PORTS:
            raise Gone(f"the server redirects to {scheme}, which is not HTTP")
        if scheme == "http" and req.full_url.lower().startswith("https:"):
            raise Gone("the server redirects from https to http")
        self._guard.check_name(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Guard:
    """One request for a file at a declared address, and whom it may lead to."""

    def __init__(self, declared_url: str, watch: Watch | None = None) -> None:
        """`watch` is shown every connection."""
        self.linked_sha256: str | None = None
        """Hash that a hub names for a file in its large-file storage."""
        self._declared, self._watch = _host_and_port(declared_url), watch

    def opener(self) -> urllib.request.OpenerDirector:
        """Opens addresses under this guard."""
        return urllib.request.build_opener(_Redirects(self), _Plain(self), _Tls(self))

    def look_for(self, request: urllib.request.Request) -> Callable[[socket.socket], None]:
        """What looks at the connection for a request. A proxy is the user's own and may be private."""
        url = request.full_url
        proxied = request.host != urlsplit(url).netloc

        def look(connection: socket.socket) -> None:
            peer = str(connection.getpeername()[0])
            if not (proxied or _host_and_port(url) == self._declared or is_public(peer)):
                raise self._private(url, peer)
            if self._watch is not None:
                self._watch.hold(connection)

        return look

    def check_name(self, url: str) -> None:
        """Refuse a redirect to a name or address that is private. The connected peer is looked at as well.

        Raises:
            Gone: it is.
        """
        host, port = _host_and_port(url)
        if (host, port) == self._declared:
            return
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return  # behind a proxy names may mean nothing here; without one, connecting will fail
        for *_, address in found:
            if not is_public(str(address[0])):
                raise self._private(url, str(address[0]))

    @staticmethod
    def _private(url: str, peer: str) -> Gone:
        return Gone(f"the server redirects to {urlsplit(url).hostname}, which is {peer}, no public address")


def linked_sha256(headers: HTTPMessage) -> str | None:
    """The hash a hub sends for a file."""
    match = _SHA256.match(headers.get("X-Linked-ETag", ""))
    return match.group(1) if match else None


def _host_and_port(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        raise Gone(f"{url[:VALUE_CHARS]!r} is no address") from None
