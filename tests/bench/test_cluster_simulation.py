"""A short form of the simulation, and that it finds what it is there to find."""

import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.leasing.lease import Lease
from aira_bench.ledger import pool
from aira_bench.ledger.account import Account
from aira_bench.ledger.amount import NOTHING
from aira_bench.ledger.pool import Pool
from aira_bench.shared_store.succession import Succession

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
from simulated_cluster.cluster import Hardships  # noqa: E402
from simulated_cluster.findings import is_wrong, simulate  # noqa: E402
from simulated_cluster.gates import share  # noqa: E402

HARSH = Hardships(dies=0.005, sleeps=0.3, kept_waiting=1)
"""More sleeps and deaths than the long form has, since there are fewer workers; all stay, and watch those that sleep."""


def test_units_end_once_and_no_cent_is_over_the_cap() -> None:
    counts = Counter[str]()
    for seed in range(4):
        found = simulate(seed, 16, 20, 0.3, HARSH)
        assert not is_wrong(found), found
        assert found.ended_once == 20
        counts += found.counts
    assert counts["deaths"] > 5
    assert counts["taken over"] > 5
    assert counts["lost to others"] > 0, "somebody slept, and woke up when another had the unit"
    assert counts["ended by the cap"] > 0
    assert counts["waits for money"] > 0


def test_the_same_seed_is_the_same_history() -> None:
    assert simulate(7, 6, 8, 0.3) == simulate(7, 6, 8, 0.3)


@pytest.mark.parametrize("broken", ["caps", "dead", "fences", "keys", "wins"])
def test_a_ledger_or_a_lease_that_is_broken_is_found(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken == "caps":
        monkeypatch.setattr(Pool, "_refusal", lambda self, most, totals: None)
    if broken == "dead":
        recover = Account.recover
        monkeypatch.setattr(Account, "recover", lambda self, cost_of: recover(self, lambda call: NOTHING))
    if broken == "fences":
        monkeypatch.setattr(Lease, "check", lambda self: None)
    if broken == "keys":  # of the pool's entries: each names itself alone, and readers pass over the others
        written = pool._written
        monkeypatch.setattr(pool, "_written", lambda c, o, before: written(c, o, replace(before, keys=())))
    if broken == "wins":  # whoever asks for a number is told that it has won
        claim = Succession.claim
        monkeypatch.setattr(
            Succession, "claim", lambda self, number, data: replace(claim(self, number, data), data=data)
        )
    assert any(is_wrong(simulate(seed, 16, 20, 0.3, HARSH)) for seed in range(8))


@pytest.mark.parametrize("machines", [2, 8])
def test_machines_share_a_providers_limit_without_a_word(machines: int) -> None:
    found = share(1, machines, 8 * machines, hours=1.0)
    assert found.fairness > 0.95
    assert 0.6 < found.used <= 1.0
    assert found.refused < 0.05
