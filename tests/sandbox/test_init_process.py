"""What the kernel says of a container's first process, tried on processes of this test."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aira_bench.sandbox import init_process
from aira_bench.sandbox.init_process import InitProcess

FIRST_THREAD_ENDS = """
import ctypes, os, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)
"""


@pytest.fixture
def process() -> "Iterator[subprocess.Popen[bytes]]":
    started = subprocess.Popen(["sleep", "60"])
    yield started
    started.kill()
    started.wait()


def groups(process: "subprocess.Popen[bytes]") -> str:
    return Path(f"/proc/{process.pid}/cgroup").read_text()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def wait_for_zombie(pid: int) -> None:
    ends_s = time.monotonic() + 120
    while state(pid) != "Z" and time.monotonic() < ends_s:
        time.sleep(0.01)
    assert state(pid) == "Z"


def test_it_is_gone_when_its_parent_has_buried_it_and_not_before(process: "subprocess.Popen[bytes]") -> None:
    init = InitProcess(process.pid, groups(process))
    assert not init.is_gone
    process.kill()
    wait_for_zombie(process.pid)
    assert not init.is_gone
    process.wait()
    assert init.is_gone


def test_code_whose_first_thread_alone_has_ended_is_not_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", FIRST_THREAD_ENDS])
    try:
        init = InitProcess(process.pid, groups(process))
        wait_for_zombie(process.pid)
        assert not init.is_gone
    finally:
        process.kill()
        process.wait()


def test_a_later_process_of_the_same_number_is_another(
    process: "subprocess.Popen[bytes]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(init_process, "_PROC", tmp_path)
    folder = tmp_path / str(process.pid)
    folder.mkdir()
    stat = Path(f"/proc/{process.pid}/stat").read_text()
    (folder / "cgroup").write_text("0::/docker/abc\n")
    (folder / "stat").write_text(stat)
    init = InitProcess(process.pid, "abc")
    assert not init.is_gone
    fields = stat.rsplit(") ", 1)[1].split()
    fields[19] = str(int(fields[19]) + 1)
    (folder / "stat").write_text(f"{process.pid} (a) b) {' '.join(fields)}\n")
    assert init.is_gone


@pytest.mark.parametrize("pid", [0, None], ids=["none", "another's"])
def test_what_was_never_seen_as_the_container_s_is_never_gone(
    process: "subprocess.Popen[bytes]", pid: int | None
) -> None:
    init = InitProcess(process.pid if pid is None else pid, "0" * 64)
    process.kill()
    process.wait()
    assert not init.is_gone


def test_what_cannot_be_read_just_now_is_not_gone(
    process: "subprocess.Popen[bytes]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init = InitProcess(process.pid, groups(process))
    (tmp_path / str(process.pid) / "stat").mkdir(parents=True)
    monkeypatch.setattr(init_process, "_PROC", tmp_path)
    assert not init.is_gone
