"""Requests of a download: whom they may lead to, and how slow the answers may be.

A public server may redirect to another public one. It may not send us to this machine, to the network around it or to
a cloud's metadata service: the connected peer is what is looked at, before a byte is sent, so no name that resolves
differently the next time helps. Only the host and port that the task itself names may be private. A watch ends what
is slower than a rate over any window of time, or outlasts a deadline, in whatever part of HTTP it dawdles.

HTTP itself and proxies are httpx's (the package `httpx2`, which the providers' SDKs bring).

Not covered: what a proxy of the user's connects to. Names and addresses in redirects are looked up here all the same.
"""

import contextlib
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

_SHA256 = re.compile(r'"?([0-9a-f]{64})"?$')
_DEFAULT_PORTS = {"http": 80, "https": 443}
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
MOST_REDIRECTS = 10


class Gone(Exception):
    """A failure that trying again does not mend."""


class TransferBroken(OSError):
    """A failure that may pass."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TransferWatch:
    """Watches one transfer from another thread and cuts its connection when it is too slow."""

    def __init__(self, *, window_s: float, least_bytes_per_s: float, deadline_s: float) -> None:
        """Set the limits; watching begins with the `with` block."""
        self.why: str | None = None
        """Why the transfer was cut, if it was."""
        self._window_s, self._least = window_s, least_bytes_per_s * window_s
        self._deadline_s = deadline_s
        self._received = 0
        self._held: list[socket.socket] = []
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="download-watch", daemon=True)

    def __enter__(self) -> "TransferWatch":
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


class Guard:
    """One request for a file at a declared address, and whom it may lead to."""

    def __init__(self, declared_url: str, watch: TransferWatch | None = None) -> None:
        """`watch` is shown every connection."""
        self.linked_sha256: str | None = None
        """Hash that a hub names for a file in its large-file storage, if need be before it sends us there."""
        self._url, self._watch = declared_url, watch
        self._asked: list[httpx2.URL] = []
        self._proxied = self._looked = False

    @contextlib.contextmanager
    def open(self, headers: Mapping[str, str], *, timeout_s: float, method: str = "GET") -> Iterator[httpx2.Response]:
        """The answer at the end of all redirects, its body unread.

        Raises:
            TransferBroken: nobody answers, or not in HTTP.
            Gone: a redirect leads where it must not.
        """
        with contextlib.ExitStack() as opened:
            try:
                client = httpx2.Client(
                    verify=ssl.create_default_context(),
                    timeout=timeout_s,
                    limits=httpx2.Limits(max_keepalive_connections=0),  # so that every request has one to look at
                    event_hooks={"request": [self._before], "response": [self._after]},
                )
                opened.enter_context(client)
                response = self._follow(client, client.build_request(method, self._url, headers=headers))
                opened.callback(response.close)
            except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ImportError, ValueError) as error:
                raise self.failure(error) from error
            yield response

    @staticmethod
    def _follow(client: httpx2.Client, request: httpx2.Request) -> httpx2.Response:
        """The answer at the end of all redirects. The library's own way there reads each redirect's body to its end,
        and unpacks it, into memory.
        """
        for _ in range(MOST_REDIRECTS + 1):
            response = client.send(request, stream=True)
            if not response.has_redirect_location:
                return response
            response.close()
            if response.next_request is None:
                raise Gone("the server redirects to no address")
            request = response.next_request
        raise Gone("the server redirects without end")

    def failure(self, error: Exception) -> Exception:
        """Return what an error of the library means: a connection that the watch has cut looks as if it had broken."""
        if isinstance(error, httpx2.RemoteProtocolError) and "Content-Length" in str(error):
            return Gone(f"the server says {error}, expected one number of at most 15 digits")
        if isinstance(error, httpx2.InvalidURL | ImportError | ValueError):
            return Gone(f"its address, or that of a proxy, cannot be used ({error})")
        silent = isinstance(error, httpx2.TimeoutException)
        return TransferBroken(self.cut or ("the server is silent" if silent else str(error) or type(error).__name__))

    @property
    def cut(self) -> str | None:
        """Why the watch has cut the transfer, if it has."""
        return self._watch.why if self._watch else None

    def _before(self, request: httpx2.Request) -> None:
        """Sees every request, redirected ones too, before anything is done for it."""
        if self._asked:
            self.check_redirect(self._asked[-1], request.url)
        self._asked.append(request.url)
        self._looked = False
        request.extensions["trace"] = self._look
        for name in ("Authorization", "Cookie"):  # of names in addresses, and of servers on the way
            request.headers.pop(name, None)

    def _look(self, event: str, news: Mapping[str, Any]) -> None:
        """Sees every connection before TLS begins or a byte is sent."""
        url = self._asked[-1]
        if event == "connection.connect_tcp.started":
            # Another host than the address names is a proxy: the user's own, which may be private.
            self._proxied = (news["host"], news["port"]) != _place(url)
        elif event == "connection.connect_tcp.complete":
            connection: socket.socket = news["return_value"].get_extra_info("socket")
            try:
                peer = str(connection.getpeername()[0])
                if not (self._proxied or _place(url) == _place(self._asked[0]) or is_public(peer)):
                    raise _private(url, peer)
            except BaseException:
                connection.close()
                raise
            self._looked = True
            if self._watch is not None:
                self._watch.hold(connection)

    def _after(self, response: httpx2.Response) -> None:
        """Sees every answer."""
        if not self._looked:
            raise RuntimeError("a connection was opened that nobody has looked at")
        match = _SHA256.match(response.headers.get("X-Linked-ETag", ""))
        self.linked_sha256 = match.group(1) if match else self.linked_sha256

    def check_redirect(self, begin: httpx2.URL, target: httpx2.URL) -> None:
        """Refuse a redirect to a private name or address, and one that leaves HTTPS. Peers are looked at as well.

        Raises:
            Gone: it is one.
        """
        if target.scheme not in _DEFAULT_PORTS:
            raise Gone(f"the server redirects to {target.scheme}, which is not HTTP")
        if target.scheme == "http" and begin.scheme == "https":
            raise Gone("the server redirects from https to http")
        if _place(target) == _place(self._asked[0]):
            return
        with contextlib.suppress(OSError, UnicodeError):  # behind a proxy names may mean nothing here
            for *_, address in socket.getaddrinfo(*_place(target), type=socket.SOCK_STREAM):
                if not is_public(str(address[0])):
                    raise _private(target, str(address[0]))


def _place(url: httpx2.URL) -> tuple[str, int]:
    return url.raw_host.decode("ascii"), url.port or _DEFAULT_PORTS.get(url.scheme, 0)


def _private(url: httpx2.URL, peer: str) -> Gone:
    return Gone(f"the server redirects to {url.host}, which is {peer}, no public address")
