"""Whose turn it is: no place is taken twice, nobody waits for ever, and the dead leave nothing behind."""

import contextlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from aira_bench.runs import line as line_module
from aira_bench.runs.line import Line, Taken, Turn
from aira_bench.runs.places import Place, Wanted, places_of
from aira_bench.waiting import Stopped, Waits

FOUR = [Place((number,), f"GPU-{number}") for number in range(4)]
HALVES, WHOLE = [Place((0, 1)), Place((2, 3))], [Place((0, 1, 2, 3))]


@contextlib.contextmanager
def standing(folder: Path, places: list[Place], most: int | None = None) -> Iterator[Line]:
    line = Line(places, most=most, folder=folder / "leases")
    try:
        yield line
    finally:
        line.close()


def now(line: Line, *, keeps: bool = False) -> Taken | None:
    """A place, if one can be had at once."""
    turn = line.enter(keeps=keeps)
    try:
        return line.attempt(turn, 0.0)
    finally:
        line.leave(turn)


def taken_by(line: Line, *, keeps: bool = False) -> Taken:
    """A place that can be had at once."""
    taken = now(line, keeps=keeps)
    assert taken is not None
    return taken


def test_runs_share_devices_while_models_think(tmp_path: Path) -> None:
    with standing(tmp_path, FOUR[:1]) as one, standing(tmp_path, FOUR[:1]) as other:
        first = taken_by(one)
        assert now(other) is None
        one.give_back(first.index)
        assert now(other) is not None
        assert now(one) is None


def test_a_run_never_has_more_places_than_it_may(tmp_path: Path) -> None:
    with standing(tmp_path, FOUR, most=2) as line, standing(tmp_path, FOUR) as other:
        assert [now(line) is not None for _ in range(3)] == [True, True, False]
        assert [now(other) is not None for _ in range(3)] == [True, True, False]


