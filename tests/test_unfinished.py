"""What a process works on is let be while it lives, and goes when it is dead; with real processes that are killed."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aira_bench.files import write_atomically
from aira_bench.unfinished import only_one, staging_folder, sweep_staging, sweep_temporaries

if TYPE_CHECKING:
    from collections.abc import Iterator

STAGING = """
from pathlib import Path
from aira_bench.unfinished import only_one, staging_folder
with only_one(Path({folder!r}, ".cpu-1.lock")), staging_folder(Path({folder!r}, "cpu-1"), "{name}") as staging:
    (staging / "labels").mkdir()
    (staging / "labels" / "test.txt").write_text("1 0 1")
    print("begun", flush=True)
    input()
"""
WRITING = """
import os
from pathlib import Path
from aira_bench import files
files.os.fsync = lambda descriptor: (print("begun", flush=True), input())
files.write_atomically(Path({folder!r}, "score.json"), b"half")
"""


@contextmanager
def process(code: str, folder: Path, name: str = "one") -> "Iterator[subprocess.Popen[str]]":
    """A process that has come half-way."""
    program = code.format(folder=str(folder), name=name)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "begun\n"
            yield child
        finally:
            child.kill()


def test_a_living_process_keeps_its_staging_and_a_killed_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "cpu-0").mkdir()
    (tmp_path / ".hidden").mkdir()
    with process(STAGING, tmp_path) as child:
        assert sweep_staging(tmp_path) == 0
        (staging,) = tmp_path.glob("*.staging")
        assert (staging / "labels" / "test.txt").exists()
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert sweep_staging(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "cpu-0"], "and only that"


def test_a_stopped_process_is_not_a_dead_one(tmp_path: Path) -> None:
    with process(STAGING, tmp_path) as child:
        child.send_signal(signal.SIGSTOP)
        for path in tmp_path.rglob("*"):
            os.utime(path, (0, 0))
        assert sweep_staging(tmp_path) == 0
        assert len(list(tmp_path.glob("*.staging"))) == 1


def test_what_is_being_written_stays_and_what_a_dead_process_wrote_goes(tmp_path: Path) -> None:
    (tmp_path / "notes.tmp").touch()
    with process(WRITING, tmp_path) as child:
        (half,) = tmp_path.glob(".*.tmp")
        os.utime(half, (0, 0))
        assert sweep_temporaries(tmp_path) == 0
        child.send_signal(signal.SIGKILL)
        child.wait()
        os.utime(half)
        assert sweep_temporaries(tmp_path) == 0, "it may be a moment old, and about to be locked"
        os.utime(half, (0, 0))
        assert sweep_temporaries(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["notes.tmp"]


def test_who_holds_the_lock_of_it_all_need_not_wait(tmp_path: Path) -> None:
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / ".solution.py.0123456789abcdef.tmp").touch()
    assert sweep_temporaries(tmp_path) == 0
    assert sweep_temporaries(tmp_path, alone=True) == 1
    assert sweep_temporaries(tmp_path / "nothing there") == 0


def test_a_staging_folder_that_failed_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with staging_folder(tmp_path / "cpu-1", "id") as staging:
            (staging / "half").touch()
            assert staging.stat().st_mode & 0o777 == 0o700
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_one_at_a_time_and_the_lock_leaves_with_the_last(tmp_path: Path) -> None:
    inside, most, waited, together = 0, 0, [], threading.Barrier(8)

    def work(number: int) -> None:
        nonlocal inside, most
        together.wait()
        with only_one(tmp_path / ".lock", lambda: waited.append(number)):
            inside += 1
            most = max(most, inside)
            time.sleep(0.01)
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert most == 1
    assert len(waited) == len(set(waited)) > 0, "each is told once"
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_a_lock_or_a_temporary_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.touch()
    os.utime(victim, (0, 0))
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / ".a.tmp").symlink_to(victim)
    (tmp_path / "store" / ".cpu-1.x.staging").symlink_to(tmp_path)
    assert sweep_temporaries(tmp_path / "store", alone=True) == 0
    sweep_staging(tmp_path / "store")
    assert victim.exists()


def test_a_whole_write_leaves_nothing_to_sweep(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.json", b"{}")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
