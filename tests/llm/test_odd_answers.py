"""Answers as servers of one format really give them, through the real SDK: text, ends, counts and structured output.

Each is an answer that was lost, or was recorded and then met by a traceback at every resume.
"""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.cards.card import Card
from aira_bench.errors import ModelError
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.llm.model import Completion, CompletionRequest, Message, Usage
from aira_bench.llm.model_of_card import connect
from aira_bench.llm.pricing import call_cost_usd
from aira_bench.llm.provider_model import ProviderModel, RetryPolicy
from aira_bench.llm.providers.reading import (
    LONGEST_REASONING_CHARS,
    LONGEST_TEXT_CHARS,
    cut_text,
    read_count,
    read_end,
    read_reasoning,
    read_text,
    read_usage,
)
from aira_bench.llm.recording import RecordingModel, read_exchange
from llm.wire_server import Brain, Fault, Misbehaviour, Reply, Wire, WireRequest, WireServer

ASK = CompletionRequest("Be brief.", (Message("user", "Say it."),))
SCHEMA = {"type": "object", "properties": {"is_bug": {"type": "boolean"}}, "required": ["is_bug"]}
PRICES = {
    "usd_per_mtok_input": 2.0, "usd_per_mtok_cached_input": 0.5, "usd_per_mtok_output": 10.0, "as_of": "2026-01-01",
    "source": "test",
}  # fmt: skip


def model_of(server: WireServer, wire: Wire = "openai-compatible") -> ProviderModel:
    card = Card.model_validate(
        {
            "name": "odd", "title": "Odd", "provider": wire, "model": "some-model", "key_variable": "TEST_KEY",
            "max_output_tokens": 1000, "prices": PRICES,
        }
    )  # fmt: skip
    environ = {
        "TEST_KEY": "sk-1", "AIRA_ALLOW_KEY": "TEST_KEY=127.0.0.1", card.url_override_variable: server.base_url(wire),
    }  # fmt: skip
    policy = RetryPolicy(max_failures=3, base_s=0.01, cap_s=0.02)
    return connect(card, environ, limiter=AdaptiveLimiter(), rng=random.Random(0), policy=policy)


def chat(choice: dict[str, Any], usage: object = None, **others: object) -> Misbehaviour:
    """A chat completion with this choice; a content that is missing in it is `hi`."""
    message = {"role": "assistant", "content": choice.pop("content", "hi"), **choice.pop("message", {})}
    body = {"model": "m", "id": "x", "choices": [{"index": 0, "message": message, **choice}], "usage": usage, **others}
    return Misbehaviour("raw", json.dumps(body).encode())


def answered(brain: Brain, tmp_path: Path, *, times: int = 1, ask: CompletionRequest = ASK) -> Completion:
    """The last of some answers, each recorded, and read back from its record the same."""
    with WireServer(brain) as server:
        recording = RecordingModel(model_of(server), tmp_path / "calls")
        found = [recording.complete(ask, deadline_s=30) for _ in range(times)]
    again = [read_exchange(path).completion for path in sorted((tmp_path / "calls").iterdir())]
    assert again == found
    return found[-1]


@pytest.mark.parametrize(
    ("reason", "end"),
    [
        ({"finish_reason": None}, "stop"),
        ({}, "stop"),
        ({"finish_reason": ""}, "stop"),
        ({"finish_reason": "STOP"}, "stop"),
        ({"finish_reason": "end_turn"}, "stop"),
        ({"finish_reason": "tool_calls"}, "stop"),
        ({"finish_reason": "something new"}, "stop"),
        ({"finish_reason": 7}, "stop"),
        ({"finish_reason": "max_tokens"}, "length"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        ({"finish_reason": "SAFETY"}, "content_filter"),
    ],
    ids=str,
)
def test_text_is_an_answer_whatever_ended_it(reason: dict[str, Any], end: str, tmp_path: Path) -> None:
    done = answered(lambda request: chat(dict(reason)), tmp_path)
    assert (done.text, done.finish_reason, done.attempts) == ("hi", end, 1)


def test_a_call_of_a_tool_that_nobody_offered_is_an_empty_answer(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    odd = chat({"content": None, "finish_reason": "tool_calls", "message": {"tool_calls": [call]}})
    done = answered(lambda request: odd, tmp_path)
    assert (done.text, done.finish_reason, done.attempts) == ("", "stop", 1)


def test_neither_text_nor_a_reason_is_no_answer(tmp_path: Path) -> None:
    empty = chat({"content": None, "finish_reason": None})
    assert answered(lambda request: empty if request.number == 0 else Reply("done"), tmp_path).attempts == 2
    with WireServer(lambda request: empty) as server, pytest.raises(ModelError, match="answer is empty"):
        model_of(server).complete(ASK, deadline_s=30)


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "hi"}],
        [{"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": "hi"}],
        ["hi"],
        {"type": "text", "text": "hi"},
        [{"text": "hi", "annotations": []}],
    ],
    ids=str,
)
def test_content_in_parts_is_joined_before_it_is_recorded(content: object, tmp_path: Path) -> None:
    done = answered(lambda request: chat({"content": content, "finish_reason": "stop"}), tmp_path)
    assert (done.text, done.attempts) == ("hi", 1)


