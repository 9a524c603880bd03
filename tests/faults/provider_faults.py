"""A provider with a fault at one of its answers: 15 kinds of answer that are none, and 6 kinds of silence.

Each is played over the provider's own wire format against its real SDK. A fault comes once, or from that call on for
as long as the process lives: then the seed halts, and the next process finds the provider well again.

Not covered: answers of a model, however odd, which are the model's (`tests/llm`).
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass

from llm.wire_server import Brain, Fault, Misbehaviour, Reply, WireRequest

Answer = Fault | Misbehaviour
ARCHITECTURES = tuple(",".join(layers) for layers in (["M"] * 16, ["M", "mA"] * 8, ["mA"] * 8 + ["M"] * 8))


_LEFT = re.compile(r"[\d.,]+ (seconds?|minutes?|hours?)")


def brain(request: WireRequest) -> Reply:
    """A model whose program follows from the prompt alone, but for the time that is left."""
    if request.schema is not None:
        return Reply(json.dumps({"is_bug": False, "summary": "it ran", "metric": None}))
    untimed = _LEFT.sub("", request.messages[0][1])
    draw = int(hashlib.sha256(untimed.encode()).hexdigest(), 16)
    architecture = ARCHITECTURES[draw % len(ARCHITECTURES)]
    return Reply(f"I try it.\n```python\nARCHITECTURE = {architecture}\n```")


def _raw(body: bytes, content_type: str = "application/json") -> Callable[[WireRequest], Answer]:
    return lambda request: Misbehaviour("raw", body, content_type)


def _status(status: int, code: str, message: str, **headers: str) -> Callable[[WireRequest], Answer]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: Fault(status, message, code, named)


def _error_body(request: WireRequest) -> Answer:
    return Misbehaviour("raw", json.dumps({"error": {"message": "upstream is down", "code": 502}}).encode())


def _no_choices(request: WireRequest) -> Answer:
    empty = {"openai-compatible": "choices", "openai": "output", "google": "candidates", "anthropic": "content"}
    return Misbehaviour("raw", json.dumps({"id": "x", "model": "m", empty[request.wire]: []}).encode())


_PAGE = b"<!doctype html><html><body><h1>502 Bad Gateway</h1></body></html>"
ANSWERS: dict[str, Callable[[WireRequest], Answer]] = {
    "429": _status(429, "rate_limit_exceeded", "slow down"),
    "429 with Retry-After": _status(429, "rate_limit_exceeded", "slow down", retry_after="1500"),
    "408": _status(408, "timeout", "request timed out"),
    "500": _status(500, "internal", "server error"),
    "502 with a page": lambda request: Misbehaviour("raw", _PAGE, "text/html", status=502),
    "503": _status(503, "unavailable", "overloaded"),
    "529": _status(529, "overloaded_error", "overloaded"),
    "401": _status(401, "invalid_api_key", "no such key"),
    "403": _status(403, "permission_denied", "not allowed"),
    "404": _status(404, "model_not_found", "no such model"),
    "402": _status(402, "insufficient_quota", "you have no credit"),
    "200 with a page": _raw(_PAGE, "text/html"),
    "200 without a body": _raw(b""),
    "200 with an error": _error_body,
    "200 without choices": _no_choices,
}  # fmt: skip
SILENCES: dict[str, Callable[[WireRequest], Answer]] = {
    "dropped": lambda request: Misbehaviour("drop"),
    "reset": lambda request: Misbehaviour("reset"),
    "half an answer": lambda request: Misbehaviour("half"),
    "cut JSON": _raw(b'{"id": "x", "choices": [{"index": 0, "mess'),
    "dripping": lambda request: Misbehaviour("drip", drip_for_s=2.0),
    "hanging": lambda request: Misbehaviour("hang"),
}


@dataclass(frozen=True)
class ProviderPoint:
    """Which answer fails, how, and whether all that follow it do."""

    nth: int
    kind: str
    lasts: bool

    def __str__(self) -> str:
        return f"{self.kind} {'from' if self.lasts else 'at'} request {self.nth}"


def failing_brain(point: ProviderPoint) -> Brain:
    """The model behind a provider that fails so."""
    fault = (ANSWERS | SILENCES)[point.kind]

    def answer(request: WireRequest) -> Reply | Fault | Misbehaviour:
        due = request.number == point.nth or (point.lasts and request.number > point.nth)
        return fault(request) if due else brain(request)

    return answer
