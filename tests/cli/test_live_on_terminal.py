"""The live display and `status --watch` on a real terminal (a pty), over a played machine: what a person sees.

The machine is tests/played_run.py, whose containers are functions; everything else is the product's own processes.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aira_bench.keys import KeyFolder
from aira_bench.record.news import NAME
from generated_runs import manifest, write_run
from hostile_text import WHOLE, is_raw
from screen import OnScreen

ROOT = Path(__file__).parents[2]
RUN = ["run", "--agent", "evolution", "--task", "mad-2p", "--profile", "cpu", "--name", "seen"]
HEADING = "seed  step"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    return kept | {
        "AIRA_RUNS": str(tmp_path / "runs"), "AIRA_HOME": str(tmp_path / "home"), "TERM": "xterm-256color",
        "AIRA_LEASES": str(tmp_path / "leases"), "AIRA_PLAYED_STEP_S": "0.4", "PYTHONIOENCODING": "utf-8",
    }  # fmt: skip


def played(seeds: int, steps: int) -> list[str]:
    return [sys.executable, str(ROOT / "tests" / "played_run.py"), *RUN, "--seeds", str(seeds), "--steps", str(steps)]


def watching(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "aira_bench", "status", "--watch", *arguments]


def finished_steps(shown: list[str]) -> bool:
    return any(re.search(r"[2-9]/\d", row) and "valid" in row for row in shown) or any(
        "valid 0" in row for row in shown
    )


def seeds_shown(shown: list[str]) -> list[str]:
    """First words of the rows that say at which step a seed is."""
    return [row.split()[0] for row in shown if re.match(r" *\d+ +\d+/\d+ ", row)]


def test_the_display_is_clean_at_every_width_and_after_resizing(environment: dict[str, str]) -> None:
    with OnScreen(played(3, 60), 120, 30, environment) as run:
        shown = run.until(lambda rows: finished_steps(rows) and len(seeds_shown(rows)) == 3)
        assert sum(row.startswith(HEADING) for row in shown) == 1
        for columns, lines in ((80, 24), (40, 24), (200, 20), (30, 20), (60, 12)):
            run.resize(columns, lines)
            shown = run.settle()
            assert seeds_shown(shown)[:1] == ["0"], f"one row a seed, once, at {columns}"
            assert len(seeds_shown(shown)) == len(set(seeds_shown(shown)))
            assert all(len(row) <= columns for row in shown)
            assert sum(row.startswith(HEADING) for row in shown) == (columns == 200)
        run.process.send_signal(signal.SIGINT)
        shown = run.until(lambda rows: any("stopped. Go on with" in row for row in rows) or "stopped" in "".join(rows))
        assert run.process.wait(20) == 130


def test_another_process_sees_the_same(environment: dict[str, str]) -> None:
    runs = Path(environment["AIRA_RUNS"])
    write_run(runs, manifest("older", seeds=(0, 1), steps=2))
    with OnScreen(played(2, 60), 120, 30, environment) as run, OnScreen(watching(), 120, 30, environment) as other:
        run.until(finished_steps)
        shown = other.until(
            lambda rows: (
                finished_steps(rows)
                and len(seeds_shown(rows)) == 2
                and any("running the solution" in row for row in rows)
            )
        )
        text = "\n".join(shown)
        assert "seen: running, 0 of 2 seeds over" in text
        assert "older: finished, 2 of 2 seeds over" in text
        other.resize(50, 20)
        assert len(seeds_shown(other.settle(2.5))) == 2
        assert (runs / "seen" / "seeds" / "0" / NAME).exists()
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(20) == 130
        assert not (runs / "seen" / "seeds" / "0" / NAME).exists()
        other.until(lambda rows: any("seen: stopped" in row for row in rows))
        other.process.send_signal(signal.SIGINT)
        assert other.process.wait(10) == 0


def test_without_colour_nothing_is_coloured_and_a_dumb_terminal_gets_lines(environment: dict[str, str]) -> None:
    with OnScreen(played(1, 60), 80, 24, environment | {"NO_COLOR": "1"}) as run:
        run.until(finished_steps)
        assert run.screen.colours == 0
    with OnScreen(
        played(1, 3), 80, 24, environment | {"TERM": "dumb", "AIRA_RUNS": environment["AIRA_RUNS"] + "2"}
    ) as run:
        run.until(lambda rows: any("Winner of seed 0" in row for row in rows))


@contextlib.contextmanager
def in_pipe(command: list[str], environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_in_a_pipe_there_are_plain_lines(environment: dict[str, str]) -> None:
    Path(environment["AIRA_RUNS"]).mkdir()
    with in_pipe(watching(), environment) as watch:
        time.sleep(1.5)  # what is finished before it looks is no news
        with in_pipe(played(1, 3), environment | {"AIRA_PLAYED_STEP_S": "1"}) as run:
            said = run.communicate(timeout=60)[0]
            assert run.returncode == 0
        assert re.search(r"seed 0 step 1/3: valid 0\.\d{4}", said)
        time.sleep(2.5)
        watch.send_signal(signal.SIGINT)
        seen = watch.communicate(timeout=20)[0]
        assert watch.returncode == 0
    assert re.search(r"^seen seed 0 step 1/3: valid 0\.\d{4}; best 0\.\d{4}$", seen, re.MULTILINE)
    assert re.search(r"^seen seed 0 step 3/3: ", seen, re.MULTILINE)
    assert "\x1b" not in said + seen


def test_news_of_strangers_is_escaped_and_bounded(environment: dict[str, str], tmp_path: Path) -> None:
    """Nothing vouches for what a run says it is at: hostile words, wrong types, a link, or a file of any size."""
    hostile = WHOLE.encode("utf-8", "ignore").decode()
    folder = write_run(
        tmp_path / "runs", manifest("hostile", seeds=(0,), steps=2), end=False, of_nodes={"reason": hostile, "fitness": None},
        key=KeyFolder(tmp_path / "home" / "keys").machine_key(),
    )  # fmt: skip
    news = {"step": 10**9, "phase": hostile, "since": -1e9, "waits_for": "engine", "halted": hostile}
    descriptor = folder.lock()
    try:
        for content in (json.dumps(news), '{"step": 1}', "[" * 1000, "x" * 5_000_000):
            (folder.seed(0).path / NAME).write_text(content)
            with OnScreen(watching(), 100, 24, environment) as watch:
                shown = watch.until(lambda rows: any("Ctrl-C ends" in row for row in rows))
                assert not any(map(is_raw, shown))
        (folder.seed(0).path / NAME).unlink()
        (folder.seed(0).path / NAME).symlink_to("/dev/zero")
        with OnScreen(watching(), 100, 24, environment) as watch:
            watch.until(lambda rows: any("Ctrl-C ends" in row for row in rows))
    finally:
        os.close(descriptor)
