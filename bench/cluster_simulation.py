"""Ten thousand workers against the leases and the ledger as they are, in threads, on a clock that is played.

Each worker is a thread that runs the shipped code: `Lessee`, `Lease`, `RunLedger`, `Account`, `Pool`. One thread runs
at a time, and the next is whoever's moment comes first, so a seed gives the same history every time. The storage loses
requests and answers, delivers some again, and shows old states for a minute; workers die anywhere, sleep for hours and
wake up, have clocks of their own, and send calls to a provider that bills them whatever anybody thinks.

What is held against it: every unit ends once, no line that a worker was told to be safe is missing from what readers
see, the bill never passes the cap, and in the end the ledger's sums agree and cover the bill.

    python bench/cluster_simulation.py --seed 1 --workers 10000
    python bench/cluster_simulation.py --gates

The second is the provider's limiter on many machines: shares, and how much is refused.

Not covered: files (`tests/shared_store` has the folder under real processes), containers, and the search itself.
"""

import argparse
import heapq
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aira_bench.errors import BudgetExceeded, MachineError
from aira_bench.leasing.lease import Denied, Lease, LeaseLost, Lessee, Terms, Won, last_entry
from aira_bench.ledger.account import Account, AccountTaken, open_account
from aira_bench.ledger.amount import Amount, Caps
from aira_bench.ledger.pool import Pool
from aira_bench.ledger.run_ledger import RunLedger
from aira_bench.llm.gate import ThreadGate
from aira_bench.llm.host_gate import HOST_SETTINGS
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.shared_store.in_memory import Faults, MemoryStore, Objects
from aira_bench.testing import PlayedWorld

RUN = Path("/run")
STEPS = 2
STEP_S = (600.0, 1800.0)
TERMS = Terms(dead_after_s=3600.0)
FAULTS = Faults(lost_before=0.002, lost_after=0.004, repeated=0.01, stale=0.2, stale_for_s=60.0, delay_s=(0.001, 0.05))
WAITED_FOR = 0.05
"""Of all requests, how many give way to other workers; the others are answered at once."""
DIES = 0.001
"""Where it waits for anything."""
SLEEPS = 0.05
"""Between two things that a worker does."""
MOST_USD, BOUND_TOKENS = 0.5, 20_000
KEPT_WAITING = 16
"""One of so many workers stays to the end."""
PATIENCE_S = 7_200.0


class Died(BaseException):
    """A worker that is killed where it stands."""


class PlayedTime:
    """Threads that run one at a time, each until it waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.switches = 0
        self.failure: BaseException | None = None
        self._waiting: list[tuple[float, int, threading.Lock]] = []
        self._number = 0
        self._over = threading.Event()

    def start(self, work: Callable[[], None], at_s: float) -> None:
        """Have a thread begin at a moment."""
        lock = self._queued(at_s)

        def run() -> None:
            lock.acquire()
            try:
                work()
            except BaseException as error:
                self.failure = self.failure or error
            self._next()

        threading.Thread(target=run, daemon=True).start()

    def run(self) -> None:
        """Run until no thread waits any more."""
        self._next()
        self._over.wait()
        if self.failure is not None:
            raise self.failure

    def sleep(self, seconds: float) -> None:
        """Let the others run for so many seconds."""
        wakes_s = self.now_s + max(seconds, 0.0)
        if self._waiting and self._waiting[0][0] < wakes_s:
            lock = self._queued(wakes_s)
            self._next()
            lock.acquire()
        else:
            self.now_s = wakes_s

    def _queued(self, at_s: float) -> threading.Lock:
        lock = threading.Lock()
        lock.acquire()
        self._number += 1
        heapq.heappush(self._waiting, (at_s, self._number, lock))
        return lock

    def _next(self) -> None:
        if not self._waiting:
            self._over.set()
            return
        self.switches += 1
        self.now_s, _, lock = heapq.heappop(self._waiting)
        lock.release()


@dataclass(frozen=True)
class SkewedWorld:
    """A machine's clocks: the wall's hours off, the monotonic from anywhere and a little fast or slow."""

    time: PlayedTime
    rng: random.Random
    ahead_s: float
    rate: float

    def now(self) -> datetime:
        """Return the wall's time as this machine has it."""
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.time.now_s + self.ahead_s)

    def monotonic_s(self) -> float:
        """Return seconds of this machine's own count."""
        return abs(self.ahead_s) + self.time.now_s * self.rate

    def new_id(self) -> str:
        """Return an identifier that is drawn."""
        return f"{self.rng.getrandbits(48):012x}"

    def host_name(self) -> str:
        """Return `played`."""
        return "played"


@dataclass
class Copy:
    """One copy of a unit: finished steps, by number and by the attempt that took them, and what its calls cost."""

    steps: list[tuple[int, int]] = field(default_factory=list)
    records: dict[str, Amount] = field(default_factory=dict)


