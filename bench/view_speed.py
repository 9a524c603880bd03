"""How long pages of runs take, and how much memory: a run of 500 steps, and a suite of 1,680 runs; index cold and warm.

    python bench/view_speed.py [--run-steps 500] [--runs 1680] [--steps 100] [--only run|suite]

Each measurement is a server in a process of its own, as `aira-bench view` starts it; a page has come when its last byte
has. It is asked for once without an index and then WARM times, of which the median counts, and once of a new server
with the index. A suite's first page is asked for until its board and all its runs are on it, so that what is made in
the background counts too; what a user waits for at first stands beside it. Beside seconds of the clock stand those of
the processor, start of Python included, which hang less on what else the machine does. Memory is the most the server
and its children held, looked at every PAUSE_S, so that the process that makes a board is in it. The bars, which are of
runs with an index: 2 s for the run, 5 s and 1 GiB for the suite.

With --browser what Chromium then needs to draw the page is added (Playwright and a Chromium must be there).

Not covered: runs that go on while they are looked at.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from aira_bench.keys import KeyFolder
from full_board import generate
from shown_runs import compose_run, script_run

WARM = 3
PAUSE_S = 2.0
"""As a page waits before it asks again."""
COLUMNS = (
    "page", "first answer, no index s", "whole, no index s (CPU)", "new server, with index s (CPU)",
    "same server s (CPU)", "drawn s", "KiB", "most MiB, no index", "most MiB, with index",
)  # fmt: skip
SEEDS = 5


@dataclass(frozen=True)
class Served:
    """A server of pages, and the process it is."""

    address: str
    process: int

    def seconds(self, path: str) -> tuple[float, int]:
        """Seconds until a page has come, and its KiB."""
        begun = time.perf_counter()
        with urllib.request.urlopen(self.address + path) as answer:
            size = len(answer.read())
        return time.perf_counter() - begun, size // 1024

    def cpu_s(self) -> float:
        """Processor seconds of the server so far, and of its children that have ended or are still there."""
        ticks = 0
        for each in (self.process, *map(int, _children(self.process))):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def peak_mib(self) -> float:
        """The most that the server has held so far, and its children that are still there."""
        processes = [self.process, *map(int, _children(self.process))]
        return sum(_peak_kib(each) for each in processes) / 1024


def _children(process: int) -> list[str]:
    tasks = Path("/proc", str(process), "task")
    return [child for task in tasks.iterdir() for child in (task / "children").read_text().split()]


def _peak_kib(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


@contextmanager
def served(runs: Path, home: Path) -> Iterator[Served]:
    """Serve the pages of a folder of runs by the command that users type."""
    command = [sys.executable, "-m", "aira_bench", "view", "--runs", str(runs)]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "AIRA_HOME": str(home), "AIRA_RUNS": str(runs)}
    )
    assert server.stdout is not None
    try:
        yield Served(server.stdout.readline().strip().rpartition("/")[0] + "/", server.pid)
    finally:
        server.terminate()
        server.wait()


def drawn_s(address: str) -> float:
    """Seconds from asking for a page in Chromium until its last chart is drawn; the second visit of a browser."""
    from playwright.sync_api import sync_playwright

    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "view"))
    from watched_pages import launched, watched

    with sync_playwright() as playwright:
        browser = launched(playwright)
        with watched(browser, (address.rsplit("/", 4)[0],), Path()) as tab:
            tab.open(address)
            begun = time.perf_counter()
            tab.open(address)
            took_s = time.perf_counter() - begun
        browser.close()
    return took_s


def measure(name: str, runs: Path, home: Path, path: str, *, browser: bool) -> None:
    """Print one row: a page of these runs, cold and warm."""
    shutil.rmtree(runs / ".aira-view", ignore_errors=True)
    with served(runs, home) as server:
        first_s, _ = server.seconds(path)
        whole_s = first_s
        begun, cold_mib = time.perf_counter() - first_s, server.peak_mib()
        while _is_unfinished(server.address + path):
            time.sleep(PAUSE_S)
            cold_mib = max(cold_mib, server.peak_mib())
            whole_s = time.perf_counter() - begun
        cold_cpu_s = server.cpu_s()
        again = [server.seconds(path) for _ in range(WARM)]
        warm_cpu_s = (server.cpu_s() - cold_cpu_s) / WARM
        cold_mib = max(cold_mib, server.peak_mib())
    with served(runs, home) as server:
        anew_s, _ = server.seconds(path)
        anew_cpu_s = server.cpu_s()
        drawn = f"{drawn_s(server.address + path):.2f}" if browser else "-"
        warm_mib = server.peak_mib()
    warm_s, kib = statistics.median(each for each, _ in again), again[0][1]
    cells = [
        f"{first_s:.2f}", f"{whole_s:.2f} ({cold_cpu_s:.2f})", f"{anew_s:.2f} ({anew_cpu_s:.2f})",
        f"{warm_s:.3f} ({warm_cpu_s:.3f})", drawn, str(kib), f"{cold_mib:.0f}", f"{warm_mib:.0f}",
    ]  # fmt: skip
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _is_unfinished(address: str) -> bool:
    """Whether a page still says that something of it is being made."""
    with urllib.request.urlopen(address) as answer:
        return b'class="wait"' in answer.read()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run-steps", type=int, default=500)
    parser.add_argument("--runs", type=int, default=1680)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--only", choices=("run", "suite"))
    parser.add_argument("--browser", action="store_true")
    args = parser.parse_args()
    os.fsync = lambda fd: None  # of what is generated here nothing has to last
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        home = place / "home"
        keys = KeyFolder(home / "keys")
        key, seen = keys.machine_key(), keys.ring().seen
        if args.only != "suite":
            for name, write in (("compose", compose_run), ("script", script_run)):
                runs = place / name
                runs.mkdir()
                write(runs, key, seen, name=name, seeds=SEEDS, steps=args.run_steps // SEEDS)
                page = f"runs/{name}/index.html"
                measure(f"{name} run, {args.run_steps} steps", runs, home, page, browser=args.browser)
        if args.only != "run":
            runs = place / "suite"
            steps = generate(runs, home, args.runs, args.steps)
            measure(f"suite, {args.runs} runs, {steps} steps", runs, home, "index.html", browser=args.browser)


if __name__ == "__main__":
    main()
