"""No two runs of a machine have one core or one GPU, whatever becomes of their processes."""

import contextlib
import itertools
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import PrerequisiteError
from aira_bench.runs.leases import FOLDER_VARIABLE, Leases, Place, Wanted, deal, lease_folder, leased
from aira_bench.waiting import Stopped, WaitReason, Waits

counts = st.integers(1, 12)


@st.composite
def wishes(draw: st.DrawFn) -> tuple[Wanted, list[int], list[str]]:
    """What a run wants, and which of that is free."""
    cores = sorted(draw(st.sets(st.integers(0, 63), min_size=1, max_size=16)))
    gpus = [f"GPU-{number}" for number in range(draw(st.integers(0, 4)))]
    wanted = Wanted(cores, draw(counts), gpus, draw(st.none() | counts))
    free = [core for core in cores if draw(st.booleans())]
    return wanted, free, [gpu for gpu in gpus if draw(st.booleans())]


@given(wishes())
def test_every_slot_has_as_many_cores_as_it_would_alone(wish: tuple[Wanted, list[int], list[str]]) -> None:
    wanted, free, gpus = wish
    alone, dealt = deal(wanted, wanted.cores, wanted.gpus), deal(wanted, free, gpus)
    assert len(alone) == wanted.slots_alone
    assert {len(place.cores) for place in [*alone, *dealt]} == {wanted.cores_a_slot}
    assert len(dealt) <= len(alone)
    for places in (alone, dealt):
        used = [core for place in places for core in place.cores]
        devices = [place.gpu for place in places if place.gpu is not None]
        assert len(devices) == len(set(devices)) == (len(places) if wanted.gpus else 0)
        if wanted.shares_cores:
            crowd = -(-wanted.slots_alone // wanted.core_count)
            assert max(map(used.count, used), default=0) <= crowd, "no more share a core than would alone"
        else:
            assert len(used) == len(set(used)), "slots share no core"
        assert len(set(used)) <= wanted.core_count
    assert {core for place in dealt for core in place.cores} <= set(free)
    assert {place.gpu for place in dealt} - {None} <= set(gpus)


def hold(folder: Path, wanted: Wanted, **options: int) -> contextlib.AbstractContextManager[list[Place]]:
    return leased(wanted, Waits(), lambda text: None, folder=folder, **options)


def test_a_run_takes_what_others_left_and_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    with hold(tmp_path / "leases", Wanted([0, 1], 1)) as first:
        assert first == [Place((0, 1))]
        with leased(Wanted([0, 1, 2, 3, 4], 2), Waits(), said.append, folder=tmp_path / "leases") as second:
            assert second == [Place((2, 3))]
            assert said == ["other runs have leased cores or GPUs: 1 steps at a time, 2 alone"]
            with hold(tmp_path / "leases", Wanted([4], 1)) as third:
                assert third == [Place((4,))], "a core that makes no slot is left to others"
    with hold(tmp_path / "leases", Wanted([0, 1], 2, ["GPU-a", "GPU-b"])) as all_again:
        assert all_again == [Place((0,), "GPU-a"), Place((1,), "GPU-b")]


def test_a_run_without_a_slot_waits_says_so_and_stops_when_told(tmp_path: Path) -> None:
    said: list[str] = []
    stop = threading.Event()

    def told(reason: WaitReason, text: str) -> None:
        said.append(text)
        threading.Timer(0.3, stop.set).start()

    waits = Waits(stop, told)
    late = leased(Wanted([1, 2], 1), waits, said.append, folder=tmp_path / "leases")
    with hold(tmp_path / "leases", Wanted([0, 1], 1)), pytest.raises(Stopped):
        late.__enter__()
    assert said == ["waiting for 2 of the cores 1, 2: other runs of this machine have them; "
                    "--cores and --gpus choose others"]  # fmt: skip
    assert waits.seconds["cores"] > 0.2
    with hold(tmp_path / "leases", Wanted([1, 2], 1)) as places:
        assert places, "who waited in vain left nothing behind"


def test_a_run_that_waits_goes_on_when_cores_are_given_back(tmp_path: Path) -> None:
    busy = contextlib.ExitStack()
    busy.enter_context(hold(tmp_path / "leases", Wanted([0], 1)))
    threading.Timer(0.3, busy.close).start()
    with hold(tmp_path / "leases", Wanted([0], 1)) as places:
        assert places == [Place((0,))]


HOLDER = """
import json, sys, time
from pathlib import Path
from aira_bench.runs.leases import Wanted, leased
from aira_bench.waiting import Waits
folder, seconds, ready = Path(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
with leased(Wanted([0, 1, 2], 1, (), 1), Waits(), lambda text: None, folder=folder) as places:
    if ready.name != "-":
        ready.write_text("")
    for place in places:
        for core in place.cores:
            with open(folder.parent / f"use-{core}", "a") as log:
                began = time.monotonic()
                time.sleep(seconds)
                log.write(json.dumps([began, time.monotonic()]) + chr(10))
"""


def holder(folder: Path, seconds: float, ready: str = "-") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", HOLDER, str(folder), str(seconds), ready])


def test_many_processes_some_of_them_killed_never_share_a_core(tmp_path: Path) -> None:
    """Twelve at three cores; a third is killed at some moment, and whoever waits gets on."""
    folder, rng = tmp_path / "leases", random.Random(1)
    running = [holder(folder, 0.15) for _ in range(12)]
    time.sleep(0.5)
    for process in rng.sample(running, 4):
        process.send_signal(signal.SIGKILL)
        time.sleep(0.1)
    for process in running:
        assert process.wait(240) in (0, -signal.SIGKILL)
    uses = 0
    for core in range(3):
        log = tmp_path / f"use-{core}"
        held = sorted(json.loads(line) for line in (log.read_text().splitlines() if log.exists() else []))
        uses += len(held)
        assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(held)), (core, held)
    assert uses >= 8, "who was not killed had its turn"
    with hold(folder, Wanted([0, 1, 2], 3)) as places:
        assert len(places) == 3, "the dead have left nothing"


