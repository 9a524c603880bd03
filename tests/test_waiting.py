"""What is waited for is no time of a seed's, ends when the run is stopped, and is told apart by what for."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.deadline import Deadline
from aira_bench.testing import PlayedWorld
from aira_bench.waiting import Stopped, WaitReason, Waits
from eventually import stretched

REASONS: tuple[WaitReason, ...] = ("slot", "cores", "engine", "provider", "load")


def test_a_pause_ends_when_the_run_is_stopped() -> None:
    stop = threading.Event()
    waits = Waits(stop)
    threading.Timer(0.1, stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(Stopped):
        waits.pause(60.0, "provider")
    assert time.monotonic() - began_s < stretched(5)
    with pytest.raises(Stopped):
        waits.pause(0.0, "provider")


def test_what_is_never_free_is_waited_for_until_the_run_is_stopped() -> None:
    stop = threading.Event()

    def attempt(seconds: float) -> None:
        time.sleep(seconds)

    threading.Timer(0.1, stop.set).start()
    with pytest.raises(Stopped):
        Waits(stop).obtain(attempt, "slot")


def test_what_is_had_at_once_was_not_waited_for_nor_spoken_of() -> None:
    said: list[str] = []
    waits = Waits(tell=lambda reason, text: said.append(text))
    assert waits.obtain(lambda seconds: "slot", "slot", "waiting") == "slot"
    assert (waits.seconds, said) == ({}, [])
    tries = iter([None, None, "slot"])
    assert waits.obtain(lambda seconds: next(tries), "slot", "waiting") == "slot"
    assert (list(waits.seconds), said) == (["slot"], ["waiting"])


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "pass"]), st.sampled_from(REASONS), st.integers(1, 9))))
def test_clock_and_waits_add_up_to_the_time_that_passed_however_waits_overlap(
    events: list[tuple[str, WaitReason, int]],
) -> None:
    world = PlayedWorld()
    waits = Waits(clock=world.monotonic_s)
    hours = Deadline.after(3600.0, "hours", waits)
    opened, waited_s = [], 0
    for what, reason, seconds in events:
        if what == "begin":
            opened.append(waits.waiting(reason))
            opened[-1].__enter__()
        elif what == "end" and opened:
            opened.pop(seconds % len(opened)).__exit__(None, None, None)
        else:
            world.now_s += seconds
            waited_s += seconds if opened else 0
    assert sum(waits.seconds.values()) == waited_s
    assert hours.used_s == world.now_s - waited_s
    for each in opened:
        each.__exit__(None, None, None)


def test_waits_of_many_threads_count_once() -> None:
    waits = Waits()
    threads = [threading.Thread(target=waits.pause, args=(0.2, "engine")) for _ in range(8)]
    began_s = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    passed_s = time.monotonic() - began_s
    assert 0.2 <= waits.seconds["engine"] <= passed_s
