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
    assert found.lost < 0.2, "a device is idle while somebody waits: 0.01 on a quiet machine (docs/performance.md)"
    assert found.busy == pytest.approx(found.attainable - found.lost, abs=0.15)


def test_what_is_attainable_is_what_the_seeds_could_need_and_never_more_than_all() -> None:
    load = slot_busy.LOADS["autoresearch"]
    shares = [slot_busy.long_run(load, seeds, 8) for seeds in (1, 4, 8, 10, 20)]
    assert shares == sorted(shares)
    # One alone: 1.25 s and 343 s of leases, 75 s of thinking, on one of eight.
    assert shares[0] == pytest.approx((343 + 1.25) / (343 + 1.25 + 75) / 8, rel=0.01)
    assert shares[-1] > 0.999


STILL = slot_busy.Load("still", ((100.0, 100.0),), answers=0)
"""Works for 100 s, thinks for none."""


@pytest.mark.parametrize(
    ("lives", "busy"),
    [
        # Two devices for 200 s, each seed begins after 30 to 120 s: one alone is 80 to 170 s of 400.
        ([slot_busy.Life(1, 0, 0.0, float("inf"))], (0.2, 0.425)),
        ([slot_busy.Life(5, 0, -120.0, float("inf"))], (1.0, 1.0)),
        ([slot_busy.Life(5, 0, -120.0, 100.0)], (0.5, 0.5)),  # killed at half time, and with it what it had
    ],
)
def test_what_is_attainable_begins_and_ends_with_its_processes(
    lives: list[slot_busy.Life], busy: tuple[float, float]
) -> None:
    found = slot_busy.attainable(STILL, lives, 2, 0.0, 200.0)
    assert busy[0] - 1e-9 <= found <= busy[1] + 1e-9


def test_seeds_of_a_process_that_comes_back_have_to_think_first() -> None:
    after = slot_busy.Life(5, 1, 60.0, 1e9)
    comes_s = sorted(60.0 + after.rng(number).uniform(*slot_busy.THINKS_S) for number in range(5))
    until_100_s, then_s = 2 * 100.0, sum(200.0 - max(100.0, at_s) for at_s in comes_s[:2])
    found = slot_busy.attainable(STILL, [slot_busy.Life(5, 0, -120.0, 100.0), after], 2, 0.0, 200.0)
    assert found == pytest.approx((until_100_s + then_s) / 400.0)


def test_idle_while_somebody_waits_is_what_is_lost() -> None:
    """Worked by hand: one device, two seeds of two processes, the second of which is killed at 9 s."""

    def told(*lines: tuple[str, int, float]) -> list[slot_busy.Told]:
        return [slot_busy.Told(word, seed, None, at_s, 0.0) for word, seed, at_s in lines]

    logs = {
        0: told(("up", 0, 0.0), ("asks", 0, 1.0), ("began", 0, 1.5), ("ended", 0, 4.0)),
        1: told(("up", 0, 0.0), ("asks", 0, 3.0), ("began", 0, 4.25), ("ended", 0, 6.0), ("asks", 0, 8.0)),
    }
    # 1 to 1.5, 4 to 4.25, and 8 to 9, where the one who waits dies.
    assert slot_busy._lost_s(logs, {0: 20.0, 1: 9.0}, 1, 0.0, 20.0) == pytest.approx(0.5 + 0.25 + 1.0)
    assert slot_busy._lost_s(logs, {0: 20.0, 1: 9.0}, 1, 1.25, 8.5) == pytest.approx(0.25 + 0.25 + 0.5)
