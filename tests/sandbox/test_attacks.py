"""Solutions that attack: each changes nothing outside its step and gets the right end."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from small_steps import SMALL, SUBMISSION, RunCode

from aira_bench.sandbox.sandbox import Artifact, ArtifactRequest, Mount, RejectedArtifact
from eventually import stretched

pytestmark = pytest.mark.docker

SEEN = ArtifactRequest("seen.json", 65536)


def seen(outcome: object, tmp_path: Path) -> object:
    return json.loads((tmp_path / "out" / "seen.json").read_bytes())


def test_no_way_onto_a_network(run_code: RunCode, tmp_path: Path) -> None:
    outcome = run_code(
        """
import json, socket, errno
def attempt(action):
    try: action()
    except OSError as error: return errno.errorcode.get(error.errno, type(error).__name__ + str(error.errno))
    return "allowed"
seen = {
    "tcp": attempt(lambda: socket.create_connection(("1.1.1.1", 80), 2)),
    "bridge": attempt(lambda: socket.create_connection(("172.17.0.1", 22), 2)),
    "metadata": attempt(lambda: socket.create_connection(("169.254.169.254", 80), 2)),
    "vsock": attempt(lambda: socket.socket(40, socket.SOCK_STREAM)),
    "netlink": attempt(lambda: socket.socket(16, socket.SOCK_RAW, 0)),
    "packet": attempt(lambda: socket.socket(17, socket.SOCK_RAW, 0)),
    "alg": attempt(lambda: socket.socket(38, socket.SOCK_SEQPACKET, 0)),
    "raw": attempt(lambda: socket.socket(2, socket.SOCK_RAW, 1)),
    "loopback": attempt(lambda: socket.create_server(("127.0.0.1", 0))),
    "mptcp": attempt(lambda: socket.socket(2, socket.SOCK_STREAM, 262)),
}
try: socket.getaddrinfo("example.org", 80); seen["dns"] = "allowed"
except OSError: seen["dns"] = "refused"
left, right = socket.socketpair(); left.send(b"x"); seen["socketpair"] = right.recv(1).decode()
json.dump(seen, open("seen.json", "w"))
""",
        artifacts=[SEEN],
    )
    assert outcome.exit_code == 0, outcome.stderr.head
    assert seen(outcome, tmp_path) == {
        "tcp": "EPERM",
        "bridge": "EPERM",
        "metadata": "EPERM",
        "vsock": "EPERM",
        "netlink": "EPERM",
        "packet": "EPERM",
        "alg": "EPERM",
        "raw": "EPERM",
        "loopback": "EPERM",
        "mptcp": "EPERM",
        "dns": "refused",
        "socketpair": "x",
    }


def test_nothing_outside_the_workspace_can_be_written(run_code: RunCode, tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir(mode=0o755)
    (public / "train.csv").write_text("1\n")
    outcome = run_code(
        """
import errno, json, os
def attempt(action):
    try: action()
    except OSError as error: return errno.errorcode[error.errno]
    return "allowed"
seen = [attempt(lambda: open(path, "w")) for path in
        ("/evil", "/etc/passwd", "/usr/evil", "/workspace/../evil", "/proc/sys/kernel/core_pattern", "data/train.csv")]
seen += [attempt(lambda: os.unlink("data/train.csv")), attempt(lambda: os.mknod("b", 0o60600, os.makedev(8, 0))),
         attempt(lambda: os.chroot("/tmp")), attempt(lambda: os.setuid(0))]
