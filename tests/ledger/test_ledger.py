"""The ledger: no cap is passed, whatever is lost, killed, paused or asked twice, and what can be known is not lost."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aira_bench.errors import BudgetExceeded, MachineError, RunStateError
from aira_bench.ledger.account import Account, AccountTaken, Reservation, open_account
from aira_bench.ledger.amount import NOTHING, Amount, Caps
from aira_bench.ledger.pool import Pool, PoolChange, Totals
from aira_bench.shared_store.in_memory import Faults, LostAnswer, MemoryStore, Objects
from aira_bench.shared_store.posix import PosixStore
from aira_bench.shared_store.store import SharedStore

TEN = Caps(usd=10.0)
FOUR = Amount.of(4.0, 100)


def nobody_knows(call: str) -> None:
    return None


def opened(store: SharedStore, caps: Caps = TEN, unit: str = "seed-1", owner: str = "a", attempt: int = 1) -> Account:
    account = open_account(store, Pool(store, caps), unit, owner=owner, attempt=attempt, pause=lambda seconds: None)
    account.recover(nobody_knows)
    return account


def reserved(account: Account, call: str = "0001/propose/call_000", most: Amount = FOUR) -> Reservation:
    found = account.reserve(call, most)
    assert found is not None
    return found


def test_dollars_are_counted_exactly_and_never_in_the_users_favour() -> None:
    assert Amount.of(0.1, 0) + Amount.of(0.2, 0) == Amount.of(0.3, 0)
    assert Amount.of(1e-10, 0).nanousd == 1
    assert Caps(usd=0.3).hold(Amount.of(0.1, 0) + Amount.of(0.2, 0))
    assert not Caps(usd=0.3).hold(Amount(300_000_001, 0))
    assert Caps(usd=0.3000000009).hold(Amount(300_000_000, 0))
    assert not Caps(usd=0.3000000009).hold(Amount(300_000_001, 0))
    assert Caps(tokens=5).passed_by(Amount(10**12, 6)) == "tokens"
    assert Caps().hold(Amount(10**18, 10**12))


def test_a_call_is_set_aside_and_then_counts_as_it_cost(tmp_path: Path) -> None:
    store = PosixStore(tmp_path)
    account = opened(store)
    call = reserved(account)
    assert Pool(store, TEN).totals() == Totals(committed=FOUR)
    account.settle(call, Amount.of(1.5, 30))
    account.settle(call, Amount.of(1.5, 30))
    assert Pool(store, TEN).totals() == Totals(Amount.of(1.5, 30), Amount.of(1.5, 30))
    assert account.state.under_way == {}


def test_units_share_a_cap_and_are_told_whether_waiting_helps() -> None:
    store = MemoryStore()
    first, second = opened(store), opened(store, unit="seed-2")
    a, b = reserved(first), reserved(second)
    kept = set(store.objects.versions)
    for _ in range(3):
        assert second.reserve("0002/propose/call_000", FOUR) is None, "12 of 10 dollars, but nothing is spent yet"
    assert set(store.objects.versions) == kept, "a seed that waits writes nothing"
    first.settle(a, FOUR)
    second.settle(b, Amount.of(2.5, 0))
    with pytest.raises(BudgetExceeded, match=r"could cost 4.0000 USD; 6.5000 of the run's 10.00 USD are spent"):
        second.reserve("0002/propose/call_000", FOUR)
    assert second.reserve("0002/propose/call_000", Amount.of(3.5, 0)) is not None


def test_a_units_own_cap_is_held_before_the_pool_is_asked() -> None:
    store = MemoryStore()
    pool = Pool(store, Caps())
    account = open_account(store, pool, "seed-1", owner="a", attempt=1, caps=Caps(tokens=150))
    call = reserved(account)
    assert account.reserve("0001/propose/call_001", FOUR) is None
    account.settle(call, Amount(0, 60))
    with pytest.raises(BudgetExceeded, match="could use 100 tokens; 60 of seed-1's 150 are spent"):
        account.reserve("0001/propose/call_001", FOUR)
    assert pool.totals().committed == Amount(0, 60)


def test_a_dead_workers_call_counts_by_its_record_or_as_the_most_it_can_have_cost() -> None:
    for record, counted in ((Amount.of(0.5, 9), Amount.of(0.5, 9)), (None, FOUR)):
        store = MemoryStore()
        reserved(opened(store))
        assert Pool(store, TEN).totals().committed == FOUR, "dead: it stays set aside"
        pool = Pool(store, TEN)
        later = open_account(store, pool, "seed-1", owner="b", attempt=2)
        later.recover(lambda call, known=record: known if call == "0001/propose/call_000" else None)  # type: ignore[misc]
        assert pool.totals() == Totals(counted, counted)
        assert later.state.settled == counted


def test_a_worker_that_wakes_up_spends_nothing_more_and_frees_nothing() -> None:
    store = MemoryStore()
    sleeper = opened(store)
    call = reserved(sleeper)
    opened(store, owner="b", attempt=2)
    with pytest.raises(AccountTaken):
        sleeper.settle(call, NOTHING)
    with pytest.raises(AccountTaken):
        sleeper.reserve("0001/propose/call_001", Amount(1, 1))
    assert Pool(store, TEN).totals() == Totals(FOUR, FOUR)


def test_an_attempt_cannot_take_back_what_a_later_one_has() -> None:
    store = MemoryStore()
    opened(store, owner="b", attempt=2)
    for owner, attempt in (("a", 1), ("c", 2)):
        with pytest.raises(AccountTaken):
            opened(store, owner=owner, attempt=attempt)
    opened(store, owner="b", attempt=2)
    assert open_account(store, Pool(store, TEN), "seed-1", owner="d").state.attempt == 3


def test_what_was_spent_before_there_was_an_account_counts_once() -> None:
    store = MemoryStore()
    for attempt in (1, 2, 3):
        account = open_account(
            store, Pool(store, TEN), "seed-1", owner=f"{attempt}", attempt=attempt, carried=lambda: Amount.of(12.0, 5)
        )
        if attempt > 1:  # the first died before it told the pool
            account.recover(nobody_knows)
    assert Pool(store, TEN).totals() == Totals(Amount.of(12.0, 5), Amount.of(12.0, 5))
    with pytest.raises(BudgetExceeded):
        account.reserve("x", Amount(1, 0))


def test_a_call_that_cost_more_than_it_could_is_counted_as_it_was() -> None:
    store = MemoryStore()
    account = opened(store)
    account.settle(reserved(account), Amount.of(11.0, 1))
    assert Pool(store, TEN).totals().settled == Amount.of(11.0, 1)
    with pytest.raises(BudgetExceeded):
        account.reserve("x", Amount(1, 0))


@dataclass
class Interrupted(MemoryStore):
    """A store whose client dies before, or right after, its n-th claim."""

    left: int
    after: bool

    def __init__(self, objects: Objects, left: int, *, after: bool) -> None:
        super().__init__(objects)
        self.left, self.after = left, after

    def create(self, name: str, data: bytes) -> bytes:
        self.left -= 1
        if self.left < 0 or (self.left == 0 and not self.after):
            raise KeyboardInterrupt
        held = super().create(name, data)
        if self.left == 0:
            raise KeyboardInterrupt
        return held


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("claims", range(1, 12))
def test_a_worker_may_die_at_any_claim(claims: int, *, after: bool) -> None:
    """Two calls, of 4 and of 2 dollars at most, which cost 3 and 1; every place to die, before a claim and after it."""
    objects = Objects()
    paid = NOTHING
    try:
        account = opened(Interrupted(objects, claims, after=after))
        for most, cost in ((FOUR, Amount.of(3.0, 50)), (Amount.of(2.0, 10), Amount.of(1.0, 5))):
            call = reserved(account, most=most)
            paid += cost
            account.settle(call, cost)
    except KeyboardInterrupt:
        pass
    store = MemoryStore(objects)
    later = opened(store, owner="b", attempt=2)
    totals = Pool(store, TEN).totals()
    assert totals.committed == totals.settled == later.state.settled, "nothing is left under way"
    assert totals.settled.nanousd >= paid.nanousd
    assert totals.settled.nanousd <= Amount.of(5.0, 0).nanousd, "a call that was settled counts as it cost"
    again = opened(store, owner="c", attempt=3)
    assert again.state.settled == later.state.settled, "looking again changes nothing"


def test_a_change_is_made_once_whoever_asks_for_it() -> None:
    store = MemoryStore()
    pool, other = Pool(store, TEN), Pool(store, TEN)
    change = PoolChange("seed-1/2", "grant", committed=FOUR)
    assert pool.post(change, "a", 0) == "made"
    assert other.post(PoolChange("seed-2/2", "grant", committed=FOUR), "c", 1) == "made"
    assert other.post(change, "b", 0) == "made"
    assert other.post(PoolChange("seed-1/2", "void"), "b", 0) == "made"
    assert pool.totals().committed == FOUR + FOUR
    assert other.post(PoolChange("seed-1/9", "void"), "b", 2) == "void"
    assert pool.post(PoolChange("seed-1/9", "grant", committed=Amount(1, 1)), "a", 0) == "void"
    assert pool.totals().committed == FOUR + FOUR


def test_sums_never_start_from_an_entry_that_cannot_be_seen() -> None:
    objects = Objects()
    Pool(MemoryStore(objects), TEN).post(PoolChange("seed-1/2", "grant", committed=FOUR), "a", 0)
    blind = Pool(MemoryStore(objects, faults=Faults(stale=1.0), rng=random.Random(3)), TEN)
    outcomes = set[str]()
    for _ in range(20):
        try:
            outcomes.add(blind.post(PoolChange("seed-2/2", "grant", committed=FOUR), "b", 1))
        except MachineError as error:
            outcomes.add(str(error).split(":")[0])
    assert Pool(MemoryStore(objects), TEN).totals().committed == FOUR + FOUR
    assert "made" in outcomes


def test_a_long_pool_is_read_to_its_end_though_each_reader_is_cut_short() -> None:
    """Found by the simulation: a reader that began anew after each failure never came to the end of many entries."""
    objects = Objects()
    dying = opened(Interrupted(objects, 2, after=True))  # its account says that a call was asked for, the pool does not
    with pytest.raises(KeyboardInterrupt):
        reserved(dying)
    pool = Pool(MemoryStore(objects), TEN)
    for number in range(12_000):
        pool.post(PoolChange(f"seed-2/{number}", "settle", settled=Amount(1, 1), committed=Amount(1, 1)), "b", number)

    class CutShort(MemoryStore):
        left = 90

        def get(self, name: str) -> bytes | None:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().get(name)

    for attempt in range(2, 9):
        try:
            opened(CutShort(objects), owner=f"{attempt}", attempt=attempt)
            break
        except KeyboardInterrupt:
            pass
    else:
        pytest.fail("no attempt came to the end")
    assert Pool(MemoryStore(objects), TEN).totals().committed == Amount(12_000, 12_000)


class Counting(MemoryStore):
    """A store that counts what its client reads."""

    gets = 0

    def get(self, name: str) -> bytes | None:
        self.gets += 1
        return super().get(name)


@pytest.mark.parametrize("is_made", [False, True])
def test_whoever_takes_over_reads_few_of_the_entries_of_others(*, is_made: bool) -> None:
    """Found by the simulation of 10,000 workers, each of which read what all others had written."""
    objects = Objects()
    dying = opened(Interrupted(objects, 3 if is_made else 2, after=True))
    with pytest.raises(KeyboardInterrupt):
        reserved(dying)
    pool, made = Pool(MemoryStore(objects), TEN), int(is_made)
    for number in range(made, made + 3000):
        pool.post(PoolChange(f"seed-2/{number}", "settle", settled=Amount(1, 1), committed=Amount(1, 1)), "b", number)
    store = Counting(objects)
    opened(store, owner="b", attempt=2)
    assert store.gets < 200
    kept = FOUR if is_made else NOTHING
    assert pool.totals() == Totals(Amount(3000, 3000) + kept, Amount(3000, 3000) + kept)


@pytest.mark.parametrize("entry", [b"{}", b"[]", b'{"schema":9}', b"not json"])
def test_a_damaged_ledger_is_said_and_nothing_is_spent(entry: bytes) -> None:
    store = MemoryStore()
    store.create("pool/00000001", entry)
    store.create("accounts/seed-1/00000001", entry)
    with pytest.raises(RunStateError, match="pool cannot be read"):
        Pool(store, TEN).totals()
    with pytest.raises(RunStateError, match="account cannot be read"):
        opened(store)


def test_threads_of_many_processes_share_one_folder(tmp_path: Path) -> None:
    cap = Caps(tokens=2_000)

    def work(who: int) -> int:
        store = PosixStore(tmp_path)
        account = opened(store, cap, unit=f"seed-{who}", owner=f"{who}")
        made = 0
        for call in range(12):
            try:
                found = account.reserve(f"{call}", Amount(0, 100))
            except BudgetExceeded:
                return made
            if found is not None:
                account.settle(found, Amount(0, 40))
                made += 1
        return made

    with ThreadPoolExecutor(4) as pool:
        made = sum(pool.map(work, range(4)))
    totals = Pool(PosixStore(tmp_path), cap).totals()
    assert totals.committed == totals.settled == Amount(0, 40 * made)
    assert 40 < made <= 48
    assert totals.committed.tokens <= 2_000


FAULTS = Faults(lost_before=0.05, lost_after=0.1, repeated=0.1, stale=0.3)


@dataclass
class Worker:
    """One attempt at a unit, and what its provider has been paid through it."""

    account: Account
    unit: str
    calls: list[Reservation] = field(default_factory=list)


class ManyWorkers(RuleBasedStateMachine):
    """Workers on three units, that die, sleep and wake; the provider sends its bill whatever the ledger thinks."""

    def __init__(self) -> None:
        super().__init__()
        self.objects = Objects()
        self.cap = Caps(tokens=1_000)
        self.workers: list[Worker] = []
        self.attempts = dict.fromkeys(("seed-1", "seed-2", "seed-3"), 0)
        self.records: dict[str, dict[str, int]] = {unit: {} for unit in self.attempts}
        self.billed = 0
        self.rng = random.Random(0)

    def store(self) -> MemoryStore:
        return MemoryStore(self.objects, faults=FAULTS, rng=self.rng)

    @rule(unit=st.sampled_from(["seed-1", "seed-2", "seed-3"]), seed=st.integers(0, 9))
    def take_over(self, unit: str, seed: int) -> None:
        self.rng.seed(seed)
        self.attempts[unit] += 1
        store, attempt = self.store(), self.attempts[unit]
        try:
            account = open_account(
                store,
                Pool(store, self.cap),
                unit,
                owner=f"{unit}-{attempt}",
                attempt=attempt,
                pause=lambda seconds: None,
            )
            account.recover(lambda call: None if (n := self.records[unit].get(call)) is None else Amount(0, n))
        except MachineError:
            return  # the next attempt goes on
        self.workers.append(Worker(account, unit))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), most=st.integers(1, 300))
    def reserve(self, data: st.DataObject, most: int) -> None:
        worker = data.draw(st.sampled_from(self.workers))
        name = f"call-{self.rng.random()}"
        try:
            found = worker.account.reserve(name, Amount(0, most))
        except (MachineError, BudgetExceeded, AccountTaken):
            return
        if found is not None:
            worker.calls.append(found)

    @precondition(lambda self: any(worker.calls for worker in self.workers))
    @rule(data=st.data(), share=st.floats(0, 1), fate=st.sampled_from(["recorded", "lost", "settled"]))
    def call(self, data: st.DataObject, share: float, fate: str) -> None:
        """A call is sent, by a sleeper too; then its worker records it, or dies before, or settles it."""
        worker = data.draw(st.sampled_from([worker for worker in self.workers if worker.calls]))
        reserved = worker.calls.pop()
        cost = int(reserved.most.tokens * share)
        self.billed += cost
        if fate == "lost":
            self.workers.remove(worker)
            return
        if fate == "recorded" and int(worker.account.state.attempt) == self.attempts[worker.unit]:
            self.records[worker.unit][reserved.call.rpartition("#")[0]] = cost
            self.workers.remove(worker)
            return
        try:
            worker.account.settle(reserved, Amount(0, cost))
        except AccountTaken:
            pass
        except MachineError:
            self.workers.remove(worker)

    @invariant()
    def no_cap_is_passed_and_every_bill_is_covered(self) -> None:
        totals = Pool(MemoryStore(self.objects), self.cap).totals()
        assert self.billed <= totals.committed.tokens <= 1_000
        assert totals.settled.tokens <= totals.committed.tokens

    def teardown(self) -> None:
        """When every unit has been taken over once more without faults, nothing is held, and sums agree."""
        store, settled = MemoryStore(self.objects), 0
        for unit, attempt in self.attempts.items():
            account = opened(store, self.cap, unit, "last", attempt + 1)
            settled += account.state.settled.tokens
        totals = Pool(store, self.cap).totals()
        assert totals.committed == totals.settled == Amount(0, settled)
        assert self.billed <= settled <= 1_000


TestManyWorkers = ManyWorkers.TestCase
TestManyWorkers.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


def test_two_attempts_that_race_for_an_account_leave_one(tmp_path: Path) -> None:
    store, gate, taken = PosixStore(tmp_path), threading.Barrier(2), []

    def race(attempt: int) -> None:
        gate.wait()
        try:
            account = opened(store, owner=f"{attempt}", attempt=attempt)
            for call in range(10):
                account.settle(reserved(account, f"{call}", Amount(1, 1)), Amount(1, 1))
        except AccountTaken:
            taken.append(attempt)

    threads = [threading.Thread(target=race, args=(attempt,)) for attempt in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = opened(store, owner="3", attempt=3)
    assert taken in ([], [1])
    assert last.state.settled.tokens in range(10, 21)
    assert Pool(store, TEN).totals().settled == last.state.settled


def test_a_failing_storage_is_asked_again_before_a_paid_call_is_given_up() -> None:
    objects, pauses = Objects(), list[float]()

    class Failing(MemoryStore):
        fails = 0

        def create(self, name: str, data: bytes) -> bytes:
            if self.fails:
                self.fails -= 1
                raise LostAnswer(name)
            return super().create(name, data)

    store = Failing(objects)
    account = open_account(store, Pool(store, TEN), "seed-1", owner="a", attempt=1, pause=pauses.append)
    call = reserved(account)
    store.fails = 3
    account.settle(call, Amount.of(1.0, 1))
    assert len(pauses) == 3
    store.fails = 99
    with pytest.raises(MachineError):
        account.reserve("more", FOUR)
    store.fails = 0
    assert reserved(account, "more")
