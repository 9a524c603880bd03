"""No two runs of a machine have one core or one GPU, whatever becomes of their processes: the locks themselves."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from aira_bench.errors import PrerequisiteError
from aira_bench.runs.leases import FOLDER_VARIABLE, Leases, lease_folder


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


def test_a_lease_on_a_file_that_somebody_removed_is_none(tmp_path: Path) -> None:
    """Files stay open between looks: a lock on one that is gone would keep nobody out."""
    ours, others = Leases(tmp_path / "leases"), Leases(tmp_path / "leases")
    assert others.take("core-0")
    assert not ours.take("core-0")
    (tmp_path / "leases" / "core-0").unlink()
    others.give_back("core-0")
    assert ours.take("core-0")
    assert not others.take("core-0"), "both have the file that is there now"
    ours.release()
    others.release()


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
