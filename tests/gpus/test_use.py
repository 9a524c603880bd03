"""How a device worked, by a process beside the run: NVIDIA's binding against a library of ours, and what readings come to."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.gpus import GpuProcess
from aira_bench.gpus.use import IDLE, REASONS, SLOWED, GpuReading, GpuUse, fault_in, strangers_in, summary
from aira_bench.gpus.watch import GpuWatch
from fake_gpus import driver_says, gpu_line, uuid

WORKS = "works 1755 1980 612000 700000 700000 64 0"
BUSY = GpuReading(1755, 1980, 612.0, 700.0, 700.0, 64, 0, 555, 0)
OURS, OTHERS = "a" * 64, "b" * 64


def readings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *lines: str, name: str = "") -> tuple[GpuReading, ...]:
    driver_says(monkeypatch, tmp_path, *lines)
    return GpuWatch(name or uuid(0)).stop()


def test_a_reading_is_what_the_driver_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(readings(monkeypatch, tmp_path, gpu_line(1), gpu_line(0), WORKS)) == {BUSY}


def test_what_a_library_writes_beside_readings_costs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line of it ended the watch: no clocks, no faults and no strangers for the whole step."""
    assert set(readings(monkeypatch, tmp_path, "chatty", gpu_line(0), WORKS)) == {BUSY}


def test_an_instance_of_mig_has_the_clocks_and_the_heat_of_its_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = "mig MIG-0a 20096 19800 NVIDIA H100 80GB HBM3 MIG 2g.20gb"
    (reading, *_) = readings(
        monkeypatch, tmp_path, gpu_line(0, mig=1), WORKS, part, f"process {os.getpid()} 512", name="MIG-0a"
    )
    assert (reading.sm_clock_mhz, reading.temperature_c, reading.power_w) == (1755, 64, 612.0)
    assert (reading.used_mib, [each.pid for each in reading.processes]) == (296, [os.getpid()])


def test_a_device_that_says_nothing_of_its_clocks_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = readings(monkeypatch, tmp_path, gpu_line(0, ecc=-1))
    assert fault_in(found) == ""
    use = summary(found)
    assert use is not None
    assert (use.sm_clock_mhz, use.power_w, use.throttled, use.used_mib) == (None, None, (), 555)


@pytest.mark.parametrize(("code", "words"), [(15, "GPU is lost"), (999, "Unknown Error")])
def test_a_device_that_is_lost_meanwhile_is_a_fault_even_where_the_code_dies_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, words: str
) -> None:
    driver_says(monkeypatch, tmp_path, gpu_line(0), WORKS)
    watch = GpuWatch(uuid(0))
    until_s = time.monotonic() + 20
    while not watch._readings and time.monotonic() < until_s:
        time.sleep(0.02)
    driver_says(monkeypatch, tmp_path, gpu_line(0, code=code))
    assert words in fault_in(watch.stop())


@pytest.mark.parametrize("line", ["hang", "crash", "init 9"])
def test_a_driver_that_hangs_or_crashes_costs_seconds_and_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    began_s = time.monotonic()
    found = readings(monkeypatch, tmp_path, line, gpu_line(0))
    assert (found, summary(found), fault_in(found)) == ((), None, "")
    assert time.monotonic() - began_s < 15


