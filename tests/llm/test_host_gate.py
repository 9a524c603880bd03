"""The gate that processes of one machine share: never more calls than places, nobody starves, and a death frees."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aira_bench.llm.gate import GateState, LimiterSettings, ThreadGate
from aira_bench.llm.host_gate import HOST_SETTINGS, HostGate, gate_folder
from aira_bench.llm.limiter import AdaptiveLimiter, GateTimeout
from aira_bench.testing import PlayedWorld
from aira_bench.world import SystemWorld

THREE = LimiterSettings(start=3, most=6)

CALLING = """
import random, sys, time
from pathlib import Path
from aira_bench.llm.gate import LimiterSettings
from aira_bench.llm.host_gate import HostGate
from aira_bench.llm.limiter import AdaptiveLimiter
settings = LimiterSettings(start=3, most=6)
limiter = AdaptiveLimiter()
limiter.share(HostGate(Path(sys.argv[1]), settings, rng=random.Random(1)), settings, random.Random(1))
with limiter.place(time.monotonic() + 60):
    print("in", flush=True)
    time.sleep(3600)
"""


def limiter_at(folder: Path, settings: LimiterSettings = THREE, seed: int = 0) -> AdaptiveLimiter:
    limiter = AdaptiveLimiter()
    limiter.share(HostGate(folder, settings, rng=random.Random(seed)), settings, random.Random(seed))
    return limiter


def test_places_and_answers_and_refusals_are_everybodys(tmp_path: Path) -> None:
    mine, theirs = limiter_at(tmp_path), limiter_at(tmp_path)
    with mine.place(0.0), theirs.place(0.0), mine.place(0.0):
        assert (mine.in_flight, theirs.in_flight) == (3, 3)
        with pytest.raises(GateTimeout), theirs.place(0.0):
            pass
        for _ in range(4):
            theirs.succeeded()
        assert mine.limit == 4
        with mine.place(0.0):
            assert theirs.in_flight == 4
    mine.rate_limited(None)
    theirs.rate_limited(None)
    assert (mine.limit, theirs.limit) == (2, 2), "they were refused together, so once"
    mine.rate_limited(30.0)
    assert 29.0 < theirs.closed_s <= 33.0
    with pytest.raises(GateTimeout), theirs.place(time.monotonic() + 5):
        pass


def test_a_killed_process_gives_its_places_back(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", CALLING, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "in\n"
        limiter = limiter_at(tmp_path)
        with pytest.raises(GateTimeout), limiter.place(time.monotonic() + 0.3):
            pass
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait(30)
        with limiter.place(time.monotonic() + 30):
            assert limiter.in_flight == 3
    finally:
        for process in processes:
            process.kill()
            process.wait(30)


def test_who_has_many_calls_leaves_places_to_who_has_one(tmp_path: Path) -> None:
    """One place, eight threads of one party that never pause, one of another: it gets about a ninth of the turns."""
    one = LimiterSettings(start=1, most=1)
    stop, turns, lock = threading.Event(), Counter[str](), threading.Lock()

    def work(who: str, limiter: AdaptiveLimiter) -> None:
        while not stop.is_set():
            with limiter.place(time.monotonic() + 60):
                time.sleep(0.002)
                with lock:
                    turns[who] += 1

    greedy, modest = limiter_at(tmp_path, one, 1), limiter_at(tmp_path, one, 2)
    threads = [threading.Thread(target=work, args=("greedy", greedy)) for _ in range(8)]
    threads += [threading.Thread(target=work, args=("modest", modest))]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and turns["modest"] < 4:
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    assert turns["modest"] >= 4
    assert turns["greedy"] < 60 * turns["modest"]


@pytest.mark.parametrize(
    "state",
    [b"", b"[]", b"{}", b"{", b'{"limit": "9"}', b'{"limit": 1e99, "open_at_s": 0}', b'{"limit": true}', b"9" * 9000],
)
def test_a_damaged_state_is_a_new_beginning(tmp_path: Path, state: bytes) -> None:
    limiter = limiter_at(tmp_path)
    (tmp_path / "state").write_bytes(state)
    assert 1 <= limiter.limit <= THREE.most
    limiter.rate_limited(None)
    assert json.loads((tmp_path / "state").read_bytes())["limit"] <= THREE.most / 2


def test_a_process_that_is_stopped_in_the_middle_holds_nobody_up_for_good(tmp_path: Path) -> None:
    holder = HostGate(tmp_path, THREE, rng=random.Random(0))
    limiter = limiter_at(tmp_path)
    with holder._locked():
        began = time.monotonic()
        with pytest.raises(GateTimeout), limiter.place(began):
            pass
        limiter.succeeded()
        assert time.monotonic() - began < 10
    with limiter.place(time.monotonic() + 30):
        assert limiter.in_flight == 1


def test_each_provider_model_and_start_of_the_machine_has_a_gate_of_its_own(tmp_path: Path) -> None:
    one = gate_folder(tmp_path, "openai", "https://a", "m")
    assert one == gate_folder(tmp_path, "openai", "https://a", "m")
    others = [gate_folder(tmp_path, *whom) for whom in (("openai", "https://b", "m"), ("openai", "https://a", "n"))]
    assert len({one, *others}) == 3


def test_machines_double_their_places_until_they_are_refused() -> None:
    state, settings = GateState(8.0), HOST_SETTINGS
    for _ in range(8):
        state = state.after_answer(settings)
    assert state.limit == 16.0
    state = state.after_refusal(settings, 100.0, None)
    assert (state.limit, state.calm_at_s) == (8.0, 110.0)
    assert state.after_answer(settings).limit == 8.125


@given(st.floats(0, 1e6), st.integers(0, 100))
def test_a_pause_is_at_least_what_was_asked_and_a_tenth_more_at_most(asked_s: float, seed: int) -> None:
    world = PlayedWorld()
    limiter = AdaptiveLimiter(world=world)
    limiter.share(ThreadGate(LimiterSettings()), LimiterSettings(), random.Random(seed))
    limiter.rate_limited(asked_s)
    assert asked_s <= limiter.closed_s <= asked_s * 1.1 + 1e-6


class TwoProcesses(RuleBasedStateMachine):
    """Two gates on one folder do what one gate of one process does."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.gates = [HostGate(Path(self.folder.name), THREE, rng=random.Random(n)) for n in (1, 2)]
        self.model = ThreadGate(THREE)
        self.left: list[tuple[object, object]] = []
        self.now_s = SystemWorld().monotonic_s()

    @rule(who=st.integers(0, 1))
    def enter(self, who: int) -> None:
        found, expected = self.gates[who].enter(self.now_s), self.model.enter(self.now_s)
        assert (found is None) == (expected is None)
        if found is not None:
            self.left.append((found, expected))

    @rule(number=st.integers(0, 5))
    def leave(self, number: int) -> None:
        if number < len(self.left):
            for give_back in self.left.pop(number):
                give_back()  # type: ignore[operator]

    @rule(who=st.integers(0, 1))
    def answer(self, who: int) -> None:
        for gate in (self.gates[who], self.model):
            gate.change(lambda state: state.after_answer(THREE))

    @rule(who=st.integers(0, 1), closed_s=st.none() | st.floats(0, 20))
    def refuse(self, who: int, closed_s: float | None) -> None:
        for gate in (self.gates[who], self.model):
            gate.change(lambda state: state.after_refusal(THREE, self.now_s, closed_s))

    @rule(seconds=st.floats(0, 30))
    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def agree(self) -> None:
        state = self.model.change(lambda state: state)
        for gate in self.gates:
            assert gate.change(lambda state: state) == state
            assert gate.in_flight() == self.model.in_flight() <= THREE.most

    def teardown(self) -> None:
        while self.left:
            self.left.pop()[0]()  # type: ignore[operator]
        self.folder.cleanup()


TestTwoProcesses = TwoProcesses.TestCase
TestTwoProcesses.settings = hypothesis_settings(max_examples=25, stateful_step_count=25, deadline=None)
