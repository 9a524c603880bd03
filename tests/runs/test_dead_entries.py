"""A dead process's place in the machine's line is removed by whoever sweeps what it left, and no living one's."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from aira_bench.runs import entries
from aira_bench.runs.entries import Entries, dead_entries
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


def test_an_entry_goes_although_its_removal_failed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process ends then with status 0, and nothing would look for it."""
    ours, really, failed = Entries(tmp_path), Path.unlink, list[Path]()

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if not failed:
            failed.append(path)
            raise OSError(errno.EIO, "Input/output error")
        really(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    ours.close()
    assert failed
    assert list(tmp_path.iterdir()) == []
