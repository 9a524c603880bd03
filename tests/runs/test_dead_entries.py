"""A dead process's place in the machine's line is removed by whoever sweeps what it left, and no living one's."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

import pytest

from aira_bench.runs import entries
from aira_bench.runs.entries import Entries, Standing, dead_entries
from aira_bench.runs.leases import FOLDER_VARIABLE
from aira_bench.runs.line import dead_in_line

KILLED = """
import os, signal, sys
from pathlib import Path
from aira_bench.runs.entries import Entries
Entries(Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_entries_of_the_dead_are_told_from_those_of_the_living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert dead_in_line() == [], "nobody has stood in it"
    line = tmp_path / "line"
    subprocess.run([sys.executable, "-c", KILLED, str(line)], check=False)
    (dead,) = line.iterdir()
    ours = Entries(line)
    fresh = line / next(path.name for path in line.iterdir() if path != dead).replace("~", "~0")
    fresh.write_text("")  # one of a living process, not locked yet
    (line / "not an entry").write_text("")
    assert dead_in_line() == dead_entries(line) == [dead]
    ours.close()
    assert dead_entries(line / "absent") == []


def test_an_entry_that_was_made_elsewhere_is_let_be(tmp_path: Path) -> None:
    """Another machine's or another boot's process cannot be seen from here."""
    (tmp_path / f"elsewhere%2Fpid%3A%5B1%5D%2F2%2F3{entries._SEPARATOR}abcd").write_text("")
    assert dead_entries(tmp_path) == []


@contextmanager
def at_each_line(of: CodeType, do: Callable[[], None]) -> Iterator[list[int]]:
    """Do something before each line of a function, as another process may; the numbers of its lines that were met."""
    met: list[int] = []

    def trace(frame: FrameType, event: str, _: object) -> object:
        if frame.f_code is not of:
            return None
        if event == "line":
            met.append(frame.f_lineno)
            sys.settrace(None)
            do()
            sys.settrace(trace)  # type: ignore[arg-type]
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        yield met
    finally:
        sys.settrace(None)


def test_an_entry_that_is_being_made_is_at_no_moment_a_dead_ones(tmp_path: Path) -> None:
    """Else whoever looks then removes it, and its process stands in no line for as long as it lives."""
    looks, dead = Entries(tmp_path), []
    with at_each_line(Entries.__init__.__code__, lambda: dead.extend(looks.others()[1])) as met:
        fresh = Entries(tmp_path)
    assert len(met) > 8
    assert dead == []
    assert list(looks.others()[0].values()) == [Standing()]
    fresh.close()
    looks.close()


def test_an_entry_is_made_while_others_look_with_its_lock_in_their_hands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads an entry locks it for a moment, which must not stop the one who makes it."""
    real, readers = fcntl.flock, list[int]()

    def flock(file: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX:
            for path in tmp_path.iterdir():
                if not path.name.startswith("."):
                    readers.append(os.open(path, os.O_RDONLY))
                    real(readers[-1], fcntl.LOCK_SH | fcntl.LOCK_NB)
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    Entries(tmp_path).close()
    assert readers == []


def test_an_entry_that_leaves_the_line_is_at_no_moment_a_dead_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process may live on and hold the same device in another line: its containers are not to be removed."""
    looks, leaving, real = Entries(tmp_path), Entries(tmp_path), fcntl.flock
    leaving.write(Standing(uses=frozenset({"gpu-GPU-0"})))

    def flock(file: int, operation: int) -> None:
        leaving.close()  # after who looks has opened it, before who looks asks for its lock
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert looks.others() == ({}, [])
    looks.close()


def test_what_was_never_made_to_the_end_goes_with_its_dead_process(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    (dead,) = tmp_path.iterdir()
    dead = dead.rename(dead.with_name(f".{dead.name}"))
    ours = Entries(tmp_path)
    assert ours.others() == ({}, [])
    assert dead_entries(tmp_path) == [dead]
    ours.close()
