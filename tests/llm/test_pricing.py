"""Costs against hand-made sums, unknown prices that stay unknown, and a bound that bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.cards.card import Card, Prices
from aira_bench.llm.model import CompletionRequest, Message, Usage
from aira_bench.llm.pricing import call_cost_usd, prompt_tokens_upper_bound, tokens_upper_bound, upper_bound_usd

LISTED: dict[str, Any] = {
    "usd_per_mtok_input": 2.0, "usd_per_mtok_cached_input": 0.2, "usd_per_mtok_cache_write": 2.5,
    "usd_per_mtok_output": 12.0, "as_of": "2026-01-01", "source": "test",
    "long_prompt": {
        "above_input_tokens": 200_000, "usd_per_mtok_input": 4.0, "usd_per_mtok_cached_input": 0.4,
        "usd_per_mtok_output": 18.0,
    },
}  # fmt: skip


def prices_without(*names: str) -> Prices:
    return Prices.model_validate({name: value for name, value in LISTED.items() if name not in names})


def card_with(prices: Prices | None) -> Card:
    return Card(
        name="c", title="C", provider="openai", model="m", key_variable="K", max_output_tokens=1000, prices=prices
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (Usage(1000, 100), 0.002 + 0.0012),
        (Usage(0, 0, cached_tokens=10**6), 0.2),  # more than the prompt: a server's word, and no credit
        (Usage(1000, 100, cached_tokens=400), (600 * 2 + 400 * 0.2 + 100 * 12) / 1e6),
        (Usage(1000, 100, 400, None, 500), (100 * 2 + 400 * 0.2 + 500 * 2.5 + 100 * 12) / 1e6),
        (Usage(200_000, 100), (200_000 * 2 + 100 * 12) / 1e6),
        (Usage(200_001, 100), (200_001 * 4 + 100 * 18) / 1e6),
        (Usage(1000, 100, reasoning_tokens=90), 0.002 + 0.0012),
        (Usage(None, 100), None),
        (Usage(100, None), None),
        (Usage(), None),
    ],
    ids=str,
)
def test_cost_of_a_call(usage: Usage, expected: float | None) -> None:
    cost = call_cost_usd(prices_without(), usage)
    assert cost == (None if expected is None else pytest.approx(expected))


def test_an_unknown_price_makes_only_calls_that_need_it_unknown() -> None:
    prices = prices_without("usd_per_mtok_cached_input")
    assert call_cost_usd(prices, Usage(1000, 100, cached_tokens=1)) is None
    assert call_cost_usd(prices, Usage(1000, 100, cached_tokens=0)) is not None
    assert call_cost_usd(prices_without("usd_per_mtok_output"), Usage(1000, 100)) is None
    assert call_cost_usd(None, Usage(1000, 100)) is None
    assert upper_bound_usd(card_with(None), CompletionRequest("", ())) is None
    assert upper_bound_usd(card_with(prices_without("usd_per_mtok_output")), CompletionRequest("", ())) is None


@given(st.text(), st.lists(st.text(), max_size=5), st.integers(1, 5000), st.data())
def test_the_bound_is_never_below_the_cost(system: str, texts: list[str], limit: int, data: st.DataObject) -> None:
    messages = tuple(Message("user", text) for text in texts)
    request = CompletionRequest(system, messages, max_output_tokens=limit, schema={"type": "object"})
    card = card_with(prices_without())
    size = sum(len(text.encode()) for text in (system, *texts))
    input_tokens = data.draw(st.integers(0, size))
    cached = data.draw(st.integers(0, input_tokens))
    written = data.draw(st.integers(0, input_tokens - cached))
    output = data.draw(st.integers(0, min(limit, card.max_output_tokens)))
    bound = upper_bound_usd(card, request)
    cost = call_cost_usd(card.prices, Usage(input_tokens, output, cached, None, written))
    assert bound is not None
    assert cost is not None
    assert bound >= cost
    assert tokens_upper_bound(card, request) >= input_tokens + output


def test_a_prompt_that_may_be_long_is_bounded_by_the_dearer_rates() -> None:
    request = CompletionRequest("x" * 300_000, (Message("user", ""),), max_output_tokens=10)
    bound = upper_bound_usd(card_with(prices_without()), request)
    assert bound == pytest.approx((prompt_tokens_upper_bound(request) * 4 + 10 * 18) / 1e6)