def test_a_child_keeps_no_lease_when_its_parent_is_killed(tmp_path: Path) -> None:
    """Neither one that was started, nor one that was forked and started nothing."""
    code = """
import os, subprocess, sys, time
from pathlib import Path
from aira_bench.runs.leases import Leases
leases = Leases(Path(sys.argv[1]))
assert leases.take("core-0")
started = subprocess.Popen(["sleep", "60"], close_fds=False)
ready, done = os.pipe()
forked = os.fork()
if forked == 0:
    os.write(done, b"1")
    time.sleep(60)
    os._exit(0)
os.read(ready, 1)  # what a forked child gives up, it gives up in its first moment, not before it
print(started.pid, forked, flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "leases")], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    ours = Leases(tmp_path / "leases")
    try:
        assert not ours.take("core-0")
        parent.kill()
        parent.wait()
        assert all(Path(f"/proc/{pid}").exists() for pid in children)
        assert ours.take("core-0")
    finally:
        ours.release()
        parent.stdout.close()
        for pid in children:
            os.kill(pid, signal.SIGKILL)


def test_a_process_that_forks_keeps_its_own_leases(tmp_path: Path) -> None:
    ours, others = Leases(tmp_path / "leases"), Leases(tmp_path / "leases")
    assert ours.take("core-0")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    assert not others.take("core-0")
    ours.release()
    assert others.take("core-0")
    others.release()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_users_of_one_machine_lease_from_each_other(tmp_path_factory: pytest.TempPathFactory) -> None:
    shared = Path("/dev/shm") / f"aira-lease-test-{os.getpid()}"
    shared.mkdir()
    shared.chmod(0o1777)
    code = (
        "import os, sys; from pathlib import Path; from aira_bench.runs.leases import Leases; "
        "leases = Leases(Path(sys.argv[1])); "  # imported as root: this file tree may be closed to others
        "os.setuid(65534); print(leases.take(sys.argv[2]), flush=True); sys.stdin.read()"
    )

    def as_nobody(name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", code, str(shared / "leases"), name]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    ours = Leases(shared / "leases")
    running = []
    try:
        assert ours.take("core-0")
        for name, had in (("core-0", b"False\n"), ("core-1", b"True\n")):
            running.append(as_nobody(name))
            assert running[-1].stdout is not None
            assert running[-1].stdout.readline() == had
        assert (shared / "leases" / "core-1").stat().st_uid == 65534
        assert not ours.take("core-1")
        assert stat.S_IMODE((shared / "leases").stat().st_mode) == 0o1777
    finally:
        ours.release()
        for each in running:
            each.communicate(timeout=30)
        for path in (shared / "leases").iterdir():
            path.unlink()
        (shared / "leases").rmdir()
        shared.rmdir()


@pytest.fixture
def odd_folders(tmp_path: Path) -> Path:
    (tmp_path / "leases").mkdir()
    return tmp_path / "leases"


@pytest.mark.parametrize("odd", ["link", "fifo", "folder"])
def test_what_somebody_put_in_the_place_of_a_lease_is_named_and_not_followed(odd: str, odd_folders: Path) -> None:
    place = odd_folders / "core-0"
    if odd == "link":
        place.symlink_to(odd_folders.parent / "elsewhere")
    elif odd == "fifo":
        os.mkfifo(place)
    else:
        place.mkdir()
    with pytest.raises(PrerequisiteError, match="Cores cannot be leased"):
        Leases(odd_folders).take("core-0")
    assert not (odd_folders.parent / "elsewhere").exists()


def test_the_folder_is_one_that_all_users_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "/somewhere")
    assert lease_folder() == Path("/somewhere")
    monkeypatch.delenv(FOLDER_VARIABLE)
    mode = lease_folder().parent.stat().st_mode
    assert mode & stat.S_ISVTX
    assert mode & stat.S_IWOTH
