"""A local HTTP server that hands out one file and misbehaves on request."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

Trick = Literal[
    "none", "break off", "say more than is sent", "ignore the range", "another start", "no etag", "weak etag", "chunked",
    "web page", "error 503", "error 404", "error 429", "range not satisfiable", "redirect", "redirect to ftp",
    "silence", "slow", "garbage", "ignore if-range", "hub", "flip a byte", "no length", "part without saying which",
]  # fmt: skip
HALF = 0.5


@dataclass
class FileServer:
    """What the server holds, how it behaves, and what it was asked."""

    content: bytes
    tricks: list[Trick] = field(default_factory=list)
    """One a request, in order; afterwards it behaves."""
    etag: str = '"v1"'
    linked_sha256: str = ""
    port: int = 0
    requests: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/file.bin"

    @property
    def ranges(self) -> list[str | None]:
        return [request.get("range") for request in self.requests]


class _Handler(BaseHTTPRequestHandler):
    state: FileServer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.state.content)))
        self.end_headers()

    def do_GET(self) -> None:
        state = self.state
        asked = {name.lower(): value for name, value in self.headers.items()}
        if self.path != "/elsewhere":
            state.requests.append(asked)
        trick: Trick = state.tricks.pop(0) if state.tricks and self.path != "/elsewhere" else "none"
        if not self._refuse(trick):
            self._answer(trick, asked)

    def _refuse(self, trick: Trick) -> bool:
        """Answers without the file."""
        if trick.startswith("error"):
            self.send_response(int(trick[-3:]))
            self.send_header("Retry-After", "0")
            self.end_headers()
        elif trick in ("redirect", "redirect to ftp", "hub"):
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/file" if trick == "redirect to ftp" else "/elsewhere")
            if trick == "hub":
                self.send_header("X-Linked-ETag", f'"{self.state.linked_sha256}"')
            self.end_headers()
        elif trick == "range not satisfiable":
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(self.state.content)}")
            self.end_headers()
        elif trick == "web page":
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"<html>Log in first</html>")
        elif trick == "garbage":
            self.wfile.write(b"\x00\x01 not http\r\n\r\n")
        elif trick == "silence":
            time.sleep(20.0)
        else:
            return False
        return True

    def _answer(self, trick: Trick, asked: dict[str, str]) -> None:
        state, start = self.state, 0
        wanted = re.fullmatch(r"bytes=(\d+)-", asked.get("range", ""))
        fresh = trick == "ignore if-range" or asked.get("if-range", state.etag) == state.etag
        if wanted and fresh and trick != "ignore the range":
            start = int(wanted.group(1)) + (7 if trick == "another start" else 0)
        body = state.content[start:]
        self.send_response(206 if start else 200)
        if start and trick != "part without saying which":
            self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
        if trick != "no etag":
            self.send_header("ETag", f"W/{state.etag}" if trick == "weak etag" else state.etag)
        if trick == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif trick != "no length":
            self.send_header("Content-Length", str(len(body) + (10 if trick == "say more than is sent" else 0)))
        self.end_headers()
        self._send(trick, body)

    def _send(self, trick: Trick, body: bytes) -> None:
        if trick in ("break off", "no etag", "weak etag"):
            body = body[: int(len(body) * HALF)]
        if trick == "flip a byte":
            body = bytes([body[0] ^ 1]) + body[1:]
        if trick == "chunked":
            self.wfile.write(b"%x\r\n%s\r\n" % (len(body) // 2, body[: len(body) // 2]))
            self.wfile.flush()  # and never the rest, nor the last chunk
            return
        if trick == "slow":
            for at in range(0, len(body), 1 << 16):
                self.wfile.write(body[at : at + (1 << 16)])
                time.sleep(0.05)
            return
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are part of the play."""


@contextmanager
def serve(state: FileServer) -> Iterator[FileServer]:
    """Run the server while the block runs."""
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