print(open("data/train.csv").read())
json.dump(seen, open("seen.json", "w"))
""",
        artifacts=[SEEN],
        mounts=(Mount(public, PurePosixPath("/workspace/data")),),
    )
    assert outcome.exit_code == 0, outcome.stderr.head
    assert outcome.stdout.head == b"1\n\n"
    assert "allowed" not in seen(outcome, tmp_path)  # type: ignore[operator]
    assert (public / "train.csv").read_text() == "1\n"
    assert [path.name for path in public.iterdir()] == ["train.csv"]


def test_filling_the_disk_is_an_error_of_the_solution(run_code: RunCode) -> None:
    outcome = run_code("block = bytes(1 << 20)\nfor n in range(999):\n    open(f'f{n}', 'wb').write(block)")
    assert (outcome.ended, outcome.exit_code) == ("exited", 1)
    assert b"No space left on device" in outcome.stderr.head


def test_filling_inodes_is_an_error_of_the_solution(run_code: RunCode) -> None:
    outcome = run_code("for n in range(10**6):\n    open(str(n), 'w').close()")
    assert (outcome.ended, outcome.exit_code) == ("exited", 1)
    assert b"No space left on device" in outcome.stderr.head


def test_a_fork_bomb_ends_at_its_deadline(run_code: RunCode) -> None:
    outcome = run_code("import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", timeout_s=1)
    assert (outcome.ended, outcome.exit_code) == ("timeout", None)
    assert outcome.wall_s < stretched(6)


def test_a_memory_hog_is_killed_for_memory(run_code: RunCode) -> None:
    outcome = run_code("held = []\nwhile True: held.append(bytearray(b'x') * (1 << 20))")
    assert (outcome.ended, outcome.exit_code) == ("out_of_memory", None)


def test_a_child_killed_for_memory_is_not_the_step_s_end(run_code: RunCode) -> None:
    outcome = run_code(
        """
import os
child = os.fork()
if child == 0:
    held = []
    while True: held.append(bytearray(b'x') * (1 << 20))
os.waitpid(child, 0)
"""
    )
    assert (outcome.ended, outcome.exit_code) == ("exited", 0)


def test_killing_itself_is_not_out_of_memory(run_code: RunCode) -> None:
    outcome = run_code("import os; os.kill(os.getpid(), 9)")
    assert (outcome.ended, outcome.exit_code) == ("exited", 137)


def test_ignored_signals_and_orphans_end_with_the_deadline(run_code: RunCode) -> None:
    marker = f"marker-{os.urandom(6).hex()}"
    code = f"""
import os, signal, sys, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("python3", ["python3", "-c", "import time; time.sleep(600)", "{marker}"])
os.close(1); os.close(2)
while True: time.sleep(1)
"""
    outcome = run_code(code, timeout_s=1)
    assert outcome.ended == "timeout"
    assert outcome.wall_s < stretched(6)
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if marker.encode() in _read(path)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_orphans_end_with_their_solution(run_code: RunCode, tmp_path: Path) -> None:
    outcome = run_code(
        """
import os, time
open("submission.csv", "w").write("first")
if os.fork() == 0:
    os.setsid()
    time.sleep(25)
    open("submission.csv", "w").write("later")
    os._exit(0)
