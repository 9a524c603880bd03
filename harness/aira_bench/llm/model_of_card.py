"""From an agent card to a model that can be called."""

import random
from collections.abc import Mapping

from aira_bench.cards.card import Card, all_missing, resolve_base_url, resolve_key
from aira_bench.errors import PrerequisiteError
from aira_bench.extensions import Catalog
from aira_bench.llm.environment import environment_problem
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.llm.provider_model import ProviderModel, RetryPolicy
from aira_bench.llm.providers.anthropic_messages import AnthropicSession
from aira_bench.llm.providers.google_generate import GoogleSession
from aira_bench.llm.providers.openai_chat import OpenAIChatSession
from aira_bench.llm.providers.openai_responses import OpenAIResponsesSession
from aira_bench.llm.providers.provider_session import Endpoint, ProviderSession
from aira_bench.world import SystemWorld, World

PROVIDERS: Catalog[ProviderSession] = Catalog(
    "provider",
    {
        "anthropic": AnthropicSession,
        "google": GoogleSession,
        "openai": OpenAIResponsesSession,
        "openai-compatible": OpenAIChatSession,
    },
    ProviderSession,
)


def connect(
    card: Card,
    environ: Mapping[str, str],
    *,
    limiter: AdaptiveLimiter,
    rng: random.Random,
    world: World | None = None,
    policy: RetryPolicy | None = None,
) -> ProviderModel:
    """Return the card's model. Nothing is sent, and no SDK imported, before its first call.

    Args:
        environ: where the key and URL overrides are looked up.
        limiter: shared by all seeds of a run that use this card.
        rng: draws the jitter of waits; never the search's own generator.

    Raises:
        PrerequisiteError: the key or the URL is missing, or the key may not go there; a variable that clients read by
            themselves is of no use; an installed provider is broken.
        UsageError: the provider is a reference to what is none.
    """
    missing = all_missing(card, environ)
    base_url = None if missing else resolve_base_url(card, environ)
    if base_url is None:
        todo = "; ".join(one.todo for one in missing)
        raise PrerequisiteError(f"The agent {card.name!r} cannot be used yet: {todo}.", hint=missing[0].command)
    open_session = PROVIDERS.maker(card.provider)
    world = world or SystemWorld()
    if (problem := environment_problem(card.provider, base_url, environ)) is not None:
        raise PrerequisiteError(f"The agent {card.name!r} cannot be called: {problem.todo}.", hint=problem.command)
    endpoint = Endpoint(card=card, base_url=base_url, key=resolve_key(card, environ), now=world.now)
    return ProviderModel(
        endpoint,
        lambda endpoint: open_session(endpoint=endpoint),
        limiter=limiter,
        world=world,
        rng=rng,
        policy=policy or RetryPolicy(),
    )