def test_who_came_first_is_served_first(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        holder, *waiting = (stack.enter_context(standing(tmp_path, FOUR[:1])) for _ in range(4))
        held = taken_by(holder)
        turns = [(line, line.enter()) for line in waiting]
        assert [line.attempt(turn, 0.0) for line, turn in turns] == [None, None, None]
        for number, (line, turn) in enumerate(turns):
            holder.give_back(held.index)
            for later, its_turn in reversed(turns[number + 1 :]):
                assert later.attempt(its_turn, 0.0) is None, "it came later"
            held, holder = line.attempt(turn, 0.0), line
            assert held is not None
            line.leave(turn)


def test_a_run_of_many_seeds_and_one_of_few_take_turns(tmp_path: Path) -> None:
    with (
        standing(tmp_path, FOUR[:2]) as third,
        standing(tmp_path, FOUR[:2]) as many,
        standing(tmp_path, FOUR[:2]) as few,
    ):
        held = taken_by(third)
        assert now(third) is not None  # it keeps this one, so each of the others could have one more than it gets
        turns = {line: [line.enter() for _ in range(count)] for line, count in ((many, 9), (few, 3))}
        assert [line.attempt(left[0], 0.0) for line, left in turns.items()] == [None, None]
        third.give_back(held.index)
        order = []
        while any(turns.values()):
            for line, left in turns.items():
                taken = line.attempt(left[0], 0.0) if left else None
                if taken is not None:
                    order.append(line)
                    line.leave(left.pop(0))
                    for other, waiting in turns.items():
                        if other is not line and waiting:
                            other.attempt(waiting[0], 0.0)
                    line.give_back(taken.index)
        assert order[:6] == [many, few] * 3


def test_who_needs_all_is_not_passed_for_ever_by_those_who_need_a_part(tmp_path: Path) -> None:
    with (
        standing(tmp_path, HALVES) as one,
        standing(tmp_path, HALVES) as other,
        standing(tmp_path, WHOLE) as all_of_it,
    ):
        first, second = taken_by(one), taken_by(other)
        turn = all_of_it.enter()
        assert all_of_it.attempt(turn, 0.0) is None
        one.give_back(first.index)
        assert now(one) is None, "what one who came before needs is kept free"
        other.give_back(second.index)
        assert now(other) is None
        assert all_of_it.attempt(turn, 0.0) is not None
        all_of_it.leave(turn)


def test_seeds_that_share_a_core_do_not_keep_it_from_other_runs_by_turns(tmp_path: Path) -> None:
    shared = places_of(Wanted([0], 2))
    with standing(tmp_path, shared) as sharing, standing(tmp_path, [Place((0,))]) as other:
        first, second = taken_by(sharing), taken_by(sharing)
        turn = other.enter()
        assert other.attempt(turn, 0.0) is None
        sharing.give_back(first.index)
        assert now(sharing) is None, "the core is ours still, but who came before wants it"
        sharing.give_back(second.index)
        assert other.attempt(turn, 0.0) is not None
        other.leave(turn)


def test_nobody_waits_for_what_a_seed_keeps(tmp_path: Path) -> None:
    """Else one run that wants all cores would keep the others idle for the days that a seed may last."""
    with (
        standing(tmp_path, HALVES) as keeper,
        standing(tmp_path, WHOLE) as all_of_it,
        standing(tmp_path, HALVES) as other,
    ):
        kept = taken_by(keeper, keeps=True)
        turn = all_of_it.enter()
        assert all_of_it.attempt(turn, 0.0) is None
        taken = taken_by(other)
        other.give_back(taken.index)
        keeper.give_back(kept.index)
        assert now(other) is None, "now that it can be had, who came first has the claim"
        assert all_of_it.attempt(turn, 0.0) is not None
        all_of_it.leave(turn)


def test_who_does_not_come_when_called_is_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was stopped (Ctrl-Z) while it stood in the line."""
    monkeypatch.setattr(line_module, "_CALLED_S", 0.2)
    with contextlib.ExitStack() as stack:
        holder, stopped, other = (stack.enter_context(standing(tmp_path, FOUR[:1])) for _ in range(3))
        held = taken_by(holder)
        assert stopped.attempt(stopped.enter(), 0.0) is None
        turn = other.enter()
        assert other.attempt(turn, 0.0) is None
        holder.give_back(held.index)
        assert other.attempt(turn, 0.0) is None
        time.sleep(0.25)
        assert other.attempt(turn, 0.0) is not None


def test_who_waits_in_vain_leaves_the_line(tmp_path: Path) -> None:
    stop, said = threading.Event(), []
    waits = Waits(stop, lambda reason, text: said.append((reason, text)))
    with standing(tmp_path, FOUR[:1]) as holder, standing(tmp_path, FOUR[:1]) as waiting:
        held = taken_by(holder)
        threading.Timer(0.3, stop.set).start()
        with pytest.raises(Stopped):
            waiting.take(waits)
        assert said == [("cores", "waiting for 1 of the cores 0 and one of 1 GPUs: other runs of this machine have them; "
                         "--cores and --gpus choose others")]  # fmt: skip
        assert waits.seconds["cores"] > 0.2
        holder.give_back(held.index)
        assert now(holder) is not None, "nobody stands before it any more"


def test_a_seed_that_waits_for_its_own_run_says_so(tmp_path: Path) -> None:
    said = []
    with standing(tmp_path, FOUR[:1]) as line:
        held = line.take(Waits())
        threading.Timer(0.2, line.give_back, [held.index]).start()
        line.take(Waits(tell=lambda reason, text: said.append((reason, text))))
    assert said == [("slot", "waiting for a slot")]


@pytest.mark.parametrize("ends", ["gives back", "leaves", "killed"])
def test_who_waits_hears_at_once_of_a_place_that_came_back(
    ends: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "_LOOK_S", 60.0)
    looks: list[float] = []
    look = Line._look
    monkeypatch.setattr(Line, "_look", lambda line, turn: (looks.append(time.monotonic()), look(line, turn))[1])
    with standing(tmp_path, FOUR[:1]) as line:
        holder = started(tmp_path, "hold")
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"0\n"
        woke: list[float] = []
        waiting = threading.Thread(target=lambda: (line.take(Waits()), woke.append(time.monotonic())), daemon=True)
        waiting.start()
        time.sleep(1.5)
        assert 1 <= len(looks) <= 2, "once, and once more when it listens"
        ended_s = time.monotonic()
        if ends == "killed":
            holder.kill()
        else:
            holder.communicate(b"back\n" if ends == "gives back" else b"leave\n")
        waiting.join(20)
        holder.wait()
        assert woke[0] - ended_s < 10
        if ends == "killed":
            assert [each.uses for each in found_dead(line)] == [{"gpu-GPU-0", "core-0"}]


def found_dead(line: Line) -> tuple[object, ...]:
    return tuple(line._entries.others()[1])


HOLDER = """
import json, random, sys, time
from pathlib import Path
from aira_bench.runs.line import Line
from aira_bench.runs.places import Place
from aira_bench.waiting import Waits
folder, kind, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
four = [Place((index,), f"GPU-{index}") for index in range(4)]
shapes = [four[:1], four[:3], [Place((0, 1)), Place((2,))], [Place((0, 1, 2))]]
line = Line(shapes[number], folder=folder / "leases")
if kind == "hold":
    index = line.take(Waits()).index
    print(index, flush=True)
    if sys.stdin.readline() == "back\\n":
        line.give_back(index)
    line.close()
    sys.exit()
rng, log = random.Random(sys.argv[4]), open(folder / f"use-{sys.argv[4]}", "a", buffering=1)
for _ in range(6):
    taken = line.take(Waits())
    names = line.places[taken.index].names
    for name in names:
        print(json.dumps([name, "began", time.monotonic()]), file=log)
    time.sleep(rng.uniform(0.0, 0.02))
    for name in names:
        print(json.dumps([name, "ended", time.monotonic()]), file=log)
    line.give_back(taken.index)
line.close()
"""


def started(folder: Path, kind: str, shape: int = 0, name: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", HOLDER, str(folder), kind, str(shape), str(name)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_many_processes_of_many_shapes_some_killed_never_share_anything(tmp_path: Path) -> None:
    rng = random.Random(1)
    running = [started(tmp_path, "use", number % 4, number) for number in range(12)]
    killed = set(rng.sample(range(12), 4))
    time.sleep(1.0)
    for number in killed:
        time.sleep(rng.uniform(0.0, 0.2))
        running[number].kill()
    assert [process.wait(240) in (0, -signal.SIGKILL) for process in running] == [True] * 12
    for process in running:
        process.communicate()
    spans: dict[str, list[tuple[float, float]]] = {}
    for log in tmp_path.glob("use-*"):
        lines = [json.loads(text) for text in log.read_text().splitlines() if text.endswith("]")]
        for name in {each[0] for each in lines}:
            times = [each[2] for each in lines if each[0] == name]
            times += [times[-1]] * (len(times) % 2)  # killed while it had it
            spans.setdefault(name, []).extend(zip(times[::2], times[1::2], strict=True))
        if int(log.name.removeprefix("use-")) not in killed:
            assert sum(each[1] == "ended" for each in lines) >= 6, "who was not killed had all its turns"
    for name, held in spans.items():
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(sorted(held))), name
    with standing(tmp_path, FOUR[:3]) as line:
        assert [now(line) is not None for _ in range(3)] == [True] * 3, "the dead have left nothing"


SHAPES = [FOUR, FOUR[:2], FOUR[2:], HALVES, WHOLE, places_of(Wanted([0, 1], 4))]


class Machine(RuleBasedStateMachine):
    """Runs of all shapes come, wait, are served, give back, keep, and are killed."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.lines: list[Line] = []
        self.turns: dict[Line, list[Turn]] = {}
        self.held: dict[Line, dict[int, bool]] = {}
        self.came: dict[Line, int] = {}
        self.grants = 0
        self.waited_grants: dict[Line, int] = {}

    @initialize(shapes=st.lists(st.sampled_from(range(len(SHAPES))), min_size=2, max_size=4))
    def begin(self, shapes: list[int]) -> None:
        for shape in shapes:
            self.come(shape)

    @rule(shape=st.integers(0, len(SHAPES) - 1))
    def come(self, shape: int) -> None:
        if len(self.lines) < 5:
            line = Line(SHAPES[shape], folder=Path(self.folder.name) / "leases")
            self.lines.append(line)
            self.turns[line], self.held[line] = [], {}

    def some(self, number: int) -> Line:
        return self.lines[number % len(self.lines)]

    @precondition(lambda self: self.lines)
    @rule(number=st.integers(0, 99), keeps=st.booleans())
    def wait(self, number: int, keeps: bool) -> None:
        line = self.some(number)
        if len(self.turns[line]) < 3:
            self.turns[line].append(line.enter(keeps=keeps))

    @precondition(lambda self: self.lines)
    @rule(number=st.integers(0, 99))
    def look(self, number: int) -> None:
        self.looked(self.some(number))

    def looked(self, line: Line) -> bool:
        if not self.turns[line]:
            return False
        turn = self.turns[line][0]
        taken = line.attempt(turn, 0.0)
        if taken is None:
            return False
        names = set(line.places[taken.index].names)
        for other in self.lines:
            assert other is line or not names & self.names_of(other), "a double lease"
        assert taken.index not in self.held[line]
        self.turns[line].pop(0)
        line.leave(turn)
        self.held[line][taken.index] = turn.keeps
        return True

    def names_of(self, line: Line) -> set[str]:
        return {name for index in self.held[line] for name in line.places[index].names}

    @precondition(lambda self: self.lines)
    @rule(number=st.integers(0, 99), which=st.integers(0, 9))
    def give_back(self, number: int, which: int) -> None:
        line = self.some(number)
        if self.held[line]:
            index = list(self.held[line])[which % len(self.held[line])]
            del self.held[line][index]
            line.give_back(index)

    @precondition(lambda self: self.lines)
    @rule(number=st.integers(0, 99))
    def give_up(self, number: int) -> None:
        line = self.some(number)
        if self.turns[line]:
            line.leave(self.turns[line].pop())

    @precondition(lambda self: self.lines)
    @rule(number=st.integers(0, 99), killed=st.booleans())
    def end(self, number: int, killed: bool) -> None:
        line = self.some(number)
        self.lines.remove(line)
        (die if killed else Line.close)(line)

    @precondition(lambda self: self.lines)
    @rule()
    def all_who_wait_are_served_in_the_end(self) -> None:
        """When those who hold give back, whatever came before: within as many rounds as there are turns."""
        for _ in range(3 * len(self.lines) + 1):
            for line in self.lines:
                for index in list(self.held[line]):
                    del self.held[line][index]
                    line.give_back(index)
            for _ in range(len(self.lines)):
                for line in self.lines:
                    self.looked(line)
        assert not any(self.turns[line] for line in self.lines)

    @invariant()
    def nothing_is_leased_twice(self) -> None:
        held = [name for line in self.lines for name in self.names_of(line)]
        assert len(held) == len(set(held))

    def teardown(self) -> None:
        for line in self.lines:
            line.close()
        self.folder.cleanup()


def die(line: Line) -> None:
    """What the kernel does for a process that is killed: its files are closed, and nothing else is done."""
    line._leases.release()
    line._entries._forget()
    line._bell.close()


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=30)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_users_of_one_machine_stand_in_one_line(tmp_path: Path) -> None:
    shared = Path("/dev/shm") / f"aira-line-test-{os.getpid()}"
    shared.mkdir()
    shared.chmod(0o1777)
    code = (
        "import os, sys; from pathlib import Path; from aira_bench.runs.line import Line; "
        "from aira_bench.runs.places import Place; from aira_bench.waiting import Waits; "
        "Waits().seconds; import pydantic; os.umask(0o077); os.setuid(65534); "
        "line = Line([Place((0,))], folder=Path(sys.argv[1])); print('in', flush=True); "
        "print(line.take(Waits()).index, flush=True); sys.stdin.read()"
    )
    with standing(shared, [Place((0,))]) as ours:
        held = taken_by(ours)
        command = [sys.executable, "-c", code, str(shared / "leases")]
        theirs = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert theirs.stdout is not None
        assert theirs.stdout.readline() == b"in\n"
        time.sleep(0.5)
        ours.give_back(held.index)
        assert now(ours) is None, "they came first"
        assert theirs.stdout.readline() == b"0\n"
        theirs.kill()
        theirs.communicate()
        taken = ours.take(Waits())
        assert len(taken.left_by) == 1, "what they used may still run"
    for path in sorted(shared.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    shared.rmdir()
