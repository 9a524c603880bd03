"""What a successful HTTP answer says that is none of the provider's: in the server's own words.

Gateways and local servers answer 200 with an error inside, with a page for people, or with a stream nobody asked for.
The SDKs take such bodies for answers with nothing in them, so they are looked at here, before the SDK reads them.

Not covered: an answer of the right shape with odd values inside; whoever reads it sees those.
"""

import html
import json
import re
from collections.abc import Mapping
from typing import Any

from aira_bench.excerpts import LINE_CHARS
from aira_bench.llm.failures import ProviderFailure, failure_of_status, is_wrong_path, shorten

ANSWERED_WITH: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("content",),
    "google": ("candidates", "promptFeedback"),
    "openai": ("output",),
    "openai-compatible": ("choices",),
}
"""What an answer of each provider has; without one of these it is none."""
_WORDS = ("message", "detail", "error_description", "error", "msg", "reason", "title")
"""Where servers put what they say, the most exact first."""
_READ_BYTES = 1 << 16
"""Of a body that is no answer, as much as is looked at for words."""
_TAG = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)


def failure_of_body(provider: str, content_type: str, body: bytes) -> ProviderFailure | None:
    """Return what is wrong with the body of a successful answer; None if it may be one.

    Args:
        provider: one of `aira_bench.cards.card.PROVIDER_NAMES`.
        content_type: the header of that name.
        body: all of it.
    """
    value = _json(body)
    wanted = ANSWERED_WITH[provider]
    if isinstance(value, dict) and any(_is_answer(name, value.get(name)) for name in wanted):
        return None
    if isinstance(value, dict) and not value.get("error") and provider != "google" and value.get(wanted[0]) == []:
        return None if provider in ("anthropic", "openai") else _failure("the server answered with no choices")
    if isinstance(value, dict):
        return _said(value, wanted[0])
    text = body[:_READ_BYTES].decode("utf-8", "replace")
    if text.lstrip()[:1] == "<" or "html" in content_type:
        page = shorten(html.unescape(_TAG.sub(" ", text)), LINE_CHARS // 2)
        return _failure(f"the server answered with a page for people, not with JSON: {page!r}", culprit="path")
    if content_type.startswith("text/event-stream") or text.startswith(("data:", "event:", ":")):
        return _failure(f"the server answered with a stream of events, which nobody asked for: {_streamed(text)!r}")
    seen = repr(shorten(text, LINE_CHARS // 2)) if text.strip() else "nothing"
    return _failure(f"the server's answer is no JSON object, the body is malformed: seen {seen}")


def _is_answer(name: str, found: object) -> bool:
    """Whether a field of a body has the shape of the one that an answer is read from."""
    if name == "promptFeedback":
        return bool(found) and isinstance(found, dict)
    if not isinstance(found, list) or not found or not all(isinstance(each, dict) for each in found):
        return False
    return name != "choices" or isinstance(found[0].get("message"), dict) or isinstance(found[0].get("text"), str)


def words_of(value: object) -> str:
    """Return what a JSON value says to people: its message, else all of it, on one line, cut."""
    for _ in range(4):
        if not isinstance(value, dict):
            break
        inner = next((value[name] for name in _WORDS if value.get(name)), None)
        if inner is None:
            break
        value = inner
    return shorten(value if isinstance(value, str) else json.dumps(value))


def _said(value: dict[str, Any], wanted: str) -> ProviderFailure:
    """The failure that an object without an answer tells of."""
    words, inner = words_of(value), value.get("error")
    code = inner.get("code") if isinstance(inner, dict) else value.get("code")
    status = int(code) if isinstance(code, int | str) and re.fullmatch(r"[45][0-9][0-9]", str(code)) else None
    if status is not None:
        return failure_of_status(status, f"(inside an answer with status 200) {words}")
    if inner and is_wrong_path(words):
        return _failure(f"the server answered with an error: {words}", kind_is_final=True, culprit="path")
    if inner:
        return _failure(f"the server answered with an error: {words}")
    if value.get(wanted):
        return _failure(f"the server's answer has no {wanted!r} of the right shape: {words}")
    return _failure(f"the server's answer has no {wanted!r}: {words}")


def _failure(said: str, *, culprit: str = "request", kind_is_final: bool = False) -> ProviderFailure:
    return ProviderFailure("refused" if kind_is_final else "transient", said, culprit=culprit)  # type: ignore[arg-type]


def _streamed(text: str) -> str:
    """What the first event of a stream says."""
    data = next((line.removeprefix("data:") for line in text.splitlines() if line.startswith("data:")), text)
    value = _json(data.encode())
    return shorten(data, LINE_CHARS // 2) if value is None else words_of(value)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
