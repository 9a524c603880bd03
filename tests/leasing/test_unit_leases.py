"""Leases of units: what workers agree on, whatever comes between two of their requests.

The machine below plays several workers that are stopped anywhere: between looking and writing, between winning a lease
and copying, for longer than anybody waits. What a worker was told is safe must be in what readers see, once, for ever.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aira_bench.errors import MachineError, ModelError, PrerequisiteError, RunStateError, UsageError
from aira_bench.leasing.entries import MOST_HALTS, last_entry, lease_store, reopen_unit
from aira_bench.leasing.lease import Denied, Lease, LeaseLost, Lessee, Won, kept
from aira_bench.leasing.terms import Terms, open_leases, read_terms, wanted_terms
from aira_bench.shared_store.heartbeat import Heartbeat
from aira_bench.shared_store.in_memory import MemoryStore, Objects
from aira_bench.world import SystemWorld
from eventually import eventually

RUN = Path("run")
TERMS = Terms(12.0)
WORKERS = st.integers(0, 1)


@dataclass
class Clock:
    """A worker's own clock, which stands still only for a machine that does."""

    name: str
    time_s: float = 0.0
    made: int = 0

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic_s(self) -> float:
        return self.time_s

    def new_id(self) -> str:
        self.made += 1
        return f"{self.name}-{self.made}"

    def host_name(self) -> str:
        return self.name


@dataclass
class Player:
    """A worker, and how far it is."""

    clock: Clock
    lessee: Lessee
    won: Won | None = None
    seen: int | None = None
    """The newest copy when it looked for its place, and asked whether the unit still was its own."""
    fork: int | None = None
    """Where it writes; None before it has a place."""
    written: int | None = None
    """A line that is on disk, and that nobody told it is safe."""


@dataclass
class Unit:
    """What is on disk of one seed: a list of lines for each copy of it."""

    forks: dict[int, list[int]] = field(default_factory=lambda: {1: []})
    attempts: dict[int, int] = field(default_factory=dict)
    """Whose each line is."""
    safe: list[int] = field(default_factory=list)
    """Lines of which a worker was told that they are safe, in that order."""

    @property
    def newest(self) -> int:
        return max(self.forks)


