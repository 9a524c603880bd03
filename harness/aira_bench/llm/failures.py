"""What can go wrong between us and a provider, in four kinds that decide what happens next.

`refused`: no repetition helps (key, permission, billing, unknown model, a setting the model does not take).
`rate_limited`: ask again later, and let everybody else wait too.
`transient`: ask again (overload, a server's error, a time-out, a dropped connection, a body nobody can read).
`unanswerable`: a result of the prompt itself, a filter or its length; becomes a completion.

HTTP statuses are classified here once for all providers; what only one of them does is in its module.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from aira_bench.llm.model import FinishReason

FailureKind = Literal["refused", "rate_limited", "transient", "unanswerable"]
Culprit = Literal[
    "key", "permission", "model", "billing", "address", "path", "certificate", "organization", "environment",
    "request",
]  # fmt: skip
"""What has to be mended. `address`: it redirects; `path`: nothing answers calls there; `environment`: a variable that
clients read by themselves."""

_OVERFLOW = re.compile(
    r"prompt is too long"
    r"|context[ _](length|window|size)"
    r"|input token count.{0,80}exceeds"
    r"|exceeds? the (maximum|available) .{0,40}(tokens|context|length)"
    r"|longer than the model'?s"
    r"|inputs? tokens \+ .?max_new_tokens",
    re.IGNORECASE | re.DOTALL,
)
_FILTERED = re.compile(
    r"content[ _](filter|policy|management)|usage polic|flagged as potentially violating", re.IGNORECASE
)
_MOST_CAUSES = 10
_STRUCTURE = re.compile(
    r"response.?format|json.?schema|json.?object|grammar|guided|structured|output_config", re.IGNORECASE
)
_SPENT_QUOTA = "insufficient_quota"
"""The one code of a 429 that no waiting helps. Its text proves nothing: Google's says `billing` for a full minute."""
_NO_MONEY = re.compile(r"insufficient_quota|credit balance|billing", re.IGNORECASE)
_ORGANIZATION = re.compile(r"organi[sz]ation|OpenAI-Project|project header", re.IGNORECASE)
_WRONG_PATH = re.compile(r"unexpected endpoint|no route|no such (path|endpoint)|cannot post", re.IGNORECASE)
_BAD_KEY = re.compile(r"api[ _]key not valid|API_KEY_INVALID|api key expired", re.IGNORECASE)


class ProviderFailure(Exception):
    """One attempt at a call failed, in a way that decides what happens next. It never leaves `aira_bench.llm`."""

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        culprit: Culprit = "request",
        finish_reason: FinishReason | None = None,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        is_busy: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.culprit = culprit
        self.finish_reason = finish_reason
        """Set for `unanswerable` only."""
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.is_busy = is_busy or kind == "rate_limited"
        """Whether the provider is there, and would answer at another time."""

    @property
    def culprit_is_the_request(self) -> bool:
        """Whether the provider takes key and model, and not this request."""
        return self.kind == "refused" and self.culprit == "request"

    @property
    def may_mean_structure(self) -> bool:
        """Whether a request for structured output may have failed for that wish: it was refused, or the server names
        what structured output is made of.
        """
        refused = self.kind == "refused" and self.culprit == "request"
        return refused or (self.kind in ("refused", "transient") and _STRUCTURE.search(self.message) is not None)


LONGEST_ASKED_S = 1e9
"""A wait beyond all patience, about 30 years; whoever asks for more asks for that."""


def failure_of_status(
    status: int, message: str, *, retry_after_s: float | None = None, request_id: str | None = None
) -> ProviderFailure:
    """Classify an HTTP error answer. `message` is all the provider said, its error code included."""
    short = f"HTTP {status}: {shorten(message)}"
    if status == 429 and _SPENT_QUOTA not in message:
        return ProviderFailure("rate_limited", short, retry_after_s=retry_after_s, request_id=request_id)
    if status in (408, 409, 425) or status >= 500:
        return ProviderFailure("transient", short, retry_after_s=retry_after_s, request_id=request_id, is_busy=True)
    finish_reason = _finish_of(status, message)
    if finish_reason is not None:
        return ProviderFailure("unanswerable", short, finish_reason=finish_reason, request_id=request_id)
    return ProviderFailure("refused", short, culprit=_culprit(status, message), request_id=request_id)


def failure_of_connection(error: BaseException) -> ProviderFailure:
    """Classify what kept an answer from coming at all. A failure of ours that an SDK has wrapped is found again."""
    chain: list[BaseException] = []
    while error not in chain and len(chain) < _MOST_CAUSES:
        if isinstance(error, ProviderFailure):
            return error
        chain.append(error)
        error = error.__cause__ or error.__context__ or error
    said = shorten(next((str(each) for each in (*chain[1:], chain[0]) if str(each)), type(chain[0]).__name__))
    if any("CERTIFICATE_VERIFY_FAILED" in str(each) for each in chain):
        return ProviderFailure("refused", said, culprit="certificate")
    return ProviderFailure("transient", f"the connection failed: {said}")


def is_wrong_path(message: str) -> bool:
    """Whether a server's words say that nothing is at the path that was asked."""
    return bool(_WRONG_PATH.search(message))


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds a server asked us to wait, from `retry-after-ms` or `Retry-After` (RFC 9110, seconds or a date).

    None when it did not ask, or in no form that can be read. `headers` must look names up without regard to case.
    """
    milliseconds, seconds = headers.get("retry-after-ms"), headers.get("retry-after")
    for text, scale in ((milliseconds, 0.001), (seconds, 1.0)):
        if text and re.fullmatch(r"[ \t]*[0-9]+(\.[0-9]*)?[ \t]*", text):
            return min(float(text) * scale, LONGEST_ASKED_S)
    if not seconds:
        return None
    try:
        moment = parsedate_to_datetime(seconds)
    except (ValueError, OverflowError):
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def shorten(text: str, limit: int = 300) -> str:
    """Return a text as one line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _finish_of(status: int, message: str) -> FinishReason | None:
    if status not in (400, 413, 422):
        return None
    if status == 413 or _OVERFLOW.search(message):
        return "context_overflow"
    return "content_filter" if _FILTERED.search(message) else None


def _culprit(status: int, message: str) -> Culprit:
    if status in (400, 401, 403, 404) and _ORGANIZATION.search(message):
        return "organization"
    if status == 401 or (status in (400, 403) and _BAD_KEY.search(message)):
        return "key"
    if status == 405 or (status in (400, 404) and is_wrong_path(message)):
        return "path"
    if 300 <= status < 400:
        return "address"
    if status in (402, 429) or (status in (400, 403) and _NO_MONEY.search(message)):
        return "billing"
    return {403: "permission", 404: "model"}.get(status, "request")  # type: ignore[return-value]
