"""A judge node that a Ray cluster of this machine gives by a custom resource."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shlex import join

import pytest

from aira_bench.errors import PrerequisiteError
from aira_bench.hidden_keys import make_hidden_key
from aira_bench.record.run_record import read_run
from aira_bench.remote_judging import nodes
from aira_bench.remote_judging.nodes import JudgeNodes
from aira_bench.runs.launch import start
from aira_bench.runs.resolve import resolve
from judge_nodes import another_machine, searching_host
from launchers.ray_site import RaySite, ray_site
from played_host import request

pytest.importorskip("ray")
pytestmark = pytest.mark.timeout(240)
PLAYED = Path(__file__).parents[1] / "played_run.py"


@pytest.fixture(scope="module")
def site() -> Iterator[RaySite]:
    with ray_site(nodes=1, cores=1, resources={"judge": 1}) as site:
        yield site


def test_a_run_is_judged_on_the_node_with_the_resource(
    site: RaySite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "node"
    (home / "keys").mkdir(parents=True, mode=0o700)
    key = make_hidden_key(home / "keys" / "hidden.key")
    its = [f"AIRA_HOME={home}", f"AIRA_LEASES={tmp_path / 'leases'}", "AIRA_PLAYED_BOOT=node"]
    monkeypatch.setenv("RAY_ADDRESS", site.address)
    monkeypatch.setenv("AIRA_JUDGE_PROGRAM", join(["env", *its, sys.executable, str(PLAYED), "judge", "serve"]))
    desk = replace(searching_host(tmp_path / "desk"), judges=JudgeNodes.of("ray:judge"))
    with another_machine():
        found = resolve(request(steps=2), desk.paths, desk.world)
        folder = start(desk, found, lambda text: None, lambda progress: None)
    record = read_run(folder, desk.keys.ring(), "all")
    assert [node.step_class for node in record.seeds[0].nodes] == ["valid"] * 2
    assert record.manifest.plan.hidden_key == key.sha256
    assert record.manifest.isolation_told == "shared, judges elsewhere (ray)"
    assert (record.manifest.judges and record.manifest.judges.nodes) is None
    assert len(list((home / "judged").glob("*/*.json"))) == 2


def test_a_resource_that_no_node_has_is_no_judge(
    site: RaySite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", site.address)
    monkeypatch.setattr(nodes, "SILENCE_S", 1.0)
    monkeypatch.setattr("aira_bench.remote_judging.wires._A_CALL_S", 1.0)
    desk = replace(searching_host(tmp_path / "desk"), judges=JudgeNodes.of("ray:gold"))
    found = resolve(request(), desk.paths, desk.world)
    with another_machine(), pytest.raises(PrerequisiteError, match="its Ray actor does not answer"):
        start(desk, found, lambda text: None, lambda progress: None)
