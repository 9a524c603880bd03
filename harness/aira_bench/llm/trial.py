"""One tiny call before a run begins: whether key, address and model are what the provider takes.

A key with a typing error is found before images are built and data is downloaded. A provider that is there and busy is
no reason not to begin: the run waits for it where it must.

Not covered: whether the provider accepts a real prompt, and the settings of the card beside those a tiny call has.
"""

from dataclasses import dataclass

from aira_bench.cards.card import Card
from aira_bench.errors import ModelError
from aira_bench.llm.failures import ProviderFailure
from aira_bench.llm.limiter import GateTimeout
from aira_bench.llm.model import Completion, CompletionRequest, Message, Model
from aira_bench.llm.provider_model import RetryPolicy

TRIAL_S = 60.0
"""For the whole call. A server of one's own that loads its model at the first call may take longer, which is said."""
TRIAL_POLICY = RetryPolicy(max_failures=2, base_s=0.5, cap_s=1.0, attempt_timeout_s=30.0, patience_s=5.0)
_ANSWER_TOKENS = 16
"""The least that OpenAI's Responses API takes. A model that reasons may spend them all on that: it has answered."""


@dataclass(frozen=True)
class Trial:
    """What the tiny call came to."""

    completion: Completion | None
    """None where the provider is there and did not answer now."""
    said: str
    """In words, for whoever starts the run."""


def trial_request(card: Card) -> CompletionRequest:
    """Return the cheapest request that a card's model answers: a word, and few tokens beside those it must think."""
    thinking = card.reasoning.budget_tokens or 0
    most = min(card.max_output_tokens, thinking + _ANSWER_TOKENS)
    return CompletionRequest(system="", messages=(Message("user", "Say OK."),), max_output_tokens=most)


def try_model(model: Model, card: Card) -> Trial:
    """Make the tiny call to the model of a card, which goes by `TRIAL_POLICY`.

    Raises:
        ModelError: key, address or model are wrong, or nobody is there; its hint mends that.
        Stopped: the run was stopped meanwhile.
    """
    try:
        done = model.complete(trial_request(card), deadline_s=TRIAL_S)
    except ModelError as error:
        failure = error.__cause__
        if isinstance(failure, GateTimeout):
            return Trial(
                None, f"{model.name} was not tried: calls of this machine wait behind the provider's rate limit"
            )
        if isinstance(failure, ProviderFailure) and (failure.is_busy or failure.culprit_is_the_request):
            return Trial(None, f"{model.name} is there, and did not answer a first call: {failure.message}")
        raise
    return Trial(done, f"{model.name} answers as {done.model_id} ({done.latency_s:.1f} s)")
