"""A run's stop ends every wait of a call, and nothing of the call stays behind; pauses are counted apart, and said."""

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import get_args

import pytest

from aira_bench.cards.card import Card
from aira_bench.errors import ModelError
from aira_bench.llm.gate import LimiterSettings
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.llm.model import CompletionRequest, Message
from aira_bench.llm.model_of_card import connect
from aira_bench.llm.provider_model import ProviderModel, RetryPolicy
from aira_bench.waiting import Stopped, WaitReason, Waits
from eventually import stretched
from llm.wire_server import Brain, Fault, Misbehaviour, Reply, Wire, WireServer

ASK = CompletionRequest("", (Message("user", "one"),))
WIRES: tuple[Wire, ...] = get_args(Wire)
HANGS: dict[str, Brain] = {
    "silent": lambda request: Reply("late", delay_s=60),
    "dripping": lambda request: Misbehaviour("drip", drip_for_s=60),
    "retry-after": lambda request: Fault(429, "slow down", headers={"retry-after": "60"}),
    "overloaded": lambda request: Fault(503, "overloaded", headers={"retry-after": "60"}),
    "broken": lambda request: Misbehaviour("raw", b"{"),
}
PROMPT_S = 2.0


def card_of(wire: Wire) -> Card:
    return Card.model_validate(
        {"name": "hung", "title": "Hung", "provider": wire, "model": "m", "key_variable": "MY_KEY",
         "max_output_tokens": 100}
    )  # fmt: skip


def model_of(wire: Wire, url: str, limiter: AdaptiveLimiter | None = None, **policy: float) -> ProviderModel:
    card = card_of(wire)
    environ = {"MY_KEY": "sk-any", "AIRA_ALLOW_KEY": "MY_KEY=127.0.0.1", card.url_override_variable: url}
    chosen = RetryPolicy(**{"base_s": 30.0, **policy})  # type: ignore[arg-type]
    return connect(card, environ, limiter=limiter or AdaptiveLimiter(), rng=random.Random(3), policy=chosen)