class Workers(RuleBasedStateMachine):
    """Two workers on machines of their own, each of which may be stopped between any two of these rules."""

    def __init__(self) -> None:
        super().__init__()
        objects = Objects()
        self.unit = Unit()
        clocks = [Clock(f"w{number}", 1000.0 * number) for number in range(2)]
        self.players = [
            Player(clock, Lessee(clock, owner=f"elsewhere/{clock.name}", store_of=lambda _: MemoryStore(objects)))
            for clock in clocks
        ]
        self.next_line = 1

    def _lost(self, player: Player) -> None:
        player.won = player.seen = player.fork = player.written = None

    @rule(number=WORKERS, seconds=st.sampled_from([0.5, 3.0, 60.0]))
    def time_passes(self, number: int, seconds: float) -> None:
        self.players[number].clock.time_s += seconds

    @rule(number=WORKERS, looks=st.sampled_from([1, 10]))
    def take(self, number: int, looks: int) -> None:
        """At once, or after as many looks as it takes to find that whoever has the unit is silent."""
        player = self.players[number]
        for _ in range(looks if player.won is None else 0):
            answer = player.lessee.take(RUN, 0, TERMS)
            if isinstance(answer, Won):
                player.won = answer
                return
            player.clock.time_s += 3.0

    @rule(number=WORKERS)
    def look_for_a_place(self, number: int) -> None:
        player = self.players[number]
        if player.won is None or player.fork is not None:
            return
        player.seen = self.unit.newest
        try:
            player.won.lease.check()
        except LeaseLost:
            self._lost(player)

    @rule(number=WORKERS)
    def find_a_place(self, number: int) -> None:
        """Copies what is there where a former owner may be alive; one of two that copy at a time gets the number."""
        player = self.players[number]
        if player.won is None or player.fork is not None or player.seen is None:
            return
        if player.won.is_certain:
            player.fork = player.seen
        elif player.seen + 1 in self.unit.forks:
            player.seen = None
        else:
            player.fork = player.seen + 1
            self.unit.forks[player.fork] = list(self.unit.forks[player.seen])

    @rule(number=WORKERS, looks=st.sampled_from([1, 10]))
    def begin(self, number: int, looks: int) -> None:
        """All of that, one after the other."""
        self.take(number, looks)
        self.look_for_a_place(number)
        self.find_a_place(number)

    @rule(number=WORKERS)
    def keep(self, number: int) -> None:
        player = self.players[number]
        if player.won is not None:
            try:
                player.won.lease.keep()
            except LeaseLost:
                self._lost(player)

    @rule(number=WORKERS)
    def write(self, number: int) -> None:
        """As a journal does: asks, and writes behind what it has read."""
        player = self.players[number]
        if player.won is None or player.fork is None or player.written is not None:
            return
        try:
            player.won.lease.check()
        except LeaseLost:
            self._lost(player)

    @rule(number=WORKERS)
    def write_late(self, number: int) -> None:
        """It was stopped after it had asked: the line lands all the same."""
        player = self.players[number]
        if player.won is not None and player.fork is not None and player.written is None:
            self.unit.forks[player.fork].append(self.next_line)
            self.unit.attempts[self.next_line] = player.won.lease.entry.attempt
            player.written, self.next_line = self.next_line, self.next_line + 1

    @rule(number=WORKERS)
    def hear_that_it_is_safe(self, number: int) -> None:
        player = self.players[number]
        if player.won is None or player.written is None:
            return
        try:
            player.won.lease.check()
        except LeaseLost:
            self._lost(player)
        else:
            self.unit.safe.append(player.written)
            player.written = None

    @precondition(lambda self: self.next_line > 1)
    @rule(number=WORKERS, halts=st.booleans())
    def give_back(self, number: int, halts: bool) -> None:
        player = self.players[number]
        if player.won is None or player.written is not None:
            return
        fork, alone = player.fork or player.won.lease.entry.fork, player.won.is_certain or player.fork is not None
        with contextlib.suppress(LeaseLost):
            player.won.lease.end("released", fork=fork, alone=alone, failure=ModelError("no") if halts else None)
        self._lost(player)

    @rule(number=WORKERS)
    def take_at_a_storage_that_fails(self, number: int) -> None:
        """What the storage took and did not answer: the unit is the worker's, and it has heard of an error."""
        player = self.players[number]
        if player.won is None:
            with contextlib.suppress(MachineError), failing_beats():
                answer = player.lessee.take(RUN, 0, TERMS)
                assert isinstance(answer, Denied), "who wins keeps the lease at once"

    @invariant()
    def what_is_safe_is_seen_by_every_reader(self) -> None:
        seen = self.unit.forks[self.unit.newest]
        assert [line for line in seen if line in self.unit.safe] == self.unit.safe

    @invariant()
    def no_earlier_attempt_s_line_follows_a_later_one_s(self) -> None:
        seen = [self.unit.attempts[line] for line in self.unit.forks[self.unit.newest]]
        assert seen == sorted(seen)


