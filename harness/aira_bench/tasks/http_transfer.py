"""One HTTP request for a file or the rest of one, and what the server's answer means.

Failures are of two kinds: `Broken` may pass (no connection, a server in trouble, a transfer cut short), `Gone` will
not. Numbers in headers are plain digits or refused: two readers of `+5`, `1_000` or `³` may take them differently.

Not covered: whom a redirect may lead to (`guarded_http`), and checking what arrives (`download`).
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
from typing import Any

from aira_bench.tasks.guarded_http import Gone, Guard, Watch, linked_sha256

USER_AGENT = "aira-bench"
CHANGED = "the file changed on the server while it was being fetched"
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (?:([0-9]{1,15})-([0-9]{1,15})|\*)/([0-9]{1,15}|\*)")
_NUMBER = re.compile(r"[0-9]{1,15}")


class Broken(OSError):
    """A failure that may pass."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StaleRange(Broken):
    """The server no longer has the file whose rest was asked for: begin anew."""


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
    watch: Watch | None = None

    def read(self, size: int) -> bytes:
        """The next bytes, empty at the end.

        Raises:
            Broken: the connection failed.
        """
        try:
            data: bytes = self.body.read1(size)
        except (OSError, http.client.HTTPException) as error:
            raise Broken(self._cut() or f"the connection broke: {_describe(error)}") from error
        if not data and (cut := self._cut()):
            raise Broken(cut)
        if self.watch:
            self.watch.received(len(data))
        return data

    def _cut(self) -> str | None:
        """A connection that the watch has cut looks as if it had ended."""
        return self.watch.why if self.watch else None


@contextlib.contextmanager
def open_transfer(
    url: str, start_bytes: int, validator: str | None, *, timeout_s: float, watch: Watch | None = None
) -> Iterator[Answer]:
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
    guard = Guard(url, watch)
    try:
        response = guard.opener().open(urllib.request.Request(url, headers=headers), timeout=timeout_s)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and start_bytes and _size(error.headers)[1] == start_bytes:
                yield Answer(start_bytes, start_bytes, None, guard.linked_sha256, False, True, None)
                return
            raise _refusal(error) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Broken((watch.why if watch else None) or _describe(error)) from error
    with response:
        yield _answer(response, guard.linked_sha256, watch)


def offered_bytes(url: str, *, timeout_s: float) -> int | None:
    """The size a server names for a file, None if it does not or cannot be asked."""
    request = urllib.request.Request(
        url, headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}, method="HEAD"
    )
    try:
        # A server that dribbles its headers is cut off by the watch.
        with Watch(window_s=timeout_s, least_bytes_per_s=1.0, deadline_s=timeout_s) as watch:  # noqa: SIM117
            with Guard(url, watch).opener().open(request, timeout=timeout_s) as response:
                return _content_length(response.headers)
    except (OSError, http.client.HTTPException, Gone, ValueError):
        return None


def _answer(response: Any, hub_sha256: str | None, watch: Watch | None) -> Answer:  # noqa: ANN401
    headers: HTTPMessage = response.headers
    start, total = 0, None
    _content_length(headers)
    if response.status == 206:
        found_start, total = _size(headers)
        if found_start is None:
            raise Broken("the server sent a part without saying which")
        start = found_start
    elif response.status == 200:
        total = _content_length(headers)
    else:
        raise Broken(f"the server answered {response.status}")
    tag = headers.get("ETag", "")
    return Answer(
        start_bytes=start,
        total_bytes=total,
        validator=tag if tag.startswith('"') else None,
        linked_sha256=linked_sha256(headers) or hub_sha256,
        is_web_page=headers.get_content_type() in {"text/html", "application/xhtml+xml"},
        whole=False,
        body=response,
        watch=watch,
    )


def _content_length(headers: HTTPMessage) -> int | None:
    """The length a server names, None if it does not.

    Raises:
        Gone: it is no plain number, or there are two that differ.
    """
    said = {value.strip() for value in headers.get_all("Content-Length", [])}
    if not said:
        return None
    if len(said) > 1 or not all(map(_NUMBER.fullmatch, said)):
        shown = ", ".join(sorted(value[:24] for value in said))
        raise Gone(f"the server says a Content-Length of {shown!r}, expected one number of at most 15 digits")
    return int(said.pop())


def _size(headers: Message) -> tuple[int | None, int | None]:
    """Start and total of a `Content-Range`."""
    match = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None:
        return None, None
    start, end = (int(text) if text else None for text in match.groups()[:2])
    total = None if match[3] == "*" else int(match[3])
    if start is not None and end is not None and not start <= end + 1 <= (end + 1 if total is None else total):
        return None, None
    return start, total


def _refusal(error: urllib.error.HTTPError) -> Exception:
    text = f"the server answered {error.code} {error.reason}"
    if error.code == 416:
        return StaleRange(CHANGED)
    if error.code in _PASSING:
        after = error.headers.get("Retry-After", "")
        return Broken(text, retry_after_s=float(after) if _NUMBER.fullmatch(after) else None)
    return Gone(text)


def _describe(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return "the server is silent"
    return str(reason) or type(reason).__name__