class Watched:
    """The waits of a step that somebody watches and may stop."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.said: list[tuple[WaitReason, str]] = []
        self.waits = Waits(self.stop, lambda reason, text: self.said.append((reason, text)))

    @contextmanager
    def stopped_when(self, condition: Callable[[], object]) -> Iterator[None]:
        """Stop the block as soon as a condition holds; it must end by that at once."""
        stopped_at_s: list[float] = []

        def watch() -> None:
            while not condition():
                time.sleep(0.01)
            time.sleep(0.1)
            stopped_at_s.append(time.monotonic())
            self.stop.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        with pytest.raises(Stopped):
            yield
        ended_s = time.monotonic()
        watcher.join()
        assert ended_s - stopped_at_s[0] < stretched(PROMPT_S)


def calls_of(name: str = "hung") -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"llm-{name}"]


def none_is_left() -> None:
    """Threads of abandoned attempts end as soon as their connection is cut."""
    ends_s = time.monotonic() + stretched(2.0)
    while calls_of():
        assert time.monotonic() < ends_s, "a thread still reads"
        time.sleep(0.01)


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("hang", HANGS)
def test_a_stop_ends_whatever_a_call_waits_for(wire: Wire, hang: str) -> None:
    watched = Watched()
    with WireServer(HANGS[hang]) as server:
        model = model_of(wire, server.base_url(wire)).within(watched.waits)
        with watched.stopped_when(lambda: server.requests):
            model.complete(ASK, deadline_s=60)
        none_is_left()


@pytest.mark.parametrize("wire", WIRES)
def test_a_call_that_overran_leaves_no_thread(wire: Wire) -> None:
    with WireServer(HANGS["silent"]) as server:
        with pytest.raises(ModelError, match="no complete answer within"):
            model_of(wire, server.base_url(wire)).complete(ASK, deadline_s=0.5)
        none_is_left()


def test_a_server_that_accepts_and_never_reads_is_stopped_too() -> None:
    watched = Watched()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        model = model_of("openai-compatible", url).within(watched.waits)
        with watched.stopped_when(calls_of):
            model.complete(ASK, deadline_s=60)
        none_is_left()


def test_who_waits_for_a_place_or_behind_a_rate_limit_is_stopped() -> None:
    limiter = AdaptiveLimiter(LimiterSettings(start=1))
    full, closed = Watched(), Watched()
    with (
        limiter.place(time.monotonic() + 60),
        full.stopped_when(lambda: full.said),
        limiter.place(time.monotonic() + 60, full.waits),
    ):
        pass
    limiter.rate_limited(60.0)
    with closed.stopped_when(lambda: closed.said), limiter.place(time.monotonic() + 60, closed.waits):
        pass
    assert limiter.in_flight == 0
    assert {reason for reason, _ in full.said + closed.said} == {"provider"}


def test_a_stop_before_the_call_sends_nothing() -> None:
    watched = Watched()
    watched.stop.set()
    with WireServer(HANGS["silent"]) as server, pytest.raises(Stopped):
        model_of("openai", server.base_url("openai")).within(watched.waits).complete(ASK, deadline_s=60)
    assert len(server.requests) <= 1


@pytest.mark.parametrize("wire", WIRES)
def test_a_pause_says_what_failed_how_often_and_when_the_next_try_is(wire: Wire) -> None:
    watched = Watched()

    def brain(request: object) -> Reply | Fault:
        number = getattr(request, "number", 0)
        return Reply("done") if number == 2 else Fault(503, "the machine is hot")

    with WireServer(brain) as server:
        model = model_of(wire, server.base_url(wire), base_s=0.2, cap_s=0.2).within(watched.waits)
        assert model.complete(ASK, deadline_s=60).text == "done"
    first, second = (text for _, text in watched.said)
    assert "HTTP 503" in first
    assert "the machine is hot" in first
    assert "(failure 1 of 10); next try at " in first
    assert "(failure 2 of 10)" in second


def test_pauses_count_for_the_provider_and_not_for_the_hours() -> None:
    watched = Watched()
    faults: list[Fault | Reply] = [
        Fault(429, "slow down", headers={"retry-after": "1"}),
        Fault(503, "busy", headers={"retry-after": "0.5"}),
        Reply("done", delay_s=0.4),
    ]
    with WireServer(lambda request: faults[request.number]) as server:
        began_s, clock_s = time.monotonic(), watched.waits()
        model = model_of("openai", server.base_url("openai"), base_s=0.01).within(watched.waits)
        # The pauses are longer than the call's own time, and are none of it.
        assert model.complete(ASK, deadline_s=60.0).text == "done"
    paused_s, worked_s = watched.waits.seconds["provider"], watched.waits() - clock_s
    assert paused_s >= 1.5
    assert worked_s >= 0.4
    assert paused_s + worked_s == pytest.approx(time.monotonic() - began_s, abs=0.5)


def test_a_deadline_is_not_spent_on_pauses() -> None:
    with WireServer(
        lambda request: Reply("done") if request.number else Fault(429, "slow down", headers={"retry-after": "5"})
    ) as server:
        assert model_of("openai", server.base_url("openai"), base_s=0.01).complete(ASK, deadline_s=4.0).text == "done"


def test_patience_ends_too() -> None:
    with WireServer(lambda request: Fault(429, "slow down", headers={"retry-after": "0.3"})) as server:
        model = model_of("openai", server.base_url("openai"), base_s=0.01, patience_s=1.0)
        began_s = time.monotonic()
        with pytest.raises(ModelError, match="slow down"):
            model.complete(ASK, deadline_s=60)
        assert time.monotonic() - began_s < stretched(10)


def test_a_gate_that_opens_too_late_ends_all_calls_at_once_and_says_when_it_opens() -> None:
    with WireServer(lambda request: Fault(429, "slow down", headers={"retry-after": "7200"})) as server:
        model = model_of("openai", server.base_url("openai"), patience_s=5.0)
        began_s = time.monotonic()
        with pytest.raises(ModelError, match="asks for a wait of 7200 s"):
            model.complete(ASK, deadline_s=60)
        with pytest.raises(ModelError, match="asked for 7200 s without calls"):
            model.complete(ASK, deadline_s=60)
        assert time.monotonic() - began_s < stretched(4)