@contextmanager
def orphaned_meter() -> Iterator[int]:
    """A meter whose run was killed; its process id."""
    code = (
        "import sys, time; from aira_bench.gpus.watch import GpuWatch; watch = GpuWatch(sys.argv[1])\n"
        "print(watch._process.pid, flush=True); time.sleep(60)"
    )
    run = subprocess.Popen([sys.executable, "-c", code, uuid(0)], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    meter = int(run.stdout.readline())
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    yield meter


def test_a_meter_ends_with_the_run_that_was_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver_says(monkeypatch, tmp_path, gpu_line(0), WORKS)
    with orphaned_meter() as pid:
        until_s = time.monotonic() + 30
        while (lives := _lives(pid)) and time.monotonic() < until_s:
            time.sleep(0.05)
    assert not lives


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


REASON = st.sampled_from([0, *REASONS])
SAID = st.builds(
    GpuReading, st.none() | st.integers(200, 1980), st.just(1980), st.none() | st.floats(50, 700), st.just(700.0),
    st.sampled_from([None, 700.0, 750.0]), st.none() | st.integers(20, 95),
    st.none() | st.builds(lambda *bits: sum(set(bits)), st.sampled_from([0, IDLE]), REASON, REASON),
)  # fmt: skip


@given(st.lists(SAID, max_size=40))
def test_readings_come_to_what_they_are_made_of(taken: list[GpuReading]) -> None:
    use = summary(taken)
    if use is None:
        assert not taken
        return
    assert use.readings == len(taken)
    clocks = [each.sm_clock_mhz for each in taken if each.sm_clock_mhz is not None]
    assert use.sm_clock_mhz is None or min(clocks) <= use.sm_clock_mhz <= max(clocks)
    assert all(0 < share <= 1 for share in use.slowed_by.values())
    assert set(use.throttled) <= set(use.slowed_by)
    assert set(use.throttled) <= {*SLOWED, "power cap"}
    if "power cap" in use.throttled:
        assert any(each.own_power_limit_w == 750.0 for each in taken), "a limit that is the device's own is no fault"


@pytest.mark.parametrize(
    ("bits", "limit_w", "throttled"),
    [
        (0x0, 700.0, ()), (0x4, 700.0, ()), (0x4, 500.0, ("power cap",)), (0x2, 700.0, ()),
        (0x20, 700.0, ("heat",)), (0x48, 700.0, ("hardware slowdown", "heat (hardware)")), (0x80, 700.0, ("power brake",)),
    ],
)  # fmt: skip
def test_heat_and_a_want_of_power_are_flagged_and_a_device_at_its_own_limit_is_not(
    bits: int, limit_w: float, throttled: tuple[str, ...]
) -> None:
    idle = GpuReading(345, 1980, 80.0, limit_w, 700.0, 40, IDLE)
    use = summary([idle] * 5 + [GpuReading(1400, 1980, 500.0, limit_w, 700.0, 88, bits)] * 5)
    assert use == GpuUse(
        10, 1400, 1980, 500.0, limit_w, 88, None, {name: 1.0 for bit, name in REASONS.items() if bits & bit}, throttled
    )


@pytest.mark.parametrize(
    ("limit_w", "own_w", "last", "throttled"),
    [
        (None, 700.0, (), ()), (500.0, None, (), ()), (500.0, 700.0, (), ("power cap",)),
        (500.0, 700.0, (GpuReading(),), ("power cap",)),
        (500.0, 700.0, (GpuReading(1980, 1980, 80.0, 700.0, 700.0, 40, 0),), ("power cap",)),
    ],
    ids=["not told", "its own not told", "lowered", "silent at the end", "raised at the end"],
)  # fmt: skip
def test_a_lowered_limit_is_what_any_reading_tells_and_not_what_none_tells(
    limit_w: float | None, own_w: float | None, last: tuple[GpuReading, ...], throttled: tuple[str, ...]
) -> None:
    use = summary([GpuReading(1400, 1980, 500.0, limit_w, own_w, 60, 0x4)] * 9 + list(last))
    assert use is not None
    assert use.throttled == throttled
    assert use.most_sm_clock_mhz == 1980


def test_one_hot_second_in_a_minute_is_told_and_not_flagged() -> None:
    use = summary([BUSY] * 59 + [GpuReading(1400, 1980, 500.0, 700.0, 700.0, 90, 0x20)])
    assert use is not None
    assert (use.slowed_by, use.throttled, use.temperature_c) == ({"heat": 0.017}, (), 90)


def seen(*processes: GpuProcess) -> GpuReading:
    return GpuReading(processes=processes)


def test_a_process_of_others_counts_once_two_readings_show_it() -> None:
    own, other = GpuProcess(7, "python", 900, OURS), GpuProcess(8, "python", 900, OTHERS)
    on_host, unknown = GpuProcess(9, "train", 100), GpuProcess(10, "", 100)
    assert strangers_in([seen(own, unknown)] * 5, OURS) == ()
    assert strangers_in([seen(own, other)], OURS) == (), "one that is ending may be seen once"
    assert strangers_in([seen(other), seen(own), seen(on_host)], OURS) == ()
    assert strangers_in([seen(own, other), seen(own, other, on_host), seen(own, on_host)], OURS) == (other, on_host)


def test_errors_of_memory_before_a_step_are_not_its_device_s_failure() -> None:
    assert fault_in([GpuReading(errors=3)] * 3) == ""
    assert fault_in([GpuReading(errors=3), GpuReading(errors=5)]) == "2 memory errors that ECC could not correct"
