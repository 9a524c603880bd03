"""What a language model is to the rest of the harness: a request goes in, a completion comes out.

Requests and completions are plain values with an exact JSON form, because every call of a run is recorded and can
be replayed. A refusal by a content filter and a prompt that is too long are completions, not exceptions: the
operator that asked decides what they mean for its node. Calls are synchronous; callers use threads.

Not covered: streaming, images and tools that the model calls on its own.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, field, fields
from datetime import datetime
from typing import Any, Literal, Protocol, Self, get_args

from aira_bench.errors import RunStateError

Role = Literal["user", "assistant"]
FinishReason = Literal["stop", "length", "content_filter", "context_overflow"]
Json = dict[str, Any]
MOST_TOKENS = 10**12
"""Of one call."""


@dataclass(frozen=True)
class Message:
    """One turn of the conversation: who speaks, and the text."""

    role: Role
    text: str


@dataclass(frozen=True)
class CompletionRequest:
    """A request to a model: all that determines the answer, apart from the agent card."""

    system: str
    messages: tuple[Message, ...]
    """Alternating turns; the first and the last are the user's."""
    max_output_tokens: int | None = None
    """Reasoning tokens included; None asks for as many as the card allows."""
    schema: Mapping[str, Any] | None = None
    """A JSON schema of an object the answer must follow, or None for free text."""
    temperature: float | None = None
    """Overrides the card's; ignored by models whose card says they take none."""

    def to_json(self) -> Json:
        """Return the request as JSON values, as records of calls hold it."""
        schema = None if self.schema is None else json.loads(json.dumps(dict(self.schema)))
        return {
            "system": self.system,
            "messages": [asdict(message) for message in self.messages],
            "max_output_tokens": self.max_output_tokens,
            "schema": schema,
            "temperature": self.temperature,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a request from the JSON values that `to_json` gave.

        Raises:
            RunStateError: a key is missing, unknown, or of the wrong kind.
        """
        items = _checked(cls, value)
        messages = tuple(Message(**_checked(Message, entry)) for entry in items.pop("messages"))
        if any(message.role not in get_args(Role) for message in messages):
            raise RunStateError(f"A recorded message has a role other than {get_args(Role)}.")
        return cls(messages=messages, **items)

    def digest(self) -> str:
        """Return the SHA-256 of the canonical JSON form, in hexadecimal digits."""
        canonical = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Usage:
    """Tokens of one call as the provider counted them; None where it did not say."""

    input_tokens: int | None = None
    """The whole prompt, tokens read from or written to a cache included."""
    output_tokens: int | None = None
    """Everything that was generated, reasoning included."""
    cached_tokens: int | None = None
    """The part of `input_tokens` that was read from a cache."""
    reasoning_tokens: int | None = None
    """The part of `output_tokens` that was spent on reasoning."""
    cache_write_tokens: int | None = None
    """The part of `input_tokens` that was written to a cache, where the provider bills that apart."""


@dataclass(frozen=True)
class Completion:
    """A model's answer and what it took to get it."""

    text: str
    finish_reason: FinishReason
    model_id: str
    """The model as the provider named it in its answer, which may be more exact than what was asked for."""
    structured: Json | None = None
    """The object that was asked for by a schema. None without a schema, and when the answer is no JSON object."""
    usage: Usage = field(default_factory=Usage)
    cost_usd: float | None = None
    """None when the card has no prices or the provider counted no tokens; never 0 for unknown."""
    latency_s: float = 0.0
    """From the first attempt to the answer, waiting included."""
    request_id: str | None = None
    """The provider's identifier of the last attempt."""
    attempts: int = 1
    asked_at: str | None = None
    """When the call was made, ISO 8601 with its zone; None in records from before it was kept, and where a model that
    is no provider's does not say."""
    reasoning: str | None = None
    """What the provider returned of the model's reasoning, often a summary; for people alone, and never part of an
    answer, a program or another prompt. None where it returned none."""

    def __post_init__(self) -> None:
        """Spell out halves of surrogate pairs: JSON can bring them, and no file and no request holds them."""
        for name in ("text", "model_id", "request_id", "reasoning"):
            if isinstance(said := getattr(self, name), str):
                object.__setattr__(self, name, said.encode("utf-8", "backslashreplace").decode())

    def to_json(self) -> Json:
        """Return the answer as JSON values, as records of calls hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read an answer from the JSON values that `to_json` gave.

        Raises:
            RunStateError: a key is missing, unknown, or of the wrong kind.
        """
        items = _checked(cls, value)
        items["usage"] = Usage(**_checked(Usage, items["usage"]))
        if items["finish_reason"] not in get_args(FinishReason):
            raise RunStateError(f"A recorded completion has the unknown finish reason {items['finish_reason']!r}.")
        found = cls(**items)
        told = [text for text in (found.request_id, found.reasoning) if text is not None]
        texts, cost = (found.text, found.model_id, *told), found.cost_usd
        plain = isinstance(cost, int | float | None) and isinstance(found.structured, dict | None)
        counted = all(map(is_count, (*astuple(found.usage), found.attempts))) and isinstance(
            found.latency_s, int | float
        )
        if (
            not (plain and counted and all(isinstance(text, str) for text in texts))
            or min(cost or 0, found.latency_s) < 0
        ):
            raise RunStateError("A recorded completion has a value of another kind, or a number below what it can be.")
        if found.asked_at is not None and not _is_time(found.asked_at):
            raise RunStateError("A recorded completion was asked for at something that is no time with its zone.")
        return found


def is_count(value: object) -> bool:
    """Whether a value can be a provider's count of tokens; None, for a count it did not give, cannot."""
    return value is None or (type(value) is int and 0 <= value <= MOST_TOKENS)


def _is_time(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


class Model(Protocol):
    """Anything that answers a request: a provider, a record of a run, or a Python function."""

    @property
    def name(self) -> str:
        """The model's name, as boards show it."""
        ...

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Answer `request` within `deadline_s` seconds from now, retries included. Pauses that a provider makes a run
        take are not, where they go through `aira_bench.waiting`.

        Safe to call from several threads at once.

        Raises:
            ModelError: the provider refused for good, or did not answer before the deadline.
        """
        ...


def _checked(kind: type, value: Mapping[str, Any]) -> Json:
    """`value` as a dict whose keys are exactly the fields of the dataclass `kind`."""
    expected = {entry.name for entry in fields(kind)}
    if not isinstance(value, Mapping) or set(value) != expected:
        seen = sorted(value) if isinstance(value, Mapping) else type(value).__name__
        raise RunStateError(
            f"A recorded {kind.__name__} has the keys {seen}, expected {sorted(expected)}.",
            hint="record the run again with this version",
        )
    return dict(value)
