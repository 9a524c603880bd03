"""What machines of a cluster say of themselves, what is made of it, and the command on real engines."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from aira_bench.doctor.cluster import ClusterNode, _compare, _look, _own_gaps, examine_cluster, skew_told
from aira_bench.doctor.diagnosis import Diagnosis
from aira_bench.doctor.node import NodeReport
from aira_bench.keys import KeyRing
from aira_bench.launchers.launcher import EngineMachine, WorkerOrder
from aira_bench.version import __version__

OURS, OTHER = "a" * 64, "b" * 64
RING = KeyRing(OURS)
FINE = NodeReport(
    host="one", version=__version__, hardware_class="CPU X", cores=2, gpus=(), key=OURS, trusted=(),
    images={"cpu agent": "agent:1", "cpu evaluator": "evaluator:1"}, data={"mad-2p": "0123"}, findings=(),
)  # fmt: skip


def node(report: NodeReport | None, name: str = "n1") -> ClusterNode:
    return ClusterNode(name, Path("nowhere"), report=report)


def told(report: NodeReport, skew_s: tuple[float, float] | None = None) -> list[tuple[str, str]]:
    found = node(report)
    found.skew_s = skew_s
    return [(gap.check, gap.state) for gap in _own_gaps(found, RING)]


def test_a_machine_like_this_one_has_no_gap() -> None:
    assert told(FINE, (-0.1, 0.2)) == []


@pytest.mark.parametrize(
    ("changes", "gap"),
    [
        ({"version": "0.0.1"}, ("aira-bench", "failed")),
        ({"key": OTHER}, ("key", "failed")),
        ({"key": OTHER, "trusted": (OURS,)}, ("key", "warning")),
        (
            {"findings": (Diagnosis("container engine", "failed", "none", "install it"),)},
            ("container engine", "failed"),
        ),
    ],
)
def test_what_keeps_a_machine_from_runs_made_here_is_a_gap(changes: dict[str, object], gap: tuple[str, str]) -> None:
    assert told(replace(FINE, **changes)) == [gap]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("skew_s", "gaps", "said"),
    [
        ((-7.0, 8.0), [], "within 8.0 s"),
        ((4.0, 6.0), [], "4.0 to 6.0 s ahead"),
        ((29.9, 30.1), [("clock", "warning")], "29.9 to 30.1 s ahead"),
        ((-31.0, -30.0), [("clock", "warning")], "30.0 to 31.0 s behind"),
        (None, [], "-"),
    ],
)
def test_a_clock_is_a_gap_when_it_must_be_wrong(
    skew_s: tuple[float, float] | None, gaps: list[tuple[str, str]], said: str
) -> None:
    assert told(FINE, skew_s) == gaps
    assert skew_told(skew_s) == said


def test_what_one_run_needs_alike_is_compared() -> None:
    other = replace(
        FINE, hardware_class="CPU Y", images=dict(FINE.images) | {"cpu agent": "agent:2"}, data={"mad-2p": "4567"}
    )
    without = replace(FINE, images={"cpu agent": "", "cpu evaluator": ""}, data={"mad-2p": ""})
    nodes = [node(FINE, "n1"), node(without, "n2"), node(other, "n3"), node(None, "n4")]
    _compare(nodes)
    assert [[(gap.check, gap.state) for gap in each.gaps] for each in nodes] == [
        [], [], [("images", "failed"), ("data", "failed"), ("hardware class", "warning")], [],
    ]  # fmt: skip
    assert nodes[2].gaps[0].seen == "cpu agent is agent:2 here and agent:1 on n1, and a run goes on with one alone"


@dataclass
class EndedFleet:
    stops: list[float] = field(default_factory=list)

    def alive(self) -> int:
        return 0

    def stop(self, grace_s: float) -> None:
        self.stops.append(grace_s)

    def describe(self) -> str:
        return "ended"


def test_a_clock_is_compared_by_files_between_two_of_which_it_was_read(tmp_path: Path) -> None:
    """The machine's clock is 30 s ahead: whatever the way takes, the bounds hold that."""
    found = ClusterNode("n1", tmp_path, fleet=EndedFleet())
    (tmp_path / "hello").write_text("n1")
    _look(found, lambda text: None)
    assert (tmp_path / "ping").exists()
    time.sleep(0.2)
    (tmp_path / "pong").write_text(repr(time.time() + 30))
    _look(found, lambda text: None)
    assert found.skew_s is not None
    low, high = found.skew_s
    assert low <= 30 <= high
    assert high - low < 10


@dataclass
class Deaf:
    """A launcher whose second machine is down, and whose first ends without a word."""

    def machines(self) -> list[EngineMachine]:
        return [EngineMachine("n1"), EngineMachine("n2", "Slurm says down", "scontrol show node n2")]

    def start(self, order: WorkerOrder) -> EndedFleet:
        return EndedFleet()


def test_who_does_not_report_has_a_gap_with_a_mend(tmp_path: Path) -> None:
    began_s = time.monotonic()
    nodes = examine_cluster(
        Deaf(), lambda name, place: WorkerOrder(("x",), 1, place), tmp_path, RING, 60, lambda text: None
    )
    assert [(gap.seen.partition(";")[0], gap.mend) for each in nodes for gap in each.gaps] == [
        ("it ended without a report", f"ls {tmp_path}/logs"), ("Slurm says down", "scontrol show node n2"),
    ]  # fmt: skip
    assert time.monotonic() - began_s < 50
    assert not any(each.is_fit for each in nodes)


def check(place: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """The command where no engine of containers answers, so that it takes a moment."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRA_") and "API_KEY" not in name}
    variables = {
        "AIRA_HOME": str(place / "home"),
        "AIRA_LEASES": str(place / "leases"),
        "DOCKER_HOST": "unix:///nowhere",
    }
    return subprocess.run(
        [sys.executable, "-m", "aira_bench", "cluster", "check", *options, "--runs", str(place / "runs"), "--json"],
        env=kept | variables, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


def test_this_machine_reports_and_its_missing_engine_fails_the_check(tmp_path: Path) -> None:
    done = check(tmp_path, "--engine", "local")
    assert done.returncode == 1, done.stderr
    [row] = json.loads(done.stdout)
    assert (row["engine"], row["report"]["version"]) == ("missing", __version__)
    failed = [gap for gap in row["gaps"] if gap["state"] == "failed"]
    assert [gap["check"] for gap in failed] == ["container engine"]
    assert failed[0]["mend"]
    assert not list((tmp_path / "runs" / ".cluster").iterdir()), "nothing is left of a check that all answered"


def test_an_engine_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = check(tmp_path, "--engine", "ray", "--ray-address", "127.0.0.1:9")
    assert done.returncode == 3
    assert "No Ray cluster answers" in done.stderr
