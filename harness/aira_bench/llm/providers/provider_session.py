"""What a provider does: answer one attempt, or say why not.

Retries, deadlines, the gate and prices are `aira_bench.llm.provider_model`'s. A session serves one attempt, so that
an attempt that overruns its deadline can be cut off by closing its session, without harm to other calls.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Protocol

from aira_bench.cards.card import Card
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.llm.failures import ProviderFailure
from aira_bench.llm.model import CompletionRequest, FinishReason, Usage, is_count
from aira_bench.llm.providers.settings import SamplingChoice

SCHEMA_NAME = "answer"
"""What providers that want a name for a schema are told."""
LONGEST_NAME = 1000


@dataclass(frozen=True)
class Endpoint:
    """The address a session goes to, and the key it goes with."""

    card: Card
    base_url: str
    key: str | None
    now: Callable[[], datetime]

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


def finish_reason_of(reason: object, known: Mapping[str, FinishReason]) -> FinishReason:
    """Translate a provider's word for how an answer ended.

    Raises:
        ProviderFailure: transient, since an answer that ended in no known way is no answer.
    """
    if isinstance(reason, str) and reason in known:
        return known[reason]
    raise ProviderFailure("transient", f"the answer ended for the unknown reason {reason!r}")


@contextmanager
def reading_body() -> Iterator[None]:
    """Turn any surprise in the body of an answer into a transient failure.

    The SDKs build their objects without validation, so a body of the wrong shape shows only when it is read.
    """
    try:
        yield
    except (AttributeError, TypeError, KeyError, IndexError, ValueError) as error:
        raise ProviderFailure("transient", f"the answer's body is malformed: {error}") from error
