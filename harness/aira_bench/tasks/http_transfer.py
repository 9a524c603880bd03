"""One HTTP request for a file or the rest of one, and what the server's answer means.

Failures are of two kinds: `Broken` may pass (no connection, a server in trouble, a transfer cut short), `Gone` will
not. Redirects are followed, never to anything but HTTP(S); headers that a hub sends with a redirect are kept.

Not covered: checking what arrives (`download`).
"""

import contextlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPMessage
from typing import IO, Any

USER_AGENT = "aira-bench"
CHANGED = "the file changed on the server while it was being fetched"
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)$")
_SHA256 = re.compile(r'"?([0-9a-f]{64})"?$')


class Broken(OSError):
    """A failure that may pass."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StaleRange(Broken):
    """The server no longer has the file whose rest was asked for: begin anew."""


class Gone(Exception):
    """A failure that trying again does not mend."""


@dataclass(frozen=True)
class Answer:
    """A server's answer to a request for a file."""

    start_bytes: int
    """Where the body begins in the file."""
    total_bytes: int | None
    """Size of the whole file, if the server said."""
    validator: str | None
    """Strong entity tag of the file, which lets a later request ask for the rest of the same bytes."""
    linked_sha256: str | None
    """Hash that a hub names for a file in its large-file storage."""
    is_web_page: bool
    whole: bool
    """The request began at the file's end: nothing is left to read."""
    body: Any

    def read(self, size: int) -> bytes:
        """The next bytes, empty at the end.

        Raises:
            Broken: the connection failed.
        """
        try:
            data: bytes = self.body.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise Broken(f"the connection broke: {_describe(error)}") from error
        return data


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Keeps what the first server said about the file before it sent us elsewhere."""

    def __init__(self) -> None:
        self.linked_sha256: str | None = None

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        match = _SHA256.match(headers.get("X-Linked-ETag", ""))
        self.linked_sha256 = match.group(1) if match else self.linked_sha256
        if not newurl.startswith(("http://", "https://")):
            raise Gone(f"the server redirects to {newurl.partition(':')[0]}, which is not HTTP")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextlib.contextmanager
def open_transfer(url: str, start_bytes: int, validator: str | None, *, timeout_s: float) -> Iterator[Answer]:
    """Ask for a file from `start_bytes` on, or all of it if `validator` no longer holds.

    Raises:
        Broken: no answer, or one that may get better.
        Gone: the server will not give the file.
    """
    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if start_bytes:
        headers["Range"] = f"bytes={start_bytes}-"
        if validator:
            headers["If-Range"] = validator
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and start_bytes and _size(error.headers)[1] == start_bytes:
                yield Answer(start_bytes, start_bytes, None, redirects.linked_sha256, False, True, None)
                return
            raise _refusal(error) from error
    except (OSError, http.client.HTTPException) as error:
        raise Broken(_describe(error)) from error
    with response:
        yield _answer(response, redirects.linked_sha256)


def offered_bytes(url: str, *, timeout_s: float) -> int | None:
    """The size a server names for a file, None if it does not or cannot be asked."""
    request = urllib.request.Request(
        url, headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}, method="HEAD"
    )
    try:
        with urllib.request.build_opener(_Redirects()).open(request, timeout=timeout_s) as response:
            length = response.headers.get("Content-Length", "")
            return int(length) if length.isdigit() else None
    except (OSError, http.client.HTTPException, Gone):
        return None


def _answer(response: Any, linked_sha256: str | None) -> Answer:  # noqa: ANN401
    headers: Message = response.headers
    start, total = 0, None
    if response.status == 206:
        found_start, total = _size(headers)
        if found_start is None:
            raise Broken("the server sent a part without saying which")
        start = found_start
    elif response.status == 200:
        length = headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
    else:
        raise Broken(f"the server answered {response.status}")
    tag = headers.get("ETag", "")
    match = _SHA256.match(headers.get("X-Linked-ETag", ""))
    return Answer(
        start_bytes=start,
        total_bytes=total,
        validator=tag if tag.startswith('"') else None,
        linked_sha256=match.group(1) if match else linked_sha256,
        is_web_page=headers.get_content_type() in {"text/html", "application/xhtml+xml"},
        whole=False,
        body=response,
    )


def _size(headers: Message) -> tuple[int | None, int | None]:
    """Start and total of a `Content-Range`."""
    match = _RANGE.match(headers.get("Content-Range", "").strip())
    if match is None:
        return None, None
    start, total = match.groups()
    return int(start) if start else None, int(total) if total != "*" else None


def _refusal(error: urllib.error.HTTPError) -> Exception:
    text = f"the server answered {error.code} {error.reason}"
    if error.code == 416:
        return StaleRange(CHANGED)
    if error.code in _PASSING:
        after = error.headers.get("Retry-After", "")
        return Broken(text, retry_after_s=float(after) if after.isdigit() else None)
    return Gone(text)


def _describe(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return "the server is silent"
    return str(reason) or type(reason).__name__
