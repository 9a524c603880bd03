"""One HTTP request for a file or the rest of one, and what the server's answer means.

Failures are of two kinds: `TransferBroken` may pass (no connection, a server in trouble, a transfer cut short), `Gone`
will not. Numbers in headers are plain digits or refused: two readers of `+5`, `1_000` or `³` may take them differently.

Not covered: whom a redirect may lead to (`guarded_http`), and checking what arrives (`download`).
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx2

from aira_bench.excerpts import VALUE_CHARS
from aira_bench.tasks.guarded_http import Gone, Guard, TransferBroken, TransferWatch

CHANGED = "the file changed on the server while it was being fetched"
_HEADERS = {"User-Agent": "aira-bench", "Accept-Encoding": "identity"}
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_RANGE = re.compile(r"bytes (?:([0-9]{1,15})-([0-9]{1,15})|\*)/([0-9]{1,15}|\*)")
_NUMBER = re.compile(r"[0-9]{1,15}")


class StaleRange(TransferBroken):
    """The server no longer has the file whose rest was asked for: begin anew."""


@dataclass(frozen=True)
class FileAnswer:
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
    chunks: Iterator[bytes] | None
    """The body as it comes. None where the request began at the file's end: nothing is left to read."""


@contextlib.contextmanager
def open_transfer(
    url: str, start_bytes: int, validator: str | None, *, timeout_s: float, watch: TransferWatch | None = None
) -> Iterator[FileAnswer]:
    """Ask for a file from `start_bytes` on, or all of it if `validator` no longer holds.

    Raises:
        TransferBroken: no answer, or one that may get better; from `chunks`: the connection failed.
        Gone: the server will not give the file.
    """
    headers = dict(_HEADERS)
    if start_bytes:
        headers["Range"] = f"bytes={start_bytes}-"
        if validator:
            headers["If-Range"] = validator
    guard = Guard(url, watch)
    with guard.open(headers, timeout_s=timeout_s) as response:
        if response.status_code == 416 and start_bytes and _size(response.headers)[1] == start_bytes:
            yield FileAnswer(start_bytes, start_bytes, None, guard.linked_sha256, False, None)
        elif response.status_code not in (200, 206):
            raise _refusal(response)
        else:
            yield _answer(response, guard, _body(response, guard, watch))


def offered_bytes(url: str, *, timeout_s: float) -> int | None:
    """Return the size a server names for a file, None if it does not or cannot be asked."""
    try:
        # A server that dribbles its headers is cut off by the watch.
        with (
            TransferWatch(window_s=timeout_s, least_bytes_per_s=1.0, deadline_s=timeout_s) as watch,
            Guard(url, watch).open(_HEADERS, timeout_s=timeout_s, method="HEAD") as response,
        ):
            return _content_length(response.headers) if response.is_success else None
    except (TransferBroken, Gone):
        return None


def _body(response: httpx2.Response, guard: Guard, watch: TransferWatch | None) -> Iterator[bytes]:
    try:
        for data in response.iter_raw():
            if watch:
                watch.received(len(data))
            yield data
    except (httpx2.TransportError, OSError) as error:
        raise TransferBroken(guard.cut or f"the connection broke: {guard.failure(error)}") from error
    if guard.cut:
        raise TransferBroken(guard.cut)


def _answer(response: httpx2.Response, guard: Guard, body: Iterator[bytes]) -> FileAnswer:
    headers = response.headers
    start, total = 0, _content_length(headers)
    if response.status_code == 206:
        found_start, total = _size(headers)
        if found_start is None:
            raise TransferBroken("the server sent a part without saying which")
        start = found_start
    tag = headers.get("ETag", "")
    return FileAnswer(
        start_bytes=start,
        total_bytes=total,
        validator=tag if tag.startswith('"') else None,
        linked_sha256=guard.linked_sha256,
        is_web_page=headers.get("Content-Type", "").partition(";")[0].strip().lower()
        in {"text/html", "application/xhtml+xml"},
        chunks=body,
    )


def _content_length(headers: httpx2.Headers) -> int | None:
    """The length a server names, None if it does not.

    Raises:
        Gone: it is no plain number.
    """
    said = headers.get("Content-Length")
    if said is None:
        return None
    if not _NUMBER.fullmatch(said):
        raise Gone(
            f"the server says a Content-Length of {said[:VALUE_CHARS]!r}, expected one number of at most 15 digits"
        )
    return int(said)


def _size(headers: httpx2.Headers) -> tuple[int | None, int | None]:
    """Start and total of a `Content-Range`."""
    match = _RANGE.fullmatch(headers.get("Content-Range", "").strip())
    if match is None:
        return None, None
    start, end = (int(text) if text else None for text in match.groups()[:2])
    total = None if match[3] == "*" else int(match[3])
    if start is not None and end is not None and not start <= end + 1 <= (end + 1 if total is None else total):
        return None, None
    return start, total


def _refusal(response: httpx2.Response) -> Exception:
    text = f"the server answered {response.status_code} {response.reason_phrase}"
    if response.status_code == 416:
        return StaleRange(CHANGED)
    if response.status_code in _PASSING or response.is_success:
        after = response.headers.get("Retry-After", "")
        return TransferBroken(text, retry_after_s=float(after) if _NUMBER.fullmatch(after) else None)
    return Gone(text)
