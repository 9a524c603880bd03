"""What a provider does: answer one attempt, or say why not.

Retries, deadlines, the gate and prices are `aira_bench.llm.provider_model`'s. A session serves one attempt, so that
an attempt that overruns its deadline can be cut off by closing its session, without harm to other calls.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from typing import Literal, Protocol

from aira_bench.cards.card import Card
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.llm.failures import ProviderFailure
from aira_bench.llm.model import CompletionRequest, FinishReason, Usage, is_count
from aira_bench.llm.providers.settings import SamplingChoice
from aira_bench.llm.schemas import schema_text

SCHEMA_NAME = "answer"
"""What providers that want a name for a schema are told."""
LONGEST_NAME = 1000
Structured = Literal["json_schema", "json_object", "text"]
"""How an answer in JSON is asked for: by its schema, as any JSON object, or in words alone."""


@dataclass(frozen=True)
class Endpoint:
    """The address a session goes to, and the key it goes with."""

    card: Card
    base_url: str
    key: str | None
    now: Callable[[], datetime]
    structured: "Structured" = "json_schema"
    """The most that the server takes in a request for structured output; what it does not take, the prompt says."""

    def asked(self, request: CompletionRequest) -> CompletionRequest:
        """Return `request` as it is sent: with its schema in words, where the server takes none."""
        if request.schema is None or self.structured == "json_schema":
            return request
        wish = f"Answer with one JSON object that follows this schema, and nothing else:\n{schema_text(request.schema)}"
        *earlier, last = request.messages
        return replace(request, messages=(*earlier, replace(last, text=f"{last.text}\n\n{wish}")), schema=None)

    def redact(self, text: str) -> str:
        """Return a text without the key, which servers sometimes quote."""
        return text.replace(self.key, "[key removed]") if self.key else text

    def sampling(self, request: CompletionRequest) -> SamplingChoice:
        """Return the sampling settings that apply to `request`: its own where the card's model takes any, else the
        card's.
        """
        return SamplingChoice.of(self.card, request)


@dataclass(frozen=True)
class ProviderAnswer:
    """The text, token counts and reason of the end that one successful attempt brought."""

    text: str
    finish_reason: FinishReason
    model_id: str
    usage: Usage
    request_id: str | None
    reasoning: str | None = None
    """What came of the model's reasoning, apart from its answer (`reading.read_reasoning`)."""

    def __post_init__(self) -> None:
        """Refuse what SDKs let through.

        Raises:
            ValueError: a part is of another type, a name is no name, or a count cannot be one.
        """
        for name in (self.model_id, "" if self.request_id is None else self.request_id):
            if not isinstance(name, str) or len(name) > LONGEST_NAME:
                raise ValueError("the model or the request is named by something else than a short text")
        if not isinstance(self.text, str):
            raise ValueError("the text is none")
        for count in astuple(self.usage):
            if not is_count(count):
                raise ValueError(f"{str(count)[:VALUE_CHARS]!r} tokens cannot be")


class ProviderSession(Protocol):
    """A client for one attempt."""

    def ask(self, request: CompletionRequest, *, timeout_s: float) -> ProviderAnswer:
        """Send `request` once and return what came back.

        Args:
            timeout_s: the longest silence on the connection; the whole attempt is timed by the caller.

        Raises:
            ProviderFailure: anything went wrong.
        """
        ...

    def close(self) -> None:
        """Drop the connection, from any thread, which ends an attempt under way."""
        ...


@contextmanager
def reading_body() -> Iterator[None]:
    """Turn any surprise in the body of an answer into a transient failure.

    The SDKs build their objects without validation, so a body of the wrong shape shows only when it is read.
    """
    try:
        yield
    except (AttributeError, TypeError, KeyError, IndexError, ValueError) as error:
        raise ProviderFailure("transient", f"the answer's body is malformed: {error}") from error
