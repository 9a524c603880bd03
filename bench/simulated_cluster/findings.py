"""A simulation from its start to its end, and what came of it."""

import random
import threading
from collections import Counter
from dataclasses import dataclass

from aira_bench.leasing.entries import last_entry
from aira_bench.ledger.account import open_account
from aira_bench.ledger.amount import Amount, Caps
from aira_bench.ledger.pool import Pool
from aira_bench.shared_store.in_memory import MemoryStore
from simulated_cluster.cluster import BOUND_TOKENS, STEPS, Cluster, Hardships, OpenUnits, Unit
from simulated_cluster.worker import Worker


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


def simulate(seed: int, workers: int, units: int, usd_a_unit: float, hardships: Hardships | None = None) -> Findings:
    """Run workers until every unit is over.

    Args:
        seed: of all that is drawn.
        workers: how many there are.
        units: how many there are of those.
        usd_a_unit: of the cap on all of them; a unit takes about 0.38 dollars where it is free to.
        hardships: what befalls workers; None for the usual ones.
    """
    threading.stack_size(256 * 1024)
    cap = Caps(usd=usd_a_unit * units, tokens=units * STEPS * 2 * BOUND_TOKENS)
    cluster = Cluster(seed, [Unit() for _ in range(units)], cap, hardships or Hardships(), OpenUnits(units))
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


def is_wrong(found: Findings) -> bool:
    """Whether anything that was promised does not hold."""
    wrong = found.ended_otherwise + found.missing + found.doubled + found.unagreed + found.counts["over the cap"]
    covered = found.billed.nanousd <= found.settled.nanousd and found.billed.tokens <= found.settled.tokens
    return bool(wrong) or not covered or found.committed != found.settled
