"""A short form of the simulation: devices are kept busy, none is had twice, though processes are killed."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import slot_busy  # noqa: E402


def test_devices_are_had_once_and_kept_busy_though_processes_are_killed() -> None:
    load = slot_busy.LOADS["autoresearch"]
    found = slot_busy.simulate(load, seeds=12, devices=4, processes=3, kills=2, seconds=14.0, speed=200.0)
    assert found.double_leases == 0
    assert found.steps > 30
    assert found.busy > 0.6, "far below what a quiet machine shows (docs/performance.md): this one may be busy"


def test_what_is_attainable_is_what_the_seeds_could_need_and_never_more_than_all() -> None:
    load = slot_busy.LOADS["autoresearch"]
    shares = [slot_busy.attainable(load, seeds, 8) for seeds in (1, 4, 8, 10, 20)]
    assert shares == sorted(shares)
    # One alone: 1.25 s and 343 s of leases, 75 s of thinking, on one of eight.
    assert shares[0] == pytest.approx((343 + 1.25) / (343 + 1.25 + 75) / 8, rel=0.01)
    assert shares[-1] > 0.999
