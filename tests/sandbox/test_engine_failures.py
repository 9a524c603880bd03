"""What a daemon's failures become, and how leftovers are removed from one that is busy: the SDK against a played daemon."""

import gc
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from played_engine import PlayedEngine

from aira_bench.docker_engine import Conflict, DockerEngine, engine
from aira_bench.docker_engine.podman import PodmanEngine
from aira_bench.errors import EngineAway, PrerequisiteError, SandboxError
from aira_bench.sandbox import leftovers
from aira_bench.sandbox.hardening import OWNER_LABEL, ROLE_LABEL, RUN_LABEL
from aira_bench.sandbox.leftovers import Swept, remove_dead, remove_run
from aira_bench.sandbox.owner import this_process


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlayedEngine]:
    played = PlayedEngine()
    monkeypatch.setenv("DOCKER_HOST", played.address)
    monkeypatch.setattr(leftovers, "_LATE_PAUSES_S", (0.0, 0.0, 0.0))
    yield played
    played.close()


@pytest.fixture
def client(daemon: PlayedEngine) -> Iterator[DockerEngine]:
    made = DockerEngine.connect(timeout_s=5)
    yield made
    made.close()


@pytest.fixture(scope="module")
def dead() -> str:
    """The label of a process that is certainly dead."""
    code = "from aira_bench.sandbox.owner import this_process; print(this_process())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def alive() -> Iterator[str]:
    """The label of another process that lives."""
    code = "from aira_bench.sandbox.owner import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()