def test_a_part_that_refuses_is_a_refusal(tmp_path: Path) -> None:
    odd = chat({"content": [{"type": "refusal", "refusal": "no"}], "finish_reason": "stop"})
    assert answered(lambda request: odd, tmp_path).finish_reason == "content_filter"


@pytest.mark.parametrize("text", ["\ud800 half", "nul \0 here", "\x1b[2J", "\u202e", "\U0001f600 " * 1000], ids=ascii)
def test_odd_characters_are_cleaned_before_they_are_recorded(text: str, tmp_path: Path) -> None:
    done = answered(lambda request: chat({"content": text}, None, model="m\udc00", id="\ud800"), tmp_path)
    assert done.text.encode()
    assert done.text.replace("\\ud800", "\ud800") == text


def test_a_text_that_no_record_could_hold_is_cut_and_says_so(tmp_path: Path) -> None:
    """A record has six bytes for each of these characters, and is read back up to 64 MiB."""
    long = chat({"content": "\x01" * (LONGEST_TEXT_CHARS + 1), "finish_reason": "stop"})
    done = answered(lambda request: long, tmp_path)
    assert (len(done.text), done.finish_reason) == (LONGEST_TEXT_CHARS, "length")


@pytest.mark.parametrize(
    ("usage", "counts", "cost_usd"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 900}},
         (10, 5, None), 70e-6),
        ({"prompt_tokens": "10", "completion_tokens": "5"}, (10, 5, None), 70e-6),
        ({"prompt_tokens": 10.0, "completion_tokens": 5}, (10, 5, None), 70e-6),
        ({"prompt_tokens": -10, "completion_tokens": 5}, (None, 5, None), None),
        ({"prompt_tokens": True, "completion_tokens": 1.5}, (None, None, None), None),
        ({"prompt_tokens": 10**30, "completion_tokens": 5}, (None, 5, None), None),
        ({"prompt_tokens": 1e400, "completion_tokens": float("nan")}, (None, None, None), None),
        ({"prompt_tokens": 10}, (10, None, None), None),
        ({"prompt_tokens": [1], "completion_tokens": {"a": 1}}, (None, None, None), None),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": 3}, (10, 5, None), 70e-6),
        ({"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": -4}},
         (10, 5, None), 70e-6),
        ({}, (None, None, None), None),
        ("12 tokens", (None, None, None), None),
        ([], (None, None, None), None),
        (None, (None, None, None), None),
    ],
    ids=str,
)  # fmt: skip
def test_counts_that_cannot_be_are_unknown_and_no_answer_is_lost(
    usage: object, counts: tuple[int | None, ...], cost_usd: float | None, tmp_path: Path
) -> None:
    done = answered(lambda request: chat({"finish_reason": "stop"}, usage), tmp_path)
    assert (done.text, done.attempts) == ("hi", 1)
    assert (done.usage.input_tokens, done.usage.output_tokens, done.usage.cached_tokens) == counts
    assert done.cost_usd == (None if cost_usd is None else pytest.approx(cost_usd))