@dataclass
class Unit:
    """What is on disk of a unit, and what its workers were told."""

    copies: dict[int, Copy] = field(default_factory=lambda: {1: Copy()})
    told_safe: set[tuple[int, int]] = field(default_factory=set)


@dataclass
class Cluster:
    """All that workers share, and what is counted of them."""

    seed: int
    workers: int
    units: list[Unit]
    cap: Caps
    time: PlayedTime = field(default_factory=PlayedTime)
    objects: Objects = field(default_factory=Objects)
    billed: Amount = field(default_factory=Amount)
    counts: Counter[str] = field(default_factory=Counter)
    open_units: list[int] = field(default_factory=list)

    def bill(self, amount: Amount) -> None:
        """The provider answers a call."""
        self.billed += amount
        self.counts["calls"] += 1
        self.counts["over the cap"] += not self.cap.hold(self.billed)

    def closed(self, number: int) -> None:
        """Somebody heard that a unit is over."""
        if number in self.open_units:
            self.open_units.remove(number)


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
                    self.cluster.closed(unit)
            else:
                idle += 1
                if idle > 2 and self.number % KEPT_WAITING:
                    return  # most need not wait for somebody to die
            self._wait(self.rng.uniform(0.5, 1.5) * TERMS.dead_after_s / 4)

    def _some(self) -> list[int]:
        """Two units to look at: its own first, as long as nobody has taken it."""
        units = self.cluster.open_units
        own = [self.number] if self.number in units and not self.rng.randrange(2) else []
        return [*own, *(self.rng.choice(units) for _ in range(2 - len(own)))]

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
            lease.end(state, fork=copy_number, advanced=advanced)  # type: ignore[arg-type]
        except (LeaseLost, MachineError):
            return
        if state == "over":
            self.cluster.closed(number)

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
        if self.rng.random() < DIES * times:
            raise Died

    def _may_sleep(self, times: float = 1.0) -> None:
        if self.rng.random() < SLEEPS * times:
            self.cluster.counts["sleeps"] += 1
            self.time.sleep(self.rng.choice((0.1, 0.9, 1.1, 3.0)) * TERMS.dead_after_s)


@dataclass(frozen=True)
class Findings:
    """What came of a simulation."""

    counts: Counter[str]
    ended_once: int
    ended_otherwise: int
    """Units that are not over, or over twice."""
    missing: int
    """Lines that a worker was told to be safe, and no reader sees."""
    doubled: int
    """Units whose steps are not 1 to the last, each once."""
    billed: Amount
    settled: Amount
    committed: Amount
    unagreed: int
    """How far the accounts' sum is from the pool's, in billionths of a dollar and tokens."""
    hours: float
    switches: int


def simulate(seed: int, workers: int, units: int, usd_a_unit: float) -> Findings:
    """Run workers until every unit is over.

    Args:
        seed: of all that is drawn.
        workers: how many there are.
        units: how many there are of those.
        usd_a_unit: of the cap on all of them; a unit takes about 0.38 dollars where it is free to.
    """
    threading.stack_size(256 * 1024)
    cap = Caps(usd=usd_a_unit * units, tokens=units * STEPS * 2 * BOUND_TOKENS)
    cluster = Cluster(seed, workers, [Unit() for _ in range(units)], cap, open_units=list(range(units)))
    rng = random.Random(f"starts {seed}")
    for number in range(workers):
        cluster.time.start(Worker(cluster, number).live, rng.uniform(0, 0.36 * workers))
    cluster.time.run()
    return _found(cluster)


def _found(cluster: Cluster) -> Findings:
    store = MemoryStore(cluster.objects)
    pool = Pool(store, cluster.cap)
    once = missing = doubled = 0
    settled = Amount()
    for number, unit in enumerate(cluster.units):
        entry = last_entry(store, number)
        names = [name for name in cluster.objects.versions if name.startswith(f"{number}/0")] if entry is None else []
        ends = _ends(store, number)
        once += entry is not None and entry.state == "over" and ends == 1 and not names
        final = unit.copies[entry.fork if entry else 1].steps
        missing += len(unit.told_safe - set(final))
        doubled += [step for step, _ in final] != list(range(1, len(final) + 1))
        account = open_account(store, pool, f"seed-{number}", owner="auditor")
        account.recover(lambda call: None)
        settled += account.state.settled
    totals = pool.totals()
    return Findings(
        cluster.counts, once, len(cluster.units) - once, missing, doubled, cluster.billed, totals.settled,
        totals.committed, abs(settled.nanousd - totals.settled.nanousd) + abs(settled.tokens - totals.settled.tokens),
        cluster.time.now_s / 3600, cluster.time.switches,
    )  # fmt: skip


def _ends(store: MemoryStore, number: int) -> int:
    """How many entries of a unit's lease say that it is over."""
    ends = position = 0
    while (data := store.get(f"{number}/{position + 1:08d}")) is not None:
        position += 1
        ends += b'"state":"over"' in data
    return ends


