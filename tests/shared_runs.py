"""Runs that are shared by workers, on a played machine: made here, and worked on by real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from aira_bench.leasing.entries import LeaseEntry, last_entry, lease_store
from aira_bench.leasing.terms import Terms
from aira_bench.paths import HostPaths
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.runs.host import Host
from aira_bench.runs.launch import open_for_workers, start
from aira_bench.runs.resolve import resolve
from eventually import GENEROUS_S
from played_host import played_host, played_sandbox, request

PROGRAM = Path(__file__).parent / "played_run.py"
Tree = list[tuple[object, ...]]


@dataclass
class Site:
    """A folder that several workers see, each with a machine of its own or all on one."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def host(self) -> Host:
        """The machine of whoever makes the runs."""
        return replace(
            played_host(self.root, played_sandbox()), paths=HostPaths(self.root / "home", self.root / "runs")
        )

    def shared(self, name: str = "shared", dead_after_s: float = 1.0, **wishes: object) -> RunFolder:
        """A run of which no step is taken."""
        run = resolve(request(name, **wishes), self.host.paths, self.host.world)
        return open_for_workers(self.host, run, Terms(dead_after_s), lambda text: None)

    def undisturbed(self, **wishes: object) -> "dict[int, Tree]":
        """The tree of the same run in one process."""
        run = resolve(request("undisturbed", **wishes), self.host.paths, self.host.world)
        return tree(self.record(start(self.host, run, lambda text: None, lambda progress: None)))

    def record(self, folder: RunFolder) -> RunRecord:
        """A run with all its files, checked as its first machine checks it."""
        return read_run(folder, self.host.keys.ring(), "all")

    @contextmanager
    def worker(self, folder: Path, *options: str, machine: str = "") -> Iterator["Process"]:
        """A worker in a process of its own, on the machine that made the run or on another with the same data folder."""
        log = self.root / f"log-{len(list(self.root.glob('log-*')))}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRA_")}
        places = {
            "AIRA_HOME": str(self.root / "home"), "AIRA_LEASES": str(self.root / f"cores{machine}"),
            "AIRA_PLAYED_BOOT": machine,
        }  # fmt: skip
        with log.open("wb") as stderr:
            popen = subprocess.Popen(
                [sys.executable, str(PROGRAM), "worker", str(folder), *options], cwd=self.root,
                env=kept | places | {"PYTHONUNBUFFERED": "1"} | self.variables, stderr=stderr, start_new_session=True,
            )  # fmt: skip
        try:
            yield Process(popen, log)
        finally:
            popen.send_signal(signal.SIGCONT)
            popen.kill()
            popen.wait()


@dataclass
class Process:
    """A worker that runs."""

    popen: "subprocess.Popen[bytes]"
    log: Path

    @property
    def said(self) -> str:
        """What it printed."""
        return self.log.read_text()

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Wait until something is so, while it lives."""
        ends_s = time.monotonic() + GENEROUS_S
        while not condition():
            assert self.popen.poll() is None, self.said
            assert time.monotonic() < ends_s, self.said
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def end(self) -> int:
        """Wait for its end; its exit status."""
        return self.popen.wait(GENEROUS_S)


def tree(record: RunRecord) -> dict[int, Tree]:
    """Nodes and trainings by seed, without times and attempts."""
    return {
        seed.seed: [
            *((n.step, n.operator, n.parents, n.step_class, n.fitness, n.canonical) for n in seed.nodes),
            *((step, score.test) for step, found in seed.confirmations.scores.items() for score in found),
        ]
        for seed in record.seeds
    }


def entry(folder: RunFolder, seed: int) -> LeaseEntry:
    """The last turn at a unit, which there is."""
    found = last_entry(lease_store(folder.path), seed)
    assert found is not None, f"seed {seed} was never taken"
    return found


def finished(folder: RunFolder, seed: int = 0) -> int:
    """How many steps of a seed are finished, whoever reads."""
    return len(folder.seed(seed).nodes)
