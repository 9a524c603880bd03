"""What a call cost, and the most the next one can cost, by the prices on an agent card.

Both are None when a price that is needed is unknown: an unknown cost is never taken for 0.

Not covered: taxes, discounts, batch rates, and attempts the provider bills although they failed.
"""

from aira_bench.cards.card import Card, Prices, Rates
from aira_bench.llm.model import CompletionRequest, Usage
from aira_bench.llm.schemas import schema_text

_TOKENS_PER_MTOK = 1e6
_FRAME_TOKENS = 1024
"""Room for what a provider adds around a prompt: role markers, and its own words on structured output."""
_FRAME_TOKENS_PER_MESSAGE = 16


def call_cost_usd(prices: Prices | None, usage: Usage) -> float | None:
    """Return the cost of a call in US dollars, from its token counts.

    Where the provider does not say how much of the prompt came from a cache, none did, which can only overstate.
    """
    if prices is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    rates = _rates_for(prices, usage.input_tokens)
    cached, written = usage.cached_tokens or 0, usage.cache_write_tokens or 0
    write_rate = rates.usd_per_mtok_input if rates.usd_per_mtok_cache_write is None else rates.usd_per_mtok_cache_write
    parts = (
        (max(usage.input_tokens - cached - written, 0), rates.usd_per_mtok_input),
        (cached, rates.usd_per_mtok_cached_input),
        (written, write_rate),
        (usage.output_tokens, rates.usd_per_mtok_output),
    )
    return _sum_usd(parts)


def upper_bound_usd(card: Card, request: CompletionRequest) -> float | None:
    """Return the most the next call can cost in US dollars: the longest possible prompt, nothing cached, the answer at
    its limit.
    """
    if card.prices is None:
        return None
    prompt = prompt_tokens_upper_bound(request)
    tiers: list[Rates] = [card.prices]
    if card.prices.long_prompt and prompt > card.prices.long_prompt.above_input_tokens:
        tiers.append(card.prices.long_prompt)
    costs = []
    for rates in tiers:
        known = [rate for rate in (rates.usd_per_mtok_input, rates.usd_per_mtok_cache_write) if rate is not None]
        dearest = None if rates.usd_per_mtok_input is None else max(known)
        costs.append(_sum_usd(((prompt, dearest), (output_limit(card, request), rates.usd_per_mtok_output))))
    known_costs = [cost for cost in costs if cost is not None]
    return max(known_costs) if len(known_costs) == len(costs) else None


def tokens_upper_bound(card: Card, request: CompletionRequest) -> int:
    """Return the most tokens the next call can use, prompt and answer together, for a hard stop on tokens."""
    return prompt_tokens_upper_bound(request) + output_limit(card, request)


def prompt_tokens_upper_bound(request: CompletionRequest) -> int:
    """Return a number of tokens that the prompt cannot exceed.

    Every tokenizer in use covers at least one byte of UTF-8 with a token, so the bytes are a bound; about four
    times the real count for English and code. Right for stops, wrong for showing progress.
    """
    texts = [request.system, *(message.text for message in request.messages)]
    if request.schema is not None:
        texts.append(schema_text(request.schema))
    framing = _FRAME_TOKENS + _FRAME_TOKENS_PER_MESSAGE * len(request.messages)
    return sum(len(text.encode()) for text in texts) + framing


def output_limit(card: Card, request: CompletionRequest) -> int:
    """Return the most tokens an answer may have: the request's limit, at most the card's."""
    return min(request.max_output_tokens or card.max_output_tokens, card.max_output_tokens)


def _rates_for(prices: Prices, input_tokens: int) -> Rates:
    above = prices.long_prompt
    return above if above is not None and input_tokens > above.above_input_tokens else prices


def _sum_usd(parts: tuple[tuple[int, float | None], ...]) -> float | None:
    total = 0.0
    for tokens, rate in parts:
        if tokens == 0:
            continue
        if rate is None:
            return None
        total += tokens * rate / _TOKENS_PER_MTOK
    return total
