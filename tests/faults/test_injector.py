"""The injector meets every file operation: what the interpreter itself reports of a run, its functions have seen too."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faults.injector import Injector, Kind, Point, generalized

DATA = b"0123456789"
TESTS = Path(__file__).resolve().parents[1]
_AUDITED = """
import json, os, sys
from pathlib import Path
root = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from faults.cases import SEARCHER
from faults.command import Place, play_machine
from faults.engine_faults import faulty_sandbox
from faults.injector import Injector
from aira_bench.cli.main import run_command_line

place = Place(root, 1)
os.environ.update(place.environment())
injector = Injector(root)
play_machine(faulty_sandbox(None, injector))
injector.install()
events = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod",
          "os.chown", "os.utime", "os.scandir", "os.listdir", "fcntl.flock"}
told = []

def audit(event, arguments):
    if event in events and not getattr(injector.paused, "now", False):
        path = arguments[1 if event in ("os.link", "os.symlink") else 0]
        if isinstance(path, (str, bytes)) and os.fsdecode(path).startswith(str(root)):
            told.append((event, os.fsdecode(path)))
        elif isinstance(path, int) and path > 2:
            told.append((event, os.readlink(f"/proc/self/fd/{path}")))

sys.addaudithook(audit)
status = run_command_line(SEARCHER)
seen = [(point.call.partition(":")[0], point.path) for point in injector.seen]
print(json.dumps({"status": status, "told": told, "seen": seen}))
"""
_CALLS = {
    "open": "open", "os.mkdir": "mkdir", "os.rename": "rename", "os.remove": "unlink", "os.rmdir": "rmdir",
    "os.link": "link", "os.symlink": "symlink", "os.truncate": "truncate", "os.chmod": "chmod", "os.chown": "chown",
    "os.utime": "utime", "os.scandir": "list", "os.listdir": "list", "fcntl.flock": "lock",
}  # fmt: skip


def test_no_file_operation_of_a_run_passes_unseen(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _AUDITED, str(tmp_path / "case"), str(TESTS)]
    (tmp_path / "case").mkdir()
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["status"] == 0
    root = f"{tmp_path / 'case'}/"
    told = {(_CALLS[event], path.rstrip("/")) for event, path in said["told"] if path.startswith(root)}
    assert len(told) > 100
    seen = {call for call, _ in said["seen"]}
    assert {"open", "write", "fsync", "rename", "mkdir", "list", "read", "lock", "link"} <= seen
    met = {(call, path) for call, path in said["seen"]}
    missed = {(call, path) for call, path in told if (call, generalized(path.removeprefix(root))) not in met}
    assert missed == set()


@pytest.mark.parametrize(
    ("kind", "content", "ends"),
    [
        ("kill", b"", -signal.SIGKILL),
        ("half write", b"01234", -signal.SIGKILL),
        ("ENOSPC", b"01234", errno.ENOSPC),
        ("signal", b"", -signal.SIGTERM),
    ],
)
@pytest.mark.parametrize("by", ["os", "file", "text", "copy"])
def test_a_fault_of_a_write_leaves_what_it_says(tmp_path: Path, kind: Kind, content: bytes, ends: int, by: str) -> None:
    (tmp_path / "source").write_bytes(DATA)
    assert _ending(tmp_path, Point("write", "target", 0), kind, by) == ends
    assert (tmp_path / "target").read_bytes() == content


@pytest.mark.parametrize("call", ["open:create", "write"])
@pytest.mark.parametrize("by", ["os", "file"])
def test_an_error_befalls_one_operation(tmp_path: Path, call: str, by: str) -> None:
    assert _ending(tmp_path, Point(call, "target", 0), "EIO", by) == errno.EIO
    assert _ending(tmp_path, Point(call, "target", 7), "EIO", by) == 0, "one that never comes"


def _ending(folder: Path, point: Point, kind: Kind, by: str) -> int:
    """Exit status of a process that writes a file and meets a fault: the number of the error it sees."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            Injector(folder, point, kind).install()
            _write(folder, by)
            status = 0
        except OSError as error:
            status = error.errno or 98
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _write(folder: Path, by: str) -> None:
    if by == "os":
        descriptor = os.open(folder / "target", os.O_WRONLY | os.O_CREAT)
        data = DATA
        while data:
            data = data[os.write(descriptor, data) :]
    elif by == "file":
        (folder / "target").write_bytes(DATA)
    elif by == "text":
        (folder / "target").write_text(DATA.decode())
    else:
        shutil.copyfile(folder / "source", folder / "target")
