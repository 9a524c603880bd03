"""A short form of the simulation, and that it finds what it is there to find."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from aira_bench.leasing.lease import Lease
from aira_bench.ledger.account import Account
from aira_bench.ledger.amount import NOTHING
from aira_bench.ledger.pool import Pool

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import cluster_simulation as cluster  # noqa: E402


@pytest.fixture
def harsh(monkeypatch: pytest.MonkeyPatch) -> None:
    """More sleeps and deaths than the long form has, since there are fewer workers."""
    monkeypatch.setattr(cluster, "SLEEPS", 0.3)
    monkeypatch.setattr(cluster, "DIES", 0.002)


@pytest.mark.usefixtures("harsh")
def test_units_end_once_and_no_cent_is_over_the_cap() -> None:
    counts = Counter[str]()
    for seed in range(4):
        found = cluster.simulate(seed, workers=16, units=20, usd_a_unit=0.3)
        assert not cluster.is_wrong(found), found
        assert found.ended_once == 20
        counts += found.counts
    assert counts["deaths"] > 5
    assert counts["taken over"] > 5
    assert counts["lost to others"] > 0, "somebody slept, and woke up when another had the unit"
    assert counts["ended by the cap"] > 0
    assert counts["waits for money"] > 0


def test_the_same_seed_is_the_same_history() -> None:
    assert cluster.simulate(7, 6, 8, 0.3) == cluster.simulate(7, 6, 8, 0.3)


@pytest.mark.usefixtures("harsh")
@pytest.mark.parametrize("broken", ["caps", "dead", "fences"])
def test_a_ledger_or_a_lease_that_is_broken_is_found(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if broken == "caps":
        monkeypatch.setattr(Pool, "_refusal", lambda self, change, totals: None)
    if broken == "dead":
        recover = Account.recover
        monkeypatch.setattr(Account, "recover", lambda self, cost_of: recover(self, lambda call: NOTHING))
    if broken == "fences":
        monkeypatch.setattr(Lease, "check", lambda self: None)
    assert any(cluster.is_wrong(cluster.simulate(seed, 16, 20, 0.3)) for seed in range(8))


@pytest.mark.parametrize("machines", [2, 8])
def test_machines_share_a_providers_limit_without_a_word(machines: int) -> None:
    found = cluster.share(1, machines, 8 * machines, hours=1.0)
    assert found.fairness > 0.95
    assert 0.6 < found.used <= 1.0
    assert found.refused < 0.05