@dataclass(frozen=True)
class Shares:
    """How machines share a provider's limit, in the second half of the time."""

    used: float
    """Of what the provider lets through."""
    refused: float
    """Of all calls."""
    fairness: float
    """Jain's index of answered calls a machine: 1 where all have as many, 1/n where one has all."""


def share(
    seed: int, machines: int, limit: int, hours: float, call_s: float = 20.0, retry_after_s: float = 5.0
) -> Shares:
    """Let machines that know nothing of each other call a provider that answers so many calls at a time.

    Args:
        seed: of lengths of calls, starts and jitters.
        machines: how many, each with more calls than it may make.
        limit: how many calls at a time the provider answers; it refuses more, half of the time with a `Retry-After`.
        hours: of played time.
        call_s: mean length of a call.
        retry_after_s: what the provider asks for.
    """
    rng, now_s, number = random.Random(f"gates {seed}"), 0.0, 0
    clock = PlayedWorld()
    gates, limiters, answered, refused = [], [], Counter[int](), 0
    for machine in range(machines):
        gate, limiter = ThreadGate(HOST_SETTINGS), AdaptiveLimiter(world=clock)
        limiter.share(gate, HOST_SETTINGS, random.Random(f"gate {seed} {machine}"))
        gates.append(gate)
        limiters.append(limiter)
    events: list[tuple[float, int, int, Callable[[], None] | None]] = []

    def later(at_s: float, machine: int, leave: Callable[[], None] | None) -> None:
        nonlocal number
        number += 1
        heapq.heappush(events, (at_s, number, machine, leave))

    for machine in range(machines):
        later(rng.uniform(0, 60), machine, None)
    under_way, busy_s, half_s = 0, 0.0, hours * 1800
    while events and events[0][0] < hours * 3600:
        at_s, _, machine, leave = heapq.heappop(events)
        busy_s += under_way * max(at_s - max(now_s, half_s), 0.0)
        clock.now_s = now_s = at_s
        if leave is not None:
            leave()
            under_way -= 1
            limiters[machine].succeeded()
            answered[machine] += now_s > half_s
        while (place := gates[machine].enter(now_s)) is not None:
            if under_way < limit:
                under_way += 1
                later(now_s + rng.expovariate(1 / call_s), machine, place)
                continue
            place()
            refused += now_s > half_s
            limiters[machine].rate_limited(retry_after_s if rng.random() < 0.5 else None)
            later(now_s + rng.uniform(0, 2 * retry_after_s), machine, None)  # its back-off
            break
        else:
            later(now_s + rng.uniform(0.5, 1.5), machine, None) if leave is None else None
    counts = [answered[machine] for machine in range(machines)]
    fairness = sum(counts) ** 2 / (machines * sum(count * count for count in counts))
    return Shares(busy_s / (half_s * limit), refused / (refused + sum(counts)), fairness)


def main(arguments: list[str]) -> int:
    """Simulate, print what came of it, and fail if anything was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=10_000)
    parser.add_argument("--units", type=int, help="default: as many as workers")
    parser.add_argument("--usd-a-unit", type=float, default=0.35)
    parser.add_argument("--gates", action="store_true", help="the provider's limiter on many machines")
    args = parser.parse_args(arguments)
    if args.gates:
        for machines, limit in ((2, 16), (8, 64), (32, 256), (64, 256)):
            found = [share(args.seed + n, machines, limit, 2.0) for n in range(3)]
            print(
                f"{machines} machines, {limit} at a time: used {_range(found, 'used')}, refused "
                f"{_range(found, 'refused')}, fairness {_range(found, 'fairness')}", flush=True,
            )  # fmt: skip
        return 0
    began = time.monotonic()
    units = args.units or args.workers
    found = simulate(args.seed, args.workers, units, args.usd_a_unit)
    took_s = time.monotonic() - began
    print(f"seed {args.seed}: {args.workers} workers, {units} units, {found.hours:.1f} h in {took_s:.0f} s")
    print(f"  {found.switches} switches; " + ", ".join(f"{name} {n}" for name, n in sorted(found.counts.items())))
    print(f"  ended once {found.ended_once}, otherwise {found.ended_otherwise}")
    print(f"  lines missing {found.missing}, units with doubled steps {found.doubled}")
    print(
        f"  billed {found.billed.usd:.2f} of {args.usd_a_unit * units:.2f} USD, settled {found.settled.usd:.2f}, held "
        f"{(found.committed - found.settled).usd:.2f}, accounts and pool differ by {found.unagreed}"
    )
    return int(is_wrong(found))


def is_wrong(found: Findings) -> bool:
    """Whether anything that was promised does not hold."""
    wrong = found.ended_otherwise + found.missing + found.doubled + found.unagreed + found.counts["over the cap"]
    covered = found.billed.nanousd <= found.settled.nanousd and found.billed.tokens <= found.settled.tokens
    return bool(wrong) or not covered or found.committed != found.settled


def _range(found: list[Shares], name: str) -> str:
    values = [getattr(shares, name) for shares in found]
    return f"{min(values):.3f} to {max(values):.3f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
