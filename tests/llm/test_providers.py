"""Every provider through its real SDK against a server that speaks its wire format."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from aira_bench.cards.card import Card
from aira_bench.errors import ModelError, PrerequisiteError
from aira_bench.llm.gate import LimiterSettings
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.llm.model import CompletionRequest, Message
from aira_bench.llm.model_of_card import connect
from aira_bench.llm.provider_model import ProviderModel, RetryPolicy
from aira_bench.llm.recording import RecordingModel, read_exchange
from aira_bench.waiting import WaitReason, Waits
from eventually import stretched
from llm.wire_server import Brain, Fault, Misbehaviour, Reply, Wire, WireRequest, WireServer

KEY = "sk-secret-0123456789abcdef"
ALLOWED = "TEST_KEY=127.0.0.1"
WIRES: tuple[Wire, ...] = get_args(Wire)
SCHEMA = {
    "type": "object",
    "properties": {"is_bug": {"type": "boolean"}, "summary": {"type": "string"}},
    "required": ["is_bug", "summary"],
}
ASK = CompletionRequest("Be brief.", (Message("user", "one"), Message("assistant", "two"), Message("user", "three")))


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    value: Wire = request.param
    return value


@pytest.fixture
def serve() -> Iterator[Callable[[Brain], WireServer]]:
    servers: list[WireServer] = []

    def start(brain: Brain) -> WireServer:
        servers.append(WireServer(brain).__enter__())
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


def card_of(wire: Wire) -> Card:
    return Card.model_validate(
        {
            "name": f"test-{wire}",
            "title": "Test",
            "provider": wire,
            "model": "some-model",
            "key_variable": "TEST_KEY",
            "max_output_tokens": 1000,
            "sampling": {"temperature": 0.5, "top_p": 0.9},
            "prices": {
                "usd_per_mtok_input": 2.0,
                "usd_per_mtok_cached_input": 0.5,
                "usd_per_mtok_output": 10.0,
                "as_of": "2026-01-01",
                "source": "test",
            },
        }
    )


def model_of(wire: Wire, server: WireServer, *, max_failures: int = 4, card: Card | None = None) -> ProviderModel:
    card = card or card_of(wire)
    environ = {
        "TEST_KEY": KEY,
        "AIRA_ALLOW_KEY": "TEST_KEY=127.0.0.1",
        card.url_override_variable: server.base_url(wire),
    }
    policy = RetryPolicy(max_failures=max_failures, base_s=0.01, cap_s=0.05)
    return connect(card, environ, limiter=AdaptiveLimiter(), rng=random.Random(0), policy=policy)


def faults_then(*faults: Fault | Misbehaviour) -> Brain:
    return lambda request: faults[request.number] if request.number < len(faults) else Reply("done")


def test_a_normal_answer_carries_text_tokens_cost_and_identity(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: f"{request.system}|{request.messages[-1][1]}")
    done = model_of(wire, server).complete(ASK, deadline_s=60)
    assert (done.text, done.finish_reason, done.structured) == ("Be brief.|three", "stop", None)
    assert (done.usage.input_tokens, done.usage.cached_tokens) == (100, 40)
    assert (done.usage.output_tokens, done.usage.reasoning_tokens) == (20, 5)
    assert done.cost_usd == pytest.approx((60 * 2.0 + 40 * 0.5 + 20 * 10.0) / 1e6)
    assert (done.model_id, done.attempts) == ("some-model", 1)
    assert done.request_id
    assert 0 < done.latency_s < 60


def test_the_whole_request_arrives(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: "ok")
    model_of(wire, server).complete(ASK, deadline_s=60)
    (seen,) = server.requests
    assert seen.wire == wire
    assert seen.messages == (("user", "one"), ("assistant", "two"), ("user", "three"))
    assert (seen.model, seen.system, seen.max_output_tokens) == ("some-model", "Be brief.", 1000)
    body = json.dumps(seen.body)
    assert "0.5" in body
    assert "0.9" in body
    if wire == "anthropic":
        assert seen.body["system"][0]["cache_control"] == {"type": "ephemeral"}
    if wire == "openai":
        assert seen.body["store"] is False
        assert seen.body["prompt_cache_key"]


def test_sampling_is_not_sent_to_models_that_take_none(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: "ok")
    card = Card.model_validate({**card_of(wire).model_dump(), "sampling": {"adjustable": False}})
    request = CompletionRequest("", (Message("user", "x"),), temperature=0.7)
    model_of(wire, server, card=card).complete(request, deadline_s=60)
    body = json.dumps(server.requests[0].body)
    assert "temperature" not in body
    assert "top" not in body


@pytest.mark.parametrize(
    ("provider", "reasoning", "field", "expected"),
    [
        ("anthropic", {"adaptive": True, "effort": "high"}, "thinking", {"type": "adaptive"}),
        ("anthropic", {"effort": "high"}, "output_config", {"effort": "high"}),
        ("anthropic", {"budget_tokens": 512}, "thinking", {"type": "enabled", "budget_tokens": 512}),
        ("openai", {"effort": "high"}, "reasoning", {"effort": "high"}),
        ("openai-compatible", {"effort": "low"}, "reasoning_effort", "low"),
        ("google", {"budget_tokens": 512}, "thinkingConfig", {"thinking_budget": 512}),
        ("google", {"effort": "low"}, "thinkingConfig", {"thinking_level": "LOW"}),
    ],
)
def test_reasoning_settings_arrive(
    provider: Wire, reasoning: dict[str, object], field: str, expected: object, serve: Callable[..., WireServer]
) -> None:
    server = serve(lambda request: "ok")
    card = Card.model_validate({**card_of(provider).model_dump(), "reasoning": reasoning})
    model_of(provider, server, card=card).complete(ASK, deadline_s=60)
    body = server.requests[0].body
    assert body.get("generationConfig", body)[field] == expected


def test_structured_output_asks_for_a_closed_schema_and_parses(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: '{"is_bug": false, "summary": "fine"}')
    request = CompletionRequest("", (Message("user", "look"),), schema=SCHEMA)
    done = model_of(wire, server).complete(request, deadline_s=60)
    assert done.structured == {"is_bug": False, "summary": "fine"}
    assert server.requests[0].schema == {**SCHEMA, "additionalProperties": False}
    assert json.dumps(server.requests[0].body).count('"strict": true') == (wire.startswith("openai"))


def test_an_answer_against_the_schema_is_left_to_the_caller(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: "I would rather not say {")
    request = CompletionRequest("", (Message("user", "look"),), schema=SCHEMA)
    done = model_of(wire, server).complete(request, deadline_s=60)
    assert (done.structured, done.text) == (None, "I would rather not say {")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(401, f"bad key {KEY}"), ["TEST_KEY", "export TEST_KEY"]),
        (Fault(403, "not for you"), ["TEST_KEY", "some-model"]),
        (Fault(404, "no such model"), ["'some-model'", "'model'", "aira-bench agents"]),
        (Fault(400, "temperature is not supported"), ["[sampling]", "temperature is not supported"]),
        (Fault(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"), ["export TEST_KEY"]),
        (Fault(429, "You exceeded your current quota", "insufficient_quota"), ["bills no more", "TEST_KEY"]),
    ],
    ids=["key", "permission", "model", "setting", "google key", "billing"],
)
def test_a_refusal_stops_at_once_and_says_what_to_mend(
    wire: Wire, fault: Fault, words: list[str], serve: Callable[..., WireServer]
) -> None:
    server = serve(lambda request: fault)
    with pytest.raises(ModelError) as caught:
        model_of(wire, server).complete(ASK, deadline_s=60)
    assert len(server.requests) == 1
    assert all(word in str(caught.value) for word in words)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "trouble",
    [
        Fault(429, "slow down"),
        Fault(429, "slow down", headers={"retry-after": "0.05"}),
        Fault(500, "oops"),
        Fault(503, "overloaded"),
        Fault(529, "overloaded", "overloaded_error"),
        Fault(408, "late"),
        Misbehaviour("drop"),
        Misbehaviour("half"),
        Misbehaviour("raw", b'{"choices": ['),
        Misbehaviour("raw", b"[1, 2]"),
        Misbehaviour("raw", b'{"some": "object"}'),
        Misbehaviour("raw", b"<html>gateway</html>", "text/html"),
        Misbehaviour("raw", b""),
        Misbehaviour("raw", b"\xff\xfe"),
    ],
    ids=str,
)
def test_passing_trouble_is_asked_again(
    wire: Wire, trouble: Fault | Misbehaviour, serve: Callable[..., WireServer]
) -> None:
    server = serve(faults_then(trouble, trouble))
    done = model_of(wire, server).complete(ASK, deadline_s=60)
    assert (done.text, done.attempts, len(server.requests)) == ("done", 3, 3)


def test_retry_after_is_waited_for(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(faults_then(Fault(429, "slow down", headers={"retry-after": "1"})))
    done = model_of(wire, server).complete(ASK, deadline_s=60)
    assert done.latency_s >= 1.0


def test_googles_own_retry_delay_is_waited_for(serve: Callable[..., WireServer]) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.8s"}
    server = serve(faults_then(Fault(429, "quota", "RESOURCE_EXHAUSTED", details=(info,))))
    assert model_of("google", server).complete(ASK, deadline_s=60).latency_s >= 0.8


def test_a_full_quota_of_a_minute_is_no_matter_of_billing(serve: Callable[..., WireServer]) -> None:
    words = "You exceeded your current quota, please check your plan and billing details."
    server = serve(faults_then(Fault(429, words, "RESOURCE_EXHAUSTED")))
    assert model_of("google", server).complete(ASK, deadline_s=60).attempts == 2


def test_a_retry_after_beyond_the_deadline_ends_the_call_at_once(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: Fault(429, "slow down", headers={"retry-after": "3600"}))
    started = time.monotonic()
    with pytest.raises(ModelError, match="slow down"):
        model_of(wire, server).complete(ASK, deadline_s=20)
    assert time.monotonic() - started < stretched(10)


@pytest.mark.parametrize("digits", [9, 10, 30, 400])
def test_a_wait_beyond_all_patience_halts_at_once_and_says_how_long_it_is(
    wire: Wire, digits: int, serve: Callable[..., WireServer]
) -> None:
    server = serve(lambda request: Fault(429, "slow down", headers={"retry-after": "9" * digits}))
    with pytest.raises(ModelError, match=r"slow down.*it asks for a wait of (999999999|1000000000) s"):
        model_of(wire, server).complete(ASK, deadline_s=20)
    assert len(server.requests) == 1


@pytest.mark.parametrize("digits", [9, 10, 30])
def test_googles_own_delay_may_be_as_long(digits: int, serve: Callable[..., WireServer]) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "9" * digits + ".5s"}
    server = serve(lambda request: Fault(429, "quota", "RESOURCE_EXHAUSTED", details=(info,)))
    with pytest.raises(ModelError, match="it asks for a wait of 1000000000 s"):
        model_of("google", server).complete(ASK, deadline_s=20)
    assert len(server.requests) == 1


def test_retries_end(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: Fault(500, "for ever"))
    with pytest.raises(ModelError, match=r"4 attempts.*for ever"):
        model_of(wire, server).complete(ASK, deadline_s=60)
    assert len(server.requests) == 4


def test_rate_limits_do_not_use_up_the_retries(serve: Callable[..., WireServer]) -> None:
    server = serve(faults_then(*[Fault(429, "slow down")] * 7))
    assert model_of("openai", server).complete(ASK, deadline_s=60).attempts == 8


def test_waits_grow_with_full_jitter_and_repeat_for_the_same_generator(serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: Fault(500, "for ever"))
    card = card_of("openai")
    environ = {"TEST_KEY": KEY, "AIRA_ALLOW_KEY": ALLOWED, card.url_override_variable: server.base_url("openai")}

    def waits(seed: int) -> list[float]:
        slept: list[float] = []

        class Sleepless(Waits):
            """Notes how long it should wait."""

            def pause(self, seconds: float, reason: WaitReason, said: str = "") -> None:
                slept.append(seconds)

        policy = RetryPolicy(max_failures=7, base_s=1.0, cap_s=8.0)
        rng = random.Random(seed)
        model = connect(card, environ, limiter=AdaptiveLimiter(), rng=rng, policy=policy)
        with pytest.raises(ModelError, match="7 attempts"):
            model.within(Sleepless()).complete(ASK, deadline_s=60)
        return slept

    first = waits(1)
    assert first == waits(1) != waits(2)
    assert all(0 <= wait <= ceiling for wait, ceiling in zip(first, [1, 2, 4, 8, 8, 8], strict=True))


def test_seeds_that_share_a_gate_settle_below_a_servers_limit(serve: Callable[..., WireServer]) -> None:
    allowed, lock, running, refused = 2, threading.Lock(), 0, 0

    def brain(request: WireRequest) -> Reply | Fault:
        nonlocal running, refused
        with lock:
            if running >= allowed:
                refused += 1
                return Fault(429, "slow down", headers={"retry-after-ms": "30"})
            running += 1
        time.sleep(0.05)
        with lock:
            running -= 1
        return Reply("done")

    server = serve(brain)
    card = card_of("openai")
    environ = {"TEST_KEY": KEY, "AIRA_ALLOW_KEY": ALLOWED, card.url_override_variable: server.base_url("openai")}
    limiter = AdaptiveLimiter(LimiterSettings(start=8, cooldown_s=0.05))
    policy = RetryPolicy(base_s=0.02, cap_s=0.1)
    answers: list[str] = []

    def seed(number: int) -> None:
        model = connect(card, environ, limiter=limiter, rng=random.Random(number), policy=policy)
        answers.extend(model.complete(ASK, deadline_s=60).text for _ in range(4))

    threads = [threading.Thread(target=seed, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["done"] * 32
    assert refused > 0
    assert limiter.limit < 8
    assert limiter.in_flight == 0


def test_an_answer_that_drips_in_is_cut_at_the_deadline(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: Misbehaviour("drip"))
    model = model_of(wire, server)
    started = time.monotonic()
    with pytest.raises(ModelError, match="no complete answer within"):
        model.complete(ASK, deadline_s=1.5)
    assert time.monotonic() - started < stretched(6)


def test_a_prompt_that_is_too_long_is_a_result(wire: Wire, serve: Callable[..., WireServer]) -> None:
    words = {
        "anthropic": Fault(400, "prompt is too long: 210000 tokens > 200000 maximum", "invalid_request_error"),
        "google": Fault(
            400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "INVALID_ARGUMENT",
        ),
        "openai": Fault(400, "Your input exceeds the context window of this model.", "context_length_exceeded"),
        "openai-compatible": Fault(
            400, "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens."
        ),
    }  # fmt: skip
    server = serve(lambda request: words[wire])
    done = model_of(wire, server).complete(ASK, deadline_s=60)
    assert (done.finish_reason, done.text, done.cost_usd) == ("context_overflow", "", None)


def test_a_filtered_answer_is_a_result(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: Reply("", "content_filter"))
    done = model_of(wire, server).complete(ASK, deadline_s=60)
    assert (done.finish_reason, done.text) == ("content_filter", "")
    assert done.usage.output_tokens == 20


@pytest.mark.parametrize(
    ("provider", "answer"),
    [
        ("anthropic", Fault(400, "Output blocked by content filtering policy", "invalid_request_error")),
        ("openai", Fault(400, "Your prompt was flagged as potentially violating our usage policy", "invalid_prompt")),
        ("google", Misbehaviour("raw", b'{"promptFeedback": {"blockReason": "SAFETY"}}')),
        (
            "openai-compatible",
            Misbehaviour(
                "raw",
                b'{"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": "stop",'
                b' "message": {"role": "assistant", "content": null, "refusal": "no"}}]}',
            ),
        ),
    ],
)
def test_a_filtered_prompt_is_a_result(
    provider: Wire, answer: Fault | Misbehaviour, serve: Callable[..., WireServer]
) -> None:
    server = serve(lambda request: answer)
    assert model_of(provider, server).complete(ASK, deadline_s=60).finish_reason == "content_filter"


def test_a_truncated_answer_says_so(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: Reply("def main(", "length"))
    done = model_of(wire, server).complete(ASK, deadline_s=60)
    assert (done.finish_reason, done.text) == ("length", "def main(")


def test_empty_content_is_an_empty_text(wire: Wire, serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: "")
    done = model_of(wire, server).complete(ASK, deadline_s=60)
    assert (done.finish_reason, done.text) == ("stop", "")


def test_a_server_that_counts_no_tokens_leaves_cost_unknown(serve: Callable[..., WireServer]) -> None:
    body = b'{"model": "m", "choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}]}'
    server = serve(lambda request: Misbehaviour("raw", body))
    done = model_of("openai-compatible", server).complete(ASK, deadline_s=60)
    assert (done.text, done.cost_usd, done.usage.input_tokens) == ("hi", None, None)


def chat(**changes: object) -> Misbehaviour:
    """A whole chat completion with something odd in it."""
    message = {"role": "assistant", "content": changes.pop("content", "hi")}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    body = {"model": "m", "id": "x", "choices": [{"finish_reason": "stop", "message": message}], "usage": usage}
    return Misbehaviour("raw", json.dumps(body | changes).encode())


@pytest.mark.parametrize(
    "trouble",
    [
        chat(content=5),
        chat(content=[5]),
        chat(content=[{"type": "text", "text": {"x": "hi"}}]),
        chat(choices=[]),
        Misbehaviour("raw", b'{"choices": [{"message": {"content": ' + b"9" * 5000 + b"}}]}"),
        Misbehaviour("raw", b"[" * 10**6),
        Fault(429, "later", headers={"retry-after": "Mon, 01 Jan 2020 00:00:00 +" + "9" * 30}),
    ],
    ids=lambda trouble: str(trouble)[:80],
)
def test_what_a_server_makes_up_is_asked_again(trouble: Fault | Misbehaviour, serve: Callable[..., WireServer]) -> None:
    """It would end the run in a traceback."""
    server = serve(faults_then(trouble))
    done = model_of("openai-compatible", server).complete(ASK, deadline_s=60)
    assert (done.text, done.attempts) == ("done", 2)


def test_halves_of_surrogate_pairs_in_an_answer_can_be_kept_and_asked_back(
    wire: Wire, serve: Callable[..., WireServer]
) -> None:
    """They would end the run when the program is written, or when the answer goes back as part of the next prompt."""
    server = serve(lambda request: '{"x": "\ud800", "y": "\\udfff"}')
    done = model_of(wire, server).complete(replace(ASK, schema=SCHEMA), deadline_s=60)
    assert done.text.encode()
    assert done.structured == {"x": "\\ud800", "y": "\\udfff"}
    again = replace(ASK, messages=(Message("user", done.text),))
    assert model_of(wire, server).complete(again, deadline_s=60).text == done.text


def test_no_key_stands_in_what_a_server_calls_itself(serve: Callable[..., WireServer]) -> None:
    server = serve(lambda request: chat(model=KEY, id=KEY))
    done = model_of("openai-compatible", server).complete(ASK, deadline_s=60)
    assert KEY not in json.dumps(done.to_json())


def test_no_key_reaches_a_record_or_an_answer(
    wire: Wire, serve: Callable[..., WireServer], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("records")

    def leak(request: WireRequest) -> str:
        return json.dumps(dict(request.headers))

    server = serve(leak)
    done = RecordingModel(model_of(wire, server), folder).complete(ASK, deadline_s=60)
    assert KEY in json.dumps(dict(server.requests[0].headers))
    records = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert records
    assert KEY not in done.text + "".join(records)


def test_a_missing_key_is_named_before_anything_is_sent() -> None:
    with pytest.raises(PrerequisiteError, match="set TEST_KEY") as caught:
        connect(card_of("openai"), {}, limiter=AdaptiveLimiter(), rng=random.Random(0))
    assert caught.value.hint == "export TEST_KEY=..."


def test_connecting_imports_no_sdk() -> None:
    code = (
        "import sys, random\n"
        "from aira_bench.cards.card_files import find_card\n"
        "from aira_bench.llm.model_of_card import connect\n"
        "from aira_bench.llm.limiter import AdaptiveLimiter\n"
        "for name, key in (('opus46', 'ANTHROPIC_API_KEY'), ('gpt5', 'OPENAI_API_KEY'), ('o3', 'OPENAI_API_KEY')):\n"
        "    connect(find_card(name, {}), {key: 'k'}, limiter=AdaptiveLimiter(), rng=random.Random(0))\n"
        "loaded = {'anthropic', 'openai', 'google.genai', 'httpx', 'httpx2'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_a_provider_returns_of_the_reasoning_is_kept_apart_from_the_answer(
    wire: Wire, serve: Callable[..., WireServer], tmp_path: Path
) -> None:
    server = serve(lambda request: Reply("the answer", reasoning=("first ```python\nprint(1)\n```", f"then {KEY}")))
    recording = RecordingModel(model_of(wire, server), tmp_path)
    done = recording.complete(ASK, deadline_s=60)
    assert done.reasoning == "first ```python\nprint(1)\n```\n\nthen [key removed]"
    assert done.text == "the answer"
    assert read_exchange(tmp_path / "call_000.json").completion == done


def test_without_reasoning_there_is_none(wire: Wire, serve: Callable[..., WireServer]) -> None:
    assert model_of(wire, serve(lambda request: "the answer")).complete(ASK, deadline_s=60).reasoning is None


def test_a_call_says_when_it_began_by_the_worlds_clock(wire: Wire, serve: Callable[..., WireServer]) -> None:
    """Also one that succeeds at the second attempt: the time is the call's, as its seconds are."""
    before = datetime.now(UTC)
    server = serve(faults_then(Fault(500)))
    done = model_of(wire, server).complete(ASK, deadline_s=60)
    assert done.attempts == 2
    assert done.asked_at is not None
    began = datetime.fromisoformat(done.asked_at)
    assert before <= began
    assert began.timestamp() + done.latency_s <= datetime.now(UTC).timestamp() + 0.05