def test_nothing_is_said_when_a_closed_attachment_is_collected(
    daemon: PlayedEngine, client: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.13 said "Exception ignored" of each container that `doctor` had tried, on stderr."""
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda said: ignored.append(said.exc_value))
    attachment = client.attach("a")
    assert attachment.receive(60) == b"", "it has no streams"
    attachment.close()
    attachment.close()
    del attachment
    gc.collect()
    assert ignored == []


def test_no_daemon_and_one_that_is_not_ours_to_use_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(PrerequisiteError, match="No Docker daemon answers") as caught:
        DockerEngine.connect(timeout_s=1)
    assert caught.value.hint == "docker info   (or unset DOCKER_HOST)"


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (409, Conflict, "could not create a container: taken"),
        (404, PrerequisiteError, "There is no image image:1"),
        (400, SandboxError, "could not create a container: taken"),
        (500, SandboxError, "could not create a container: taken"),
    ],
)
def test_a_refused_container_says_what_the_daemon_said(
    daemon: PlayedEngine, client: DockerEngine, status: int, kind: type[Exception], words: str
) -> None:
    daemon.fails = lambda request, times: (
        (status, {"message": "No such image: image:1" if status == 404 else "taken"}) if "create" in request else None
    )
    with pytest.raises(kind, match=words):
        client.create_container("name", {"Image": "image:1"})


def test_a_daemon_that_went_away_is_infrastructure(daemon: PlayedEngine, client: DockerEngine) -> None:
    daemon.close()
    with pytest.raises(EngineAway, match="no answer from the daemon") as caught:
        client.containers(RUN_LABEL)
    assert caught.value.hint == "docker info"


@pytest.mark.parametrize(
    "said", [["localhost/a:1,localhost/b:2"], ["localhost/a:1", "localhost/b:2"]], ids=["one line", "two"]
)
def test_images_of_a_file_are_told_apart(daemon: PlayedEngine, client: DockerEngine, said: list[str]) -> None:
    """Podman 4.3 tells all images of an archive in one line; names have no commas."""
    lines = "".join(json.dumps({"stream": f"Loaded image: {each}"}) + "\n" for each in said).encode()
    daemon.fails = lambda request, times: (200, lines) if "load" in request else None
    assert PodmanEngine.over(client).load(iter([b"x"])) == ["a:1", "b:2"]


@pytest.mark.parametrize("first", [(409, "removal is already in progress"), (500, "did not receive an exit event")])
def test_a_removal_that_is_under_way_is_waited_for(
    daemon: PlayedEngine, client: DockerEngine, first: tuple[int, str]
) -> None:
    daemon.containers["old"] = {}
    daemon.fails = lambda request, times: (first[0], {"message": first[1]}) if times == 1 and "old" in request else None
    client.remove_container("old")
    assert "old" not in daemon.containers
    client.remove_container("old")  # gone is no error


def test_a_container_that_cannot_be_removed_is_named(
    daemon: PlayedEngine, client: DockerEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "REMOVAL_TIMEOUT_S", 0.1)
    daemon.containers["stuck"] = {}
    daemon.fails = lambda request, times: (409, {"message": "in progress"}) if "stuck" in request else None
    with pytest.raises(SandboxError, match="did not remove container stuck"):
        client.remove_container("stuck")


def test_a_run_is_swept_whole_and_no_other_is_touched(daemon: PlayedEngine, client: DockerEngine) -> None:
    daemon.containers |= {"a": {RUN_LABEL: "r"}, "b": {RUN_LABEL: "r"}, "c": {RUN_LABEL: "other"}}
    daemon.volumes |= {"va": {RUN_LABEL: "r"}, "vc": {RUN_LABEL: "other"}}
    assert remove_run(client, "r") == Swept(2)
    assert (set(daemon.containers), set(daemon.volumes)) == ({"c"}, {"vc"})


def test_what_appears_while_a_run_is_swept_is_swept_too(daemon: PlayedEngine, client: DockerEngine) -> None:
    """A killed orchestrator's last request may be carried out after the sweep has looked; its volume is then in use."""
    daemon.containers["early"] = {RUN_LABEL: "r"}
    daemon.volumes["v"] = {RUN_LABEL: "r"}

    def late(request: str, times: int) -> tuple[int, object] | None:
        if request == "DELETE /volumes/v" and times == 1:
            daemon.containers["late"] = {RUN_LABEL: "r"}
            return 409, {"message": "volume is in use"}
        return None

    daemon.fails = late
    assert remove_run(client, "r") == Swept(2)
    assert (daemon.containers, daemon.volumes) == ({}, {})


def test_a_volume_that_stays_in_use_is_told_in_the_end(daemon: PlayedEngine, client: DockerEngine) -> None:
    daemon.volumes["v"] = {RUN_LABEL: "r"}
    daemon.fails = lambda request, times: (409, {"message": "in use"}) if "volumes/v" in request else None
    swept = remove_run(client, "r")
    assert swept.left == ("v",)
    assert swept.told == (
        "1 containers and volumes could not be removed (v): Docker could not remove a workspace volume: in use "
        "The next run on this machine removes them."
    )
    assert daemon.requests.count("DELETE /volumes/v") == 4


def test_one_container_that_stays_keeps_no_other_from_going(daemon: PlayedEngine, client: DockerEngine) -> None:
    daemon.containers |= {name: {RUN_LABEL: "r"} for name in ("a", "b", "c")}
    daemon.fails = lambda request, times: (400, {"message": "no"}) if request == "DELETE /containers/a" else None
    closed: list[str] = []
    swept = remove_run(client, "r", [lambda: closed.append("called")])
    assert (swept.containers, swept.left) == (2, ("a",))
    assert set(daemon.containers) == {"a"}
    assert closed == ["called"], "steps of ours are let go whatever the engine says"


def test_what_a_dead_owner_left_goes_and_nothing_of_a_live_one_of_the_same_run(
    daemon: PlayedEngine, client: DockerEngine, dead: str, alive: str
) -> None:
    """A sweep that went by the run's label took six containers of a resume that had begun meanwhile."""
    owned = {"dead": dead, "another": alive, "mine": this_process(), "abroad": "boot/pid:[1]/2/3", "odd": ""}
    for kind in (daemon.containers, daemon.volumes):
        kind |= {f"{name}'s": {RUN_LABEL: "r", OWNER_LABEL: owner} for name, owner in owned.items()}
        kind["of no run"] = {ROLE_LABEL: "erofs", OWNER_LABEL: dead}
        kind["a stranger's"] = {RUN_LABEL: "r"}
    assert remove_dead(client) == Swept(2)
    left = {"another's", "mine's", "abroad's", "odd's", "a stranger's"}
    assert (set(daemon.containers), set(daemon.volumes)) == (left, left)
    assert remove_run(client, "r") == Swept(4), "who has the run's lock may take what no other live process made"
    assert (set(daemon.containers), set(daemon.volumes)) == ({"another's"}, {"another's"})


def test_many_are_removed_by_several_hands(daemon: PlayedEngine, client: DockerEngine) -> None:
    daemon.containers |= {str(number): {RUN_LABEL: "r"} for number in range(40)}
    daemon.slow_s = 0.1
    assert remove_run(client, "r").containers == 40
    assert daemon.most_removals > 2


def test_an_engine_that_goes_away_in_a_sweep_is_no_list_of_leftovers(
    daemon: PlayedEngine, client: DockerEngine
) -> None:
    daemon.containers["a"] = {RUN_LABEL: "r"}
    daemon.fails = lambda request, times: (
        (500, {"message": "connection error: transport: containerd.sock: unavailable"}) if "/a" in request else None
    )
    with pytest.raises(EngineAway, match="containerd"):
        remove_run(client, "r")
