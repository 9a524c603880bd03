"""Which sampling settings a call sends: the request's where the model takes any, else the card's."""

from dataclasses import dataclass
from typing import Self

from aira_bench.cards.card import Card
from aira_bench.llm.model import CompletionRequest


@dataclass(frozen=True)
class SamplingChoice:
    """The sampling settings of one call; None leaves the provider's default."""

    temperature: float | None
    top_p: float | None

    @classmethod
    def of(cls, card: Card, request: CompletionRequest) -> Self:
        """Combine the temperature a request asks for with what the card says of the model."""
        if not card.sampling.adjustable:
            return cls(None, None)
        temperature = card.sampling.temperature if request.temperature is None else request.temperature
        return cls(temperature, card.sampling.top_p)