@contextlib.contextmanager
def failing_beats() -> Iterator[None]:
    """A storage that takes claims and fails when a heart is to beat."""

    def fail(heart: Heartbeat) -> None:
        raise MachineError("the storage is away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Heartbeat, "beat", fail)
        yield


Workers.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestWorkers = Workers.TestCase


@pytest.fixture
def run(tmp_path: Path) -> Path:
    open_leases(lease_store(tmp_path), Terms(1.0))
    return tmp_path


def take(run: Path, lessee: Lessee) -> Lease:
    answer = lessee.take(run, 0, Terms(1.0))
    assert isinstance(answer, Won)
    return answer.lease


def test_one_of_two_gets_a_unit_and_the_other_hears_whose_it_is(run: Path) -> None:
    one, other = Lessee(SystemWorld()), Lessee(SystemWorld())
    lease = take(run, one)
    denied = other.take(run, 0, Terms(1.0))
    assert isinstance(denied, Denied)
    assert (denied.state, denied.entry.worker, denied.seen_alive) == ("held", one.worker, False)
    lease.keep()
    again = other.take(run, 0, Terms(1.0))
    assert isinstance(again, Denied)
    assert again.seen_alive
    lease.end("over", fork=1, alone=True)
    assert isinstance(over := other.take(run, 0, Terms(1.0)), Denied)
    assert over.state == "over"
    with pytest.raises(LeaseLost):
        lease.check()


def test_a_unit_that_halts_again_and_again_is_left_until_its_user_says_so(run: Path) -> None:
    for halts in range(1, MOST_HALTS + 1):
        lease = take(run, Lessee(SystemWorld()))
        assert lease.entry.attempt == halts
        lease.end("halted", fork=1, alone=True, failure=ModelError("the provider is gone"))
    denied = Lessee(SystemWorld()).take(run, 0, Terms(1.0))
    assert isinstance(denied, Denied)
    assert (denied.state, denied.entry.why, denied.entry.status) == ("halted", "the provider is gone", 7)
    reopen_unit(run, 0, SystemWorld())
    lease = take(run, Lessee(SystemWorld()))
    lease.end("halted", fork=1, alone=True, failure=ModelError("no"), advanced=True)
    assert (entry := last_entry(lease_store(run), 0)) is not None
    assert entry.halts == 1, "an attempt that finished a step is no attempt in vain"


def test_a_keeper_hears_that_its_unit_was_taken(run: Path) -> None:
    clock = Clock("slow")
    lost: list[str] = []
    lease = take(run, Lessee(SystemWorld(), owner="elsewhere/1"))
    other = Lessee(clock)
    while isinstance(other.take(run, 0, Terms(1.0)), Denied):  # its clock runs while nobody keeps the lease
        clock.time_s += 0.3
    with kept(lease, lambda: lost.append("taken")):
        eventually(lambda: lost)
    assert lost == ["taken"]
    with pytest.raises(LeaseLost):
        lease.end("released", fork=1, alone=True)


def test_a_keeper_goes_on_though_the_storage_refused_it_for_a_while(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a token is renewed late: its thread ended with a traceback, and others took the unit from a worker that
    went on."""
    lease = take(run, Lessee(SystemWorld()))
    refused, kept_on, keep = [0], [0], lease.keep

    def refusing() -> None:
        if refused[0] < 2:
            refused[0] += 1
            raise PrerequisiteError("the storage cannot be used: the token has expired")
        kept_on[0] += 1
        keep()

    monkeypatch.setattr(lease, "keep", refusing)
    with kept(lease, lambda: None):
        eventually(lambda: kept_on[0] >= 2)


@pytest.mark.parametrize("how", ["given back", "never heard"])
def test_a_unit_that_may_have_a_late_owner_stays_uncertain_until_it_is_copied(run: Path, how: str) -> None:
    """Found by the simulation of 10,000 workers: one step of 24,000 was done twice."""
    clock = Clock("other")
    take(run, Lessee(SystemWorld(), owner="elsewhere/1"))  # and is paused
    other = Lessee(clock, owner="elsewhere/2")
    while isinstance(other.take(run, 0, Terms(1.0)), Denied):
        clock.time_s += 0.3
        if how == "never heard":
            with contextlib.suppress(MachineError), failing_beats():
                other.take(run, 0, Terms(1.0))
    taken = last_entry(lease_store(run), 0)
    assert taken is not None
    assert (taken.owner, taken.alone) == ("elsewhere/2", False)
    again = Lessee(SystemWorld())
    if how == "given back":
        lease = other.take(run, 0, Terms(1.0))
        assert isinstance(lease, Won)
        lease.lease.end("halted", fork=1, alone=lease.is_certain)
    else:
        again = other
    answer = again.take(run, 0, Terms(1.0))
    assert isinstance(answer, Won)
    assert not answer.is_certain, "the first owner may wake up and write to the copy that everybody reads"
    answer.lease.end("released", fork=2, alone=True)
    answer = Lessee(SystemWorld()).take(run, 0, Terms(1.0))
    assert isinstance(answer, Won)
    assert answer.is_certain


def test_terms_are_those_of_whoever_was_first(tmp_path: Path) -> None:
    store = lease_store(tmp_path)
    assert read_terms(store) is None
    assert open_leases(store, Terms(5.0)) == open_leases(store, Terms(9.0)) == read_terms(store) == Terms(5.0)


def test_what_is_no_lease_is_named(run: Path) -> None:
    store = lease_store(run)
    store.put("0/00000001", b'{"state":"mine"}')
    with pytest.raises(RunStateError, match="leases/0/1 is no lease of this version"):
        last_entry(store, 0)


@pytest.mark.parametrize("said", ["", "x", "nan", "inf", "-1", "0.5", "1e9"])
def test_terms_that_cannot_be_are_refused(said: str) -> None:
    with pytest.raises(UsageError, match="AIRA_LEASE_S is"):
        wanted_terms({"AIRA_LEASE_S": said})
