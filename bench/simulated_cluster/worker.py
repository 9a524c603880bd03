"""A worker that takes units, spends, sleeps and dies, by the shipped leases and ledger."""

import random

from aira_bench.errors import BudgetExceeded, MachineError
from aira_bench.leasing.lease import Denied, Lease, LeaseLost, Lessee, Won
from aira_bench.ledger.account import Account, AccountTaken
from aira_bench.ledger.amount import Amount
from aira_bench.ledger.run_ledger import RunLedger
from aira_bench.shared_store.in_memory import MemoryStore
from simulated_cluster.clock import SkewedWorld
from simulated_cluster.cluster import (
    BOUND_TOKENS,
    FAULTS,
    MOST_USD,
    PATIENCE_S,
    RUN,
    STEP_S,
    STEPS,
    TERMS,
    WAITED_FOR,
    Cluster,
    Copy,
    Unit,
)


class Died(BaseException):
    """A worker that is killed where it stands."""


class Worker:
    """A process that takes units until all are over; where it dies, the next life begins in the same thread."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.cluster, self.time = cluster, cluster.time
        self.rng = random.Random(f"cluster {cluster.seed} {number}")
        self.number = number

    def live(self) -> None:
        """Take units, die, and begin again."""
        while self.cluster.open_units:
            try:
                return self._one_life()
            except Died:
                self.cluster.counts["deaths"] += 1
                self.time.sleep(self.rng.expovariate(1 / 600))
        return None

    def _one_life(self) -> None:
        hours = self.rng.uniform(-12, 12)
        self.world = SkewedWorld(self.time, self.rng, 3600 * hours, self.rng.uniform(0.99, 1.01))
        self.store = self._client()
        lessee = Lessee(self.world, store_of=lambda run: self.store)
        self.account: Account | None = None
        looked_at: list[int] = []
        idle = 0
        while self.cluster.open_units:
            looked_at = [unit for unit in looked_at if unit in self.cluster.open_units] or self._some()
            for unit in list(looked_at):
                try:
                    found = lessee.take(RUN, unit, TERMS)
                except MachineError:
                    found = None
                if isinstance(found, Won):
                    self._attempt(unit, found)
                    looked_at, idle = [], 0
                    break
                if isinstance(found, Denied) and found.state == "over":
                    self.cluster.open_units.close(unit)
            else:
                idle += 1
                if idle > 2 and self.number % self.cluster.hardships.kept_waiting:
                    return  # most need not wait for somebody to die
            self._wait(self.rng.uniform(0.5, 1.5) * TERMS.dead_after_s / 4)

    def _some(self) -> list[int]:
        """Two units to look at: its own first, as long as nobody has taken it."""
        units = self.cluster.open_units
        own = [self.number] if self.number in units and not self.rng.randrange(2) else []
        return [*own, *(units.drawn(self.rng) for _ in range(2 - len(own)))]

    def _attempt(self, number: int, won: Won) -> None:
        unit, lease = self.cluster.units[number], won.lease
        self.store = self._client()
        self._may_sleep()
        try:
            copy_number = max(unit.copies) if won.is_certain else self._copied(unit, lease)
        except (LeaseLost, MachineError):
            self.cluster.counts["lost to others"] += 1
            return
        copy = unit.copies[copy_number]
        state, advanced = "released", False
        try:
            ledger = RunLedger(self.store, self.cluster.cap, self.world.new_id(), pause=self._wait)
            self.account = ledger.account(f"seed-{number}", attempt=lease.entry.attempt, cost_of=copy.records.get)
            while len(copy.steps) < STEPS:
                self._step(unit, copy, lease)
                advanced = True
            state = "over"
        except BudgetExceeded:
            self.cluster.counts["ended by the cap"] += 1
            state = "over"
        except MachineError:
            self.cluster.counts["given back"] += 1
        except (LeaseLost, AccountTaken):
            self.cluster.counts["lost to others"] += 1
            return
        try:
            self._may_sleep()
            lease.end(state, fork=copy_number, alone=True, advanced=advanced)  # type: ignore[arg-type]
        except (LeaseLost, MachineError):
            return
        if state == "over":
            self.cluster.open_units.close(number)

    def _copied(self, unit: Unit, lease: Lease) -> int:
        """Go on with a copy, as `aira_bench.record.forks` makes one."""
        self.cluster.counts["taken over"] += 1
        while True:
            self._may_sleep()
            known = max(unit.copies)
            lease.check()
            self._may_sleep()
            made = Copy(list(unit.copies[known].steps), dict(unit.copies[known].records))
            self._may_sleep()
            if known + 1 not in unit.copies:
                unit.copies[known + 1] = made
                return known + 1

    def _step(self, unit: Unit, copy: Copy, lease: Lease) -> None:
        step = len(copy.steps) + 1
        for call in range(self.rng.choice((1, 1, 2))):
            self._call(copy, f"{step:04d}/propose/call_{call:03d}")
        ends_s = self.time.now_s + self.rng.uniform(*STEP_S)
        while self.time.now_s < ends_s:
            self._wait(lease.every_s)
            self._may_sleep(0.2)
            try:
                lease.keep()
            except MachineError:
                self.cluster.counts["beats missed"] += 1
        line = (step, lease.entry.attempt)
        lease.check()
        self._may_sleep()
        copy.steps.append(line)
        lease.check()
        unit.told_safe.add(line)

    def _call(self, copy: Copy, name: str) -> None:
        if name in copy.records:
            return
        most = Amount.of(round(self.rng.uniform(0.05, MOST_USD), 4), BOUND_TOKENS)
        assert self.account is not None
        waited_s = 0.0
        while (reserved := self.account.reserve(name, most)) is None:
            self.cluster.counts["waits for money"] += 1
            pause_s = self.rng.uniform(1800, 5400)
            self._wait(pause_s)
            if (waited_s := waited_s + pause_s) > PATIENCE_S:
                raise MachineError("others hold the rest")
        self._may_sleep()
        self.time.sleep(self.rng.uniform(5, 60))
        cost = Amount(self.rng.randint(0, most.nanousd), self.rng.randint(0, most.tokens))
        self.cluster.bill(cost)
        self._may_die(20)
        copy.records[name] = cost
        self._may_die(20)
        self.account.settle(reserved, cost)

    def _client(self) -> MemoryStore:
        return MemoryStore(
            self.cluster.objects, faults=FAULTS, rng=self.rng, pause=self._request, clock=lambda: self.time.now_s
        )

    def _request(self, seconds: float) -> None:
        self.cluster.counts["requests"] += 1  # each is counted before and after it is answered
        if self.rng.random() < WAITED_FOR:
            self._may_die(3)
            self.time.sleep(seconds)

    def _wait(self, seconds: float) -> None:
        self._may_die()
        self.time.sleep(seconds)

    def _may_die(self, times: float = 1.0) -> None:
        if self.rng.random() < self.cluster.hardships.dies * times:
            raise Died

    def _may_sleep(self, times: float = 1.0) -> None:
        if self.rng.random() < self.cluster.hardships.sleeps * times:
            self.cluster.counts["sleeps"] += 1
            self.time.sleep(self.rng.choice((0.1, 0.9, 1.1, 3.0)) * TERMS.dead_after_s)
