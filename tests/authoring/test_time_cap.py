"""Code of others that does not end is ended by `check`, whatever it catches, and told in one line."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from aira_bench.authoring.extension_check import check_extension, kind_of
from aira_bench.authoring.findings import CheckFailed
from aira_bench.authoring.time_cap import at_most
from eventually import stretched

SLEEPER = """
import time
class Sleeper:
    name, default_scaffold, label_kinds = "sleeper", "one-shot", ()
    def __init__(self): {made}
    def next(self, journal, rng):
        try:
            {asked}
        except Exception:
            pass
"""
ENDLESS = """
import time
from aira_bench.authoring import time_cap
time_cap._GRACE_S = 1.0
def endless():
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            pass
with time_cap.at_most(0.2, "a loop"):
    endless()
"""


@pytest.mark.parametrize(
    ("made", "asked", "told"),
    [("time.sleep(60)", "pass", "making .*Sleeper"), ("pass", "while True: pass", "asked whether")],
)
def test_an_extension_that_hangs_fails_its_check(tmp_path: Path, made: str, asked: str, told: str) -> None:
    (tmp_path / "mine.py").write_text(SLEEPER.format(made=made, asked=asked))
    started_s = time.monotonic()
    with pytest.raises(CheckFailed, match=rf"{told}.* did not end within 2 s"):
        check_extension(f"{tmp_path / 'mine.py'}:Sleeper", "scaffold", "mad-2p", lambda finding: None, 2.0)
    assert time.monotonic() - started_s < stretched(20)


def test_a_module_that_hangs_while_it_is_imported_does_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aira_bench.authoring.extension_check.CAP_S", 0.5)
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(60)\nclass Any: pass\n")
    with pytest.raises(CheckFailed, match=r"importing .* did not end within 0\.5 s"):
        kind_of(f"{tmp_path / 'hangs.py'}:Any")


def test_what_ends_in_time_is_let_be_and_nothing_rings_later() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with at_most(30.0, "this"):
        pass
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_catches_all_that_is_raised_ends_with_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", ENDLESS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == CheckFailed.exit_code
    assert done.stderr == "aira-bench: error: a loop did not end within 0.2 s, and does not stop.\n"
