"""Workers as tasks of a real Ray cluster of three nodes on this machine."""

import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from aira_bench.errors import PrerequisiteError
from aira_bench.launchers.launcher import WorkerOrder
from aira_bench.launchers.ray_cluster import RayFleet, RayLauncher
from eventually import eventually
from launchers.ray_site import RaySite, ray_site
from launchers.told_worker import notes

WORKER = Path(__file__).with_name("told_worker.py")
pytest.importorskip("ray")


@pytest.fixture(scope="module")
def site() -> Iterator[RaySite]:
    with ray_site(nodes=3, cores=1, gpus=1) as site, pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANY_KEY", "secret-of-a-provider")
        yield site


def started(site: RaySite, folder: Path, seconds: float, workers: int = 1, **wishes: int) -> RayFleet:
    command = (sys.executable, str(WORKER), str(folder), str(seconds))
    order = WorkerOrder(
        command, workers, folder, environment={"AIRA_PLACE": "here"}, secrets=("ANY_KEY", "NOT_SET"), **wishes
    )
    fleet = RayLauncher(site.address).start(order)
    assert isinstance(fleet, RayFleet)
    return fleet


def said(folder: Path, what: str) -> int:
    return Counter(note["what"] for note in notes(folder))[what]


def test_each_worker_is_a_task_with_a_gpu_of_its_own(site: RaySite, tmp_path: Path) -> None:
    fleet = started(site, tmp_path, 1.0, workers=3, gpus=1)
    eventually(lambda: fleet.alive() == 0, within_s=60)
    begun = [note for note in notes(tmp_path) if note["what"] == "begun"]
    assert len({note["pid"] for note in begun}) == 3
    assert {(note["AIRA_PLACE"], note["ANY_KEY"], note["CUDA_VISIBLE_DEVICES"]) for note in begun} == {
        ("here", "secret-of-a-provider", "0")
    }
    assert "3 Ray tasks" in fleet.describe()
    session = Path(site.cluster.head_node.get_session_dir_path())
    files = [path for path in session.rglob("*") if path.is_file()]
    assert len(files) > 10, "its logs"
    assert not [path for path in files if b"secret-of-a-provider" in path.read_bytes()]


def test_a_stop_tells_each_worker_and_waits_for_its_end(site: RaySite, tmp_path: Path) -> None:
    fleet = started(site, tmp_path, 60, workers=5)
    eventually(lambda: said(tmp_path, "begun") == 3, within_s=60)
    fleet.stop(20)
    assert fleet.alive() == 0
    assert (said(tmp_path, "begun"), said(tmp_path, "ended")) == (3, 3), "two waited for a place and never begin"


def test_a_second_stop_waits_for_nobody(site: RaySite, tmp_path: Path) -> None:
    fleet = started(site, tmp_path, 60, workers=2)
    eventually(lambda: said(tmp_path, "begun") == 2, within_s=60)
    fleet.stop(0)
    eventually(lambda: fleet.alive() == 0, within_s=20)
    eventually(lambda: not any(_lives(int(note["pid"] or 0)) for note in notes(tmp_path)), within_s=10)


def test_what_a_lost_node_had_begins_again_elsewhere(site: RaySite, tmp_path: Path) -> None:
    fleet = started(site, tmp_path, 4, workers=3)
    eventually(lambda: said(tmp_path, "begun") == 3, within_s=60)
    site.kill_node()
    eventually(lambda: fleet.alive() == 0, within_s=90)
    assert (said(tmp_path, "begun"), said(tmp_path, "told"), said(tmp_path, "ended")) == (4, 0, 3)


def test_a_worker_that_is_killed_begins_again(site: RaySite, tmp_path: Path) -> None:
    fleet = started(site, tmp_path, 2, workers=1)
    eventually(lambda: said(tmp_path, "begun") == 1, within_s=60)
    os.kill(int(notes(tmp_path)[0]["pid"] or 0), signal.SIGKILL)
    eventually(lambda: said(tmp_path, "begun") == 2, within_s=60)
    eventually(lambda: fleet.alive() == 0, within_s=60)


def test_a_cluster_that_is_not_there_is_named() -> None:
    with pytest.raises(PrerequisiteError, match=r"No Ray cluster answers at 127\.0\.0\.1:9: .*refused"):
        RayLauncher("127.0.0.1:9").start(WorkerOrder(("true",), 1, Path("x")))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