"""
    )
    assert (outcome.ended, outcome.exit_code) == ("exited", 0)
    assert outcome.wall_s < 25
    assert (tmp_path / "out" / "submission.csv").read_text() == "first"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.symlink('/etc/passwd', 'submission.csv')", "not a regular file"),
        ("open('real', 'w').write('x'); os.symlink('real', 'submission.csv')", "not a regular file"),
        ("os.mkfifo('submission.csv')", "not a regular file"),
        ("os.mkdir('submission.csv')", "not a regular file"),
        ("socket.socket(socket.AF_UNIX).bind('submission.csv')", "not a regular file"),
        ("open('submission.csv', 'wb').write(bytes(4097))", "too large"),
        ("os.truncate(os.open('submission.csv', os.O_CREAT | os.O_RDWR), 16 << 20)", "too large"),
        ("os.close(os.open('submission.csv', os.O_CREAT | os.O_RDWR, 0))", "unreadable"),
        ("os.chmod('/workspace', 0)", "unreadable"),
        ("pass", "missing"),
    ],
    ids=["host-link", "link", "fifo", "folder", "socket", "large", "sparse", "no-mode", "no-workspace", "missing"],
)
def test_only_regular_files_under_their_cap_are_copied(
    run_code: RunCode, tmp_path: Path, code: str, reason: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "submission.csv").write_text("of an earlier attempt")
    outcome = run_code(f"import os, socket\n{code}")
    rejected = outcome.artifacts["submission.csv"]
    assert isinstance(rejected, RejectedArtifact)
    assert rejected.reason == reason, (rejected, outcome.stderr.head)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_swapped_for_a_link_leads_nowhere(run_code: RunCode) -> None:
    request = ArtifactRequest("logs/passwd", 10**6)
    outcome = run_code("import os; os.symlink('/etc', 'logs')", artifacts=[request])
    rejected = outcome.artifacts["logs/passwd"]
    assert isinstance(rejected, RejectedArtifact)
    assert rejected.reason == "not a regular file"


def test_a_hard_link_to_the_image_or_a_mount_cannot_be_made(run_code: RunCode, tmp_path: Path) -> None:
    public = tmp_path / "public"
    public.mkdir(mode=0o755)
    (public / "labels").write_text("1")
    outcome = run_code(
        "import os\nfor p in ('/etc/passwd', 'data/labels'):\n"
        "    try: os.link(p, 'submission.csv')\n    except OSError as e: print(e.strerror)",
        mounts=(Mount(public, PurePosixPath("/workspace/data")),),
    )
    assert isinstance(outcome.artifacts["submission.csv"], RejectedArtifact)
    assert outcome.stdout.head.count(b"\n") == 2


def test_a_terabyte_of_nothing_is_refused(run_code: RunCode) -> None:
    outcome = run_code("import os; os.truncate(os.open('submission.csv', os.O_CREAT | os.O_RDWR), 1 << 40)")
    assert outcome.exit_code == 1
    assert b"File too large" in outcome.stderr.head


def test_a_copied_artifact_is_private_whole_and_hashed(run_code: RunCode, tmp_path: Path) -> None:
    outcome = run_code(
        "import os; os.makedirs('a/b'); open('a/b/big', 'wb').write(bytes(range(256)) * 40000)",
        artifacts=[ArtifactRequest("a/b/big", 16 << 20)],
    )
    data = bytes(range(256)) * 40000
    path = tmp_path / "out" / "a" / "b" / "big"
    copied = outcome.artifacts["a/b/big"]
    assert isinstance(copied, Artifact)
    assert (copied.path, copied.size_bytes) == (path, len(data))
    assert copied.sha256 == hashlib.sha256(data).hexdigest()
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in path.parent.iterdir()] == ["big"]


def test_a_flood_is_counted_and_hashed_but_not_kept(run_code: RunCode) -> None:
    outcome = run_code("import os\nfor _ in range(320):\n    os.write(1, b'x' * 65536)\nos.write(2, b'end')")
    everything = b"x" * 65536 * 320
    assert outcome.exit_code == 0
    assert outcome.stdout.total_bytes == len(everything)
    assert outcome.stdout.sha256 == hashlib.sha256(everything).hexdigest()
    assert len(outcome.stdout.head) == len(outcome.stdout.tail) == 65536
    assert outcome.stderr.head == b"end"


def test_an_endless_flood_without_a_newline_ends_at_its_deadline(run_code: RunCode) -> None:
    limits = replace(SMALL, output_mib=1 << 20)
    outcome = run_code("import os\nwhile True: os.write(1, b'x' * 65536)", timeout_s=1, limits=limits)
    assert outcome.ended == "timeout"
    assert outcome.wall_s < stretched(6)
    assert outcome.stdout.total_bytes > 10**6


def test_raw_bytes_and_strange_names_arrive_as_data_or_not_at_all(run_code: RunCode, tmp_path: Path) -> None:
    outcome = run_code(
        r"""
import os
os.write(1, b"ready\nbegin\n\x1b]0;owned\x07\xff\xfe\r[score] 1.0\n")
for name in (b"a\nb", b"\xff\xfe", b"\x1b[2J", b"-rf", b"..."):
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
open("submission.csv", "w").write("mA")
"""
    )
    assert outcome.exit_code == 0, outcome.stderr.head
    assert outcome.stdout.head == b"ready\nbegin\n\x1b]0;owned\x07\xff\xfe\r[score] 1.0\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["submission.csv"]


def test_the_reader_is_out_of_reach(run_code: RunCode, tmp_path: Path) -> None:
    outcome = run_code(
        """
