"""The shared gate: how its places move, and that it holds under threads."""

import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.llm.failures import ProviderFailure, failure_of_status, parse_retry_after
from aira_bench.llm.gate import LimiterSettings
from aira_bench.llm.limiter import AdaptiveLimiter, GateTimeout
from aira_bench.testing import PlayedWorld
from aira_bench.world import SystemWorld

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_rate_limit_halves_the_places_once_per_cool_down() -> None:
    world = PlayedWorld()
    limiter = AdaptiveLimiter(LimiterSettings(start=16, cooldown_s=10), world=world)
    for _ in range(5):
        limiter.rate_limited(None)
    assert limiter.limit == 8
    world.now_s = 10.0
    limiter.rate_limited(None)
    assert limiter.limit == 4


def test_a_round_of_successes_adds_about_one_place() -> None:
    limiter = AdaptiveLimiter(LimiterSettings(start=4, most=6))
    for _ in range(5):
        limiter.succeeded()
    assert limiter.limit == 5
    for _ in range(100):
        limiter.succeeded()
    assert limiter.limit == 6


@given(st.lists(st.booleans(), max_size=200))
def test_the_places_stay_in_their_range(outcomes: list[bool]) -> None:
    world = PlayedWorld()
    limiter = AdaptiveLimiter(LimiterSettings(start=3, most=7, cooldown_s=1), world=world)
    for good in outcomes:
        world.now_s += 1
        limiter.succeeded() if good else limiter.rate_limited(None)
        assert 1 <= limiter.limit <= 7


def test_no_more_calls_than_places_run_at_once() -> None:
    limiter = AdaptiveLimiter(LimiterSettings(start=3, most=3))
    lock, running, most = threading.Lock(), 0, 0

    def call() -> None:
        nonlocal running, most
        with limiter.place(time.monotonic() + 30):
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.05)
            with lock:
                running -= 1

    threads = [threading.Thread(target=call) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, limiter.in_flight) == (3, 0)


def test_a_retry_after_holds_everybody_back() -> None:
    limiter = AdaptiveLimiter(world=SystemWorld())
    started = time.monotonic()
    limiter.rate_limited(0.3)
    with limiter.place(started + 30):
        assert time.monotonic() - started >= 0.3


def test_waiting_ends_at_the_deadline_and_a_failed_call_gives_its_place_back() -> None:
    limiter = AdaptiveLimiter(LimiterSettings(start=1, most=1))
    with limiter.place(time.monotonic() + 60), pytest.raises(GateTimeout), limiter.place(time.monotonic() + 0.05):
        pass
    with pytest.raises(ValueError, match="boom"), limiter.place(time.monotonic() + 60):
        raise ValueError("boom")
    assert limiter.in_flight == 0


@pytest.mark.parametrize("bad", [{"start": 0}, {"start": 9, "most": 8}, {"decrease": 1.0}, {"cooldown_s": -1.0}])
def test_impossible_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        LimiterSettings(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=90), usegmt=True)}, 90.0),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=90), usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "999999999"}, 999999999.0),
        ({"retry-after": "9999999999"}, 1e9),
        ({"retry-after": "9" * 5000}, 1e9),
        ({"retry-after-ms": "90000000000"}, 9e7),
        ({"retry-after-ms": "9" * 20 + ".5", "retry-after": "7"}, 1e9),
        ({"retry-after": "nan"}, None),
        ({"retry-after": " 7\t"}, 7.0),
        ({"retry-after": "0\x1f"}, None),
        ({"retry-after": "\u0667"}, None),
    ],
    ids=str,
)
def test_retry_after_is_read_in_all_its_forms(headers: dict[str, str], expected: float | None) -> None:
    assert parse_retry_after(headers, NOW) == expected


@given(st.text())
def test_no_header_breaks_the_reader(text: str) -> None:
    waited = parse_retry_after({"retry-after": text}, NOW)
    assert waited is None or waited >= 0


@given(st.integers(400, 599), st.text())
def test_every_status_has_a_kind_and_only_results_have_a_finish_reason(status: int, message: str) -> None:
    failure = failure_of_status(status, message)
    assert isinstance(failure, ProviderFailure)
    assert (failure.finish_reason is not None) == (failure.kind == "unanswerable")
    if status >= 500:
        assert failure.kind == "transient"
    if status in (401, 404):
        assert failure.kind == "refused"