@pytest.mark.parametrize("names", [{"model": {"name": "m"}}, {"model": "m" * 10**6}, {"id": ["x"]}, {"model": None}])
def test_an_odd_name_costs_no_answer(names: dict[str, object], tmp_path: Path) -> None:
    done = answered(lambda request: chat({"finish_reason": "stop"}, None, **names), tmp_path)
    assert (done.text, done.attempts) == ("hi", 1)
    assert done.model_id in ("m", "some-model")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "text", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(prompt=anything, answer=anything, cached=anything, reasoning=anything, written=anything)
def test_any_counts_make_a_usage_that_can_be_recorded_and_is_never_negative(**said: object) -> None:
    usage = read_usage(**said)
    back = Completion.from_json(Completion("", "stop", "m", usage=usage).to_json()).usage
    assert back == usage
    assert (usage.cached_tokens or 0) + (usage.cache_write_tokens or 0) <= (usage.input_tokens or 0)
    cost = call_cost_usd(Card.model_validate({
        "name": "c", "title": "c", "provider": "openai", "model": "m", "key_variable": "K", "max_output_tokens": 9,
        "prices": PRICES}).prices, usage)  # fmt: skip
    assert cost is None or cost >= 0


@given(anything)
def test_any_content_is_text_or_refused(content: object) -> None:
    try:
        assert isinstance(read_text(content), str)
    except ValueError:
        assert content is not None


@given(anything, st.text(min_size=1).filter(str.strip))
def test_text_never_fails_for_its_end(reason: object, text: str) -> None:
    assert cut_text(text, read_end(reason, text))[0] == text


@pytest.mark.parametrize(
    ("value", "count"), [("7", 7), (" 7 ", 7), ("7.5", None), ("-7", None), ("\u0667", 7), ("", None)]
)
def test_a_count_may_be_given_as_text(value: str, count: int | None) -> None:
    assert read_count(value) == count


def refusing(kinds: set[str], fault: Fault) -> Callable[[WireRequest], Fault | str]:
    """A server that takes no `response_format` of these types, and answers with an object in words."""

    def brain(request: WireRequest) -> Fault | str:
        wish = request.body.get("response_format", {}).get("type", "text")
        return fault if wish in kinds else '{"is_bug": false}'

    return brain


@pytest.mark.parametrize(
    "fault",
    [
        Fault(400, "response_format is not supported"),
        Fault(422, "extra fields not permitted"),
        Fault(500, "failed to parse grammar"),
        Fault(501, "json_schema: not implemented"),
    ],
    ids=str,
)
@pytest.mark.parametrize("kinds", [{"json_schema"}, {"json_schema", "json_object"}], ids=len)
def test_a_server_without_structured_output_is_asked_in_words_and_no_more_than_once_a_run(
    fault: Fault, kinds: set[str]
) -> None:
    ask = CompletionRequest("", (Message("user", "look"),), schema=SCHEMA)
    with WireServer(refusing(kinds, fault)) as server:
        model = model_of(server)
        done = [model.complete(ask, deadline_s=30) for _ in range(3)]
        bodies = [request.body for request in server.requests]
    assert [each.structured for each in done] == [{"is_bug": False}] * 3
    assert [each.attempts for each in done] == [1] * 3
    assert len(bodies) == 3 + len(kinds)
    assert len({json.dumps(body) for body in bodies[len(kinds) :]}) == 1
    assert '"required": ["is_bug"]' in bodies[-1]["messages"][-1]["content"]


def test_a_request_that_is_refused_for_something_else_says_so_and_changes_nothing() -> None:
    ask = CompletionRequest("", (Message("user", "look"),), schema=SCHEMA)
    with WireServer(lambda request: Fault(400, "temperature is not supported")) as server:
        model = model_of(server)
        with pytest.raises(ModelError, match="temperature is not supported"):
            model.complete(ask, deadline_s=30)
        server.brain = lambda request: '{"is_bug": false}'
        model.complete(ask, deadline_s=30)
        assert server.requests[-1].schema is not None


@pytest.mark.parametrize("wire", ["anthropic", "google", "openai"])
def test_every_provider_can_be_asked_in_words(wire: Wire) -> None:
    ask = CompletionRequest("", (Message("user", "look"),), schema=SCHEMA)

    def brain(request: WireRequest) -> Fault | str:
        return Fault(400, "no structured output here") if request.schema else '{"is_bug": false}'

    with WireServer(brain) as server:
        assert model_of(server, wire).complete(ask, deadline_s=30).structured == {"is_bug": False}
        assert "required" in server.requests[-1].messages[-1][1]


