"""A suite on a real Ray cluster and on a real Slurm of three nodes, some of which are lost midway.

The command line is the real one, with containers that are functions (tests/played_run.py); the model is a local server
with the prices of a card. Each node of Ray is a machine of its own for leases: what it had is missed by its silence.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aira_bench.keys import KeyFolder
from aira_bench.record.folder import RunFolder, list_runs
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.runs.launch import start
from aira_bench.runs.resolve import resolve
from eventually import eventually
from launchers.ray_site import ray_site
from launchers.slurm_site import SlurmSite, missing, slurm_site
from lease_history import lease_faults
from llm.wire_server import Reply, WireRequest, WireServer
from played_host import request
from shared_runs import Site, Tree, tree

PROGRAM = Path(__file__).parents[1] / "played_run.py"
SOLUTION = 'A try.\n```python\nARCHITECTURE = "M,M,M,mA,M,mA,M,M,M,M,M,M,mA,M,mA,M"\n```'
CAP_USD_A_SEED = 0.5
whole = pytest.mark.skipif("AIRA_TEST_CLUSTERS" not in os.environ, reason="minutes of both cores: make test-cluster")
SUITE = """title = "short"
profile = "cpu"

[[matrix]]
agents = ["evolution", "gpt5"]
tasks = ["mad-2p"]
seeds = {seeds}
steps = 3
"""


def answer(request: WireRequest) -> Reply | str:
    """A solution, or what is said of one."""
    return json.dumps({"is_bug": False, "summary": "ran", "metric": None}) if request.schema else Reply(SOLUTION)


def environment(place: Path, runs: str, step_s: float) -> dict[str, str]:
    """What commands have that are typed there; nothing of ours that is set here."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AIRA_")}
    return kept | {
        "AIRA_HOME": str(place / "home"), "AIRA_RUNS": str(place / runs), "AIRA_LEASE_S": "3",
        "AIRA_LEASES": str(place / "cores"), "AIRA_PLAYED_STEP_S": str(step_s), "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmSite]:
    """A site of three nodes of one core, which is what commands find here."""
    pytest.importorskip("submitit")
    if missing():
        pytest.skip(missing())
    with slurm_site(tmp_path / "site", cores=1) as site:
        for name in ("SLURM_CONF", "PATH"):
            monkeypatch.setenv(name, site.environment[name])
        yield site


@dataclass
class Desk:
    """Where the command is typed, in a folder that all nodes see."""

    root: Path
    seeds: int
    server: WireServer
    step_s: float = 0.4

    @property
    def cap_usd(self) -> float:
        return CAP_USD_A_SEED * self.seeds

    @contextlib.contextmanager
    def suite(self, name: str, *options: str) -> Iterator["subprocess.Popen[bytes]"]:
        """The suite, as a process that is told to end when the block does."""
        (self.root / "short.toml").write_text(SUITE.format(seeds=self.seeds // 2))
        model = {
            "OPENAI_API_KEY": "sk-any", "OPENAI_BASE_URL": self.server.base_url("openai"),
            "AIRA_ALLOW_KEY": "OPENAI_API_KEY=127.0.0.1",
        }  # fmt: skip
        command = [sys.executable, str(PROGRAM), "suite", "short.toml", "--name", name, "--yes", "--max-dollars"]
        with (self.root / f"{name}.log").open("wb") as log:
            popen = subprocess.Popen(
                [*command, str(self.cap_usd), *options], cwd=self.root, env=environment(self.root, "runs", self.step_s) | model, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
            try:
                yield popen
            finally:
                if popen.poll() is None:
                    popen.send_signal(signal.SIGTERM)
                    popen.wait(60)

    def said(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text()

    def records(self, name: str) -> dict[str, RunRecord]:
        """The runs of a suite, every file of them checked."""
        ring = KeyFolder(self.root / "home" / "keys").ring()
        found = list_runs(self.root / "runs" / name)
        return {folder.path.name: read_run(RunFolder(folder.path), ring, "all") for folder in found}

    def over(self, name: str) -> int:
        """How many seeds are over."""
        folders = list_runs(self.root / "runs" / name) if (self.root / "runs" / name).is_dir() else []
        states = [entry.state for each in folders for entry in RunFolder(each.path).lease_entries().values()]
        return states.count("over")


def trees(records: dict[str, RunRecord]) -> dict[str, dict[int, Tree]]:
    return {name: tree(record) for name, record in records.items()}


def require_each_once(desk: Desk, name: str) -> None:
    """Every seed finished once, had by one attempt at a time, for less than the cap."""
    records = desk.records(name)
    assert all(record.closed for record in records.values())
    usd = 0.0
    for record in records.values():
        assert len(record.seeds) == desk.seeds // 2
        for seed in record.seeds:
            assert [node.step for node in seed.nodes] == [1, 2, 3]
            assert lease_faults(record.folder, seed.seed) == []
            usd += sum(node.model_use.cost_usd or 0.0 for node in seed.nodes)
    assert 0 < usd <= desk.cap_usd


def carried_out(desk: Desk, options: tuple[str, ...], lose: Callable[[], None], most_s: float) -> float:
    """The suite on an engine, nodes of which are lost when a few seeds are over; the seconds that it took."""
    began_s = time.monotonic()
    with desk.suite("there", *options) as command:
        eventually(lambda: desk.over("there") >= max(1, desk.seeds // 6) or command.poll() is not None, most_s)
        assert command.poll() is None, desk.said("there")
        lose()
        eventually(lambda: command.poll() is not None, most_s, what=desk.said("there"))
        assert command.returncode == 0, desk.said("there")
    return time.monotonic() - began_s


def require_like_local(desk: Desk) -> None:
    """The same suite by processes of this machine has the same trees."""
    with desk.suite("here", "--engine", "local", "--workers", "2") as command:
        assert command.wait(600) == 0, desk.said("here")
    assert trees(desk.records("there")) == trees(desk.records("here"))


def on_ray(tmp_path: Path, seeds: int, lost: int, most_s: float) -> None:
    with WireServer(answer) as server, ray_site(nodes=3, cores=1) as site:
        desk = Desk(tmp_path, seeds, server)
        options = ("--engine", "ray", "--ray-address", site.address, "--workers", "3")

        def lose() -> None:
            for _ in range(lost):
                site.kill_node()

        took_s = carried_out(desk, options, lose, most_s)
        require_each_once(desk, "there")
        require_like_local(desk)
        print(f"{seeds} seeds on Ray, {lost} nodes lost: {took_s:.1f} s")


def test_a_short_suite_outlives_a_node_of_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    on_ray(tmp_path, seeds=6, lost=1, most_s=150)


def typed(place: Path, runs: str, *words: str, step_s: float = 0.0) -> "subprocess.Popen[bytes]":
    """The real command line, without any key; what it says is appended to a file there."""
    with (place / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), *words],
            cwd=place,
            env=environment(place, runs, step_s),
            stdout=log,
            stderr=log,
        )


def confirmed_on(tmp_path: Path, *options: str) -> None:
    """Workers do the trainings that one process does."""
    site = Site(tmp_path)
    run = site.host, resolve(request("run", seeds=(0, 1), confirm=False), site.host.paths, site.host.world)
    folder = start(*run, lambda text: None, lambda progress: None)
    assert typed(tmp_path, "runs", "confirm", "run", *options).wait(120) == 0, (tmp_path / "log").read_text()
    assert tree(site.record(folder)) == site.undisturbed(seeds=(0, 1), confirm=True)


def test_a_run_is_confirmed_by_tasks_of_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    with ray_site(nodes=1, cores=1) as cluster:
        confirmed_on(tmp_path, "--engine", "ray", "--ray-address", cluster.address, "--workers", "1")


@whole
@pytest.mark.usefixtures("slurm")
def test_a_run_is_confirmed_by_a_job_of_slurm(tmp_path: Path) -> None:
    confirmed_on(tmp_path, "--engine", "slurm", "--workers", "2")


@whole
@pytest.mark.usefixtures("slurm")
def test_a_run_that_was_stopped_on_slurm_goes_on_there(tmp_path: Path) -> None:
    """Its folder has what submitit leaves of the first workers."""
    search = ("run", "--agent", "evolution", "--task", "mad-2p", "--profile", "cpu", "--seeds", "2", "--steps", "6",
              "--name", "run")  # fmt: skip
    there = ("--engine", "slurm", "--workers", "2")
    begun = typed(tmp_path, "there", *search, *there, step_s=1.0)
    journal = tmp_path / "there" / "run" / "seeds" / "0" / "journal.jsonl"
    eventually(lambda: journal.exists() or begun.poll() is not None, 60)
    begun.send_signal(signal.SIGTERM)
    assert begun.wait(120) != 0, (tmp_path / "log").read_text()
    assert typed(tmp_path, "there", "resume", "run", *there).wait(120) == 0, (tmp_path / "log").read_text()
    assert typed(tmp_path, "here", *search).wait(120) == 0, (tmp_path / "log").read_text()
    ring = KeyFolder(tmp_path / "home" / "keys").ring()
    ours, theirs = (read_run(RunFolder(tmp_path / name / "run"), ring, "all") for name in ("there", "here"))
    assert ours.closed
    assert tree(ours) == tree(theirs)


@whole
@pytest.mark.usefixtures("slurm")
def test_what_all_nodes_of_slurm_lack_is_said_once(tmp_path: Path) -> None:
    typed(tmp_path, "runs", "cluster", "check", "--engine", "slurm").wait(120)
    said = (tmp_path / "log").read_text()
    assert said.count("OPENAI_API_KEY: not set") == 1, said
    assert "n1, n2, n3: OPENAI_API_KEY: not set" in said


@whole
@pytest.mark.timeout(900)
def test_sixty_seeds_outlive_two_of_three_nodes_of_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    on_ray(tmp_path, seeds=60, lost=2, most_s=500)


@whole
@pytest.mark.timeout(900)
def test_sixty_seeds_outlive_a_preemption_and_a_node_of_slurm(tmp_path: Path, slurm: SlurmSite) -> None:
    with WireServer(answer) as server:
        desk = Desk(tmp_path, 60, server)

        def lose() -> None:
            slurm.ask("sbatch", "--partition=high", "--ntasks=1", "--output=/dev/null", "--wrap=sleep 5")
            slurm.ask("scontrol", "update", "NodeName=n3", "State=DOWN", "Reason=tried")

        options = ("--engine", "slurm", "--slurm-partition", "low", "--workers", "3")
        took_s = carried_out(desk, options, lose, 500)
        require_each_once(desk, "there")
        require_like_local(desk)
        print(f"60 seeds on Slurm, one preemption and a node set down: {took_s:.1f} s")
