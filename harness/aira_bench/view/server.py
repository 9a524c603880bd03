"""A server of pages for one user of this machine: on loopback, behind a random token in the address.

Whoever does not know the token gets nothing, whatever they ask for; neither does a page of another site, whose requests
name another host. Nothing can be changed through it. It ends with the command.

Not covered: other users of this machine who may read the process's memory or the terminal it was printed on.
"""

import asyncio
import contextlib
import hmac
import logging
import secrets
import socket
import threading
from collections.abc import Iterator
from urllib.parse import unquote

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from aira_bench.errors import PrerequisiteError
from aira_bench.view.rendering import SERVED_POLICY
from aira_bench.view.site import PLAIN, Content, Site

HOST = "127.0.0.1"
_TOKEN_BYTES = 24
_HEADERS = {
    "Content-Security-Policy": SERVED_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
_KEPT = {"Cache-Control": "private, max-age=3600"}
"""Of styles and scripts, under a token that no other server has."""
_BEGIN_S = 20.0


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def application(site: Site, token: str) -> Starlette:
    """Return the application that answers for the pages of a site.

    Args:
        site: the pages.
        token: the first part of every address.
    """
    lock = threading.Lock()  # pages are made one at a time: an index has one writer, and memory stays flat

    def found(path: str, *, version: bool) -> Content | None:
        with lock:
            return Content(PLAIN, site.version(path).encode()) if version else site.content(path)

    async def answer(request: Request) -> Response:
        given, _, path = request.path_params["path"].partition("/")
        if not _is_local(request.headers.get("host", "")) or not hmac.compare_digest(given.encode(), token.encode()):
            return Response("There is nothing here.\n", 404, _HEADERS, "text/plain")
        content = await run_in_threadpool(found, unquote(path), version="version" in request.query_params)
        if content is None:
            return Response("There is no such page.\n", 404, _HEADERS, "text/plain")
        headers = _HEADERS | (_KEPT if path.startswith("static/") else {})
        return Response(content.body, 200, headers, content.media_type)

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "HEAD"])])


@contextlib.contextmanager
def serving(site: Site, token: str, port: int) -> Iterator[str]:
    """Serve a site while the block runs; yields the address of its first page.

    Args:
        site: the pages.
        token: the first part of every address.
        port: 0 for one that is free.

    Raises:
        PrerequisiteError: the port cannot be had.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()  # whoever has the address may ask at once: before the server begins, it waits
        except OSError as error:
            raise PrerequisiteError(f"Port {port} cannot be had: {error.strerror}.", hint="--port 0") from error
        config = uvicorn.Config(
            application(site, token), log_level="error", access_log=False, lifespan="off", server_header=False,
        )  # fmt: skip
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listening])), name="pages", daemon=True
        )
        thread.start()
        try:
            yield f"http://{HOST}:{listening.getsockname()[1]}/{token}/"
        finally:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # a page that is not waited for is no error
            server.should_exit = server.force_exit = True
            thread.join(_BEGIN_S)


def _is_local(host: str) -> bool:
    """Whether a request names this machine: a page of another site that has its name lead here names itself."""
    return host.rpartition(":")[0] in (HOST, "localhost")