@pytest.mark.parametrize("wire", ["anthropic", "openai"])
def test_usage_that_is_odd_elsewhere_is_unknown_there_too(wire: Wire) -> None:
    def brain(request: WireRequest) -> Misbehaviour:
        usage = {"input_tokens": 10, "output_tokens": "4", "cache_read_input_tokens": -1, "input_tokens_details": None}
        block = {"type": "output_text" if wire == "openai" else "text", "text": "hi", "annotations": []}
        message = {"type": "message", "role": "assistant", "content": [block]}
        bodies: dict[str, dict[str, Any]] = {
            "anthropic": {**message, "model": "m", "stop_reason": None, "usage": usage},
            "openai": {"model": "m", "status": None, "error": None, "output": [message], "usage": usage},
        }
        return Misbehaviour("raw", json.dumps(bodies[wire]).encode())

    with WireServer(brain) as server:
        done = model_of(server, wire).complete(ASK, deadline_s=30)
    assert (done.text, done.finish_reason, done.attempts) == ("hi", "stop", 1)
    assert done.usage == Usage(None if wire == "anthropic" else 10, 4)


@pytest.mark.parametrize(
    ("message", "reasoning"),
    [
        ({"reasoning_content": "hm"}, "hm"),
        ({"reasoning": "hm"}, "hm"),
        ({"reasoning_content": "hm", "reasoning": "hm"}, "hm"),
        ({"reasoning_content": "", "reasoning": "hm"}, "hm"),
        ({"reasoning_content": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]}, "h\n\nm"),
        ({"reasoning_content": None}, None),
        ({"reasoning_content": 5, "reasoning": {"effort": "high"}}, None),
        ({"reasoning_content": {"text": ["hm", 5, None]}}, "hm"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, "hi"]}, "hm"),
        ({"content": [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "hi"}]}, "hm"),
        ({"content": [{"type": "redacted_thinking", "data": "xyz"}, {"type": "text", "text": "hi"}]}, None),
        ({"reasoning_content": " \n"}, None),
        ({"reasoning_content": "half \ud800"}, "half \\ud800"),
    ],
    ids=ascii,
)
def test_reasoning_is_read_wherever_a_server_puts_it_and_costs_no_answer(
    message: dict[str, object], reasoning: str | None, tmp_path: Path
) -> None:
    odd = chat({"finish_reason": "stop", "message": {"content": "hi", **message}})
    done = answered(lambda request: odd, tmp_path)
    assert (done.text, done.reasoning, done.attempts) == ("hi", reasoning, 1)


def test_reasoning_without_end_is_cut_and_says_so(tmp_path: Path) -> None:
    long = chat({"finish_reason": "stop", "message": {"reasoning_content": "\x01" * (LONGEST_REASONING_CHARS + 7)}})
    reasoning = answered(lambda request: long, tmp_path).reasoning
    assert reasoning is not None
    assert reasoning.endswith("\x01\n[7 more characters are not kept]")
    assert len(reasoning) < LONGEST_REASONING_CHARS + 50


@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_reasoning_is_text_or_nothing(found: object) -> None:
    assert isinstance(read_reasoning(found), str | None)


@pytest.mark.parametrize(
    "item",
    [
        {"summary": [{"type": "summary_text", "text": "hm"}]},
        {"summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"summary": None, "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"summary": [{"type": "summary_text", "text": 5}, {"type": "summary_text", "text": "hm"}]},
    ],
    ids=str,
)
def test_reasoning_of_open_models_behind_the_responses_api_is_read(item: dict[str, object]) -> None:
    message = {"type": "message", "content": [{"type": "output_text", "text": "hi", "annotations": []}]}
    body = {
        "id": "r",
        "model": "m",
        "status": "completed",
        "output": [{"type": "reasoning", "id": "x", **item}, message],
    }
    with WireServer(lambda request: Misbehaviour("raw", json.dumps(body).encode())) as server:
        done = model_of(server, "openai").complete(ASK, deadline_s=30)
    assert (done.text, done.reasoning) == ("hi", "hm")