import json, os
processes = [open(f"/proc/{n}/cmdline").read() for n in os.listdir("/proc") if n.isdigit()]
json.dump([text for text in processes if "reader" in text], open("seen.json", "w"))
os.kill(-1, 9)
""",
        artifacts=[SEEN],
    )
    assert outcome.exit_code == 137 or outcome.ended == "exited"
    assert seen(outcome, tmp_path) == []


def test_a_tree_too_deep_for_recursion_is_discarded(run_code: RunCode) -> None:
    outcome = run_code("import os\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')\nprint('deep')")
    assert outcome.stdout.head == b"deep\n", outcome.stderr.head


def test_steps_share_nothing(run_code: RunCode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret-of-the-host")
    leave = "for f in ('note', '/tmp/note', '/dev/shm/note'): open(f, 'w').write('x')"
    look = "import glob, os; print(glob.glob('/*/note') + glob.glob('/dev/shm/*'), 'secret' in str(os.environ))"
    assert run_code(leave, artifacts=()).exit_code == 0
    assert run_code(look, artifacts=()).stdout.head == b"[] False\n"


def test_the_exit_code_is_the_solution_s(run_code: RunCode) -> None:
    outcome = run_code("raise SystemExit(3)", artifacts=[SUBMISSION])
    assert (outcome.ended, outcome.exit_code) == ("exited", 3)


def test_pages_of_the_image_cannot_be_dropped_as_a_message_to_the_next_step(run_code: RunCode) -> None:
    """Which pages of a shared file are in memory outlives a step, and anybody can count the faults that tell."""
    outcome = run_code(
        """
import ctypes, errno, os, sys
file = os.open(sys.executable, os.O_RDONLY)
library = ctypes.CDLL(None, use_errno=True)
for advice in (os.POSIX_FADV_WILLNEED, os.POSIX_FADV_DONTNEED, os.POSIX_FADV_DONTNEED | 1 << 32):
    failed = library.syscall(221, file, 0, 0, ctypes.c_long(advice)) if os.uname().machine == "x86_64" \
        else library.syscall(223, file, 0, 0, ctypes.c_long(advice))
    print(errno.errorcode[ctypes.get_errno()] if failed else "allowed")
"""
    )
    assert outcome.stdout.head == b"allowed\nEPERM\nEPERM\n", outcome.stderr.head


def test_new_namespaces_and_debugging_are_refused(run_code: RunCode) -> None:
    outcome = run_code(
        """
import ctypes, os
library = ctypes.CDLL(None, use_errno=True)
def call(function, *arguments):
    return 0 if getattr(library, function)(*arguments) == -1 else 1
allowed = call("unshare", 0x10000000) + call("ptrace", 16, os.getppid(), 0, 0)
allowed += call("mount", 0, b"/tmp", b"tmpfs", 0, 0)
print(allowed, ctypes.get_errno())
"""
    )
    assert outcome.stdout.head == b"0 1\n", outcome.stderr.head


def test_the_walls_cost_a_solution_what_the_security_page_says(run_code: RunCode, tmp_path: Path) -> None:
    outcome = run_code(
        """
import asyncio, fcntl, getpass, json, multiprocessing, os, pwd, socket, sqlite3
def works(action):
    try: action()
    except (OSError, KeyError): return False
    return True
def lock_twice():
    with open("lock", "w") as first, open("lock", "w") as second:
        for file in (first, second): fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
async def run_true():
    return await (await asyncio.create_subprocess_exec("true")).wait()
json.dump({
    "works": [works(action) for action in (
        lock_twice, getpass.getuser, lambda: asyncio.run(run_true()), lambda: multiprocessing.Pool(2).map(abs, [1, 2]),
        lambda: socket.socket(socket.AF_UNIX).bind("socket"), lambda: sqlite3.connect("a.db").execute("create table t(a)"),
        lambda: socket.getaddrinfo("127.0.0.1", 80))],
    "fails": [works(action) for action in (
        os.getloadavg, lambda: os.eventfd(0), os.openpty, socket.if_nameindex, lambda: pwd.getpwuid(os.getuid()),
        lambda: socket.create_server(("127.0.0.1", 0)), lambda: socket.getaddrinfo("example.org", 80))],
    "memory_kib": int(open("/proc/meminfo").readline().split()[1]),
}, open("seen.json", "w"))
""",
        artifacts=[SEEN],
    )
    assert outcome.exit_code == 0, outcome.stderr.head
    granted_kib = (SMALL.memory_mib + SMALL.workspace_mib + SMALL.tmp_mib + SMALL.shm_mib) << 10
    assert seen(outcome, tmp_path) == {"works": [True] * 7, "fails": [False] * 7, "memory_kib": granted_kib}
