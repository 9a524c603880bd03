"""Tries, from inside a container, what its hardening must prevent, and writes down what happened.

Writes `witness.json` into the working directory: facts only; `aira_bench.sandbox.probe` judges them on the host.
An attempt's outcome is `allowed` or the name of the error. Dangerous attempts run in a child process.

Not covered: attacks on the kernel itself.
"""

import ctypes
import errno
import fcntl
import json
import os
import platform
import resource
import signal
import socket
import sys
from collections.abc import Callable

MIB = 1 << 20
FAMILIES = {"AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16, "AF_PACKET": 17, "AF_ALG": 38, "AF_VSOCK": 40}
SO_COOKIE = 57
COUNTERS = (
    "/proc/vmstat", "/proc/zoneinfo", "/proc/buddyinfo", "/proc/loadavg", "/proc/interrupts", "/proc/softirqs",
    "/proc/uptime", "/proc/locks", "/proc/slabinfo", "/proc/kallsyms", "/proc/config.gz", "/proc/diskstats",
    "/proc/key-users", "/proc/pressure/cpu", "/proc/sys/fs/file-nr", "/proc/sys/fs/inode-nr",
    "/proc/sys/fs/dentry-state", "/proc/sys/kernel/pty/nr", "/proc/sys/kernel/random/entropy_avail",
    "/proc/sys/vm/stat_refresh", "/sys/kernel/slab", "/sys/fs/erofs", "/sys/fs/cgroup", "/sys/block", "/sys/class",
    "/sys/module", "/sys/devices/system/node", "/sys/devices/system/cpu/cpu0/cpuidle",
)  # fmt: skip
"""What all containers of a machine count together; untrusted ones see none of it."""
DEVICES = ("nvidia", "dri", "kfd", "dxg")
"""What the names of GPUs' files in /dev begin with. The probe's container gets none."""
PATHS = (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/hidden",
    "/raw",
    "/task",
    "/output",
)
# Number on x86-64, number on arm64, arguments that are harmless where the call is allowed.
SYSCALLS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "ptrace": (101, 117, (0, 0, 0, 0)),
    "process_vm_readv": (310, 270, (1, 0, 0, 0, 0, 0)),
    "kcmp": (312, 272, (1, 1, 0, 0, 0)),
    "pidfd_getfd": (438, 438, (-1, 0, 0)),
    "io_uring_setup": (425, 425, (1, 0)),
    "keyctl": (250, 219, (0, -3, 0)),
    "add_key": (248, 217, (0, 0, 0, 0, -2)),
    "bpf": (321, 280, (0, 0, 0)),
    "perf_event_open": (298, 241, (0, 0, -1, -1, 0)),
    "userfaultfd": (323, 282, (1,)),
    "unshare": (272, 97, (0x10000000,)),
    "setns": (308, 268, (-1, 0)),
    "mount": (165, 40, (0, 0, 0, 0, 0)),
    "mq_open": (240, 180, (0, 0, 0, 0)),
    "pidfd_open": (434, 434, (1, 0)),
    "mlock": (149, 228, (0, 0)),
    "munlockall": (152, 231, ()),
    "inotify_init1": (294, 26, (0,)),
    "sysinfo": (99, 179, (0,)),
    "readahead": (187, 213, (-1, 0, 0)),
    "mknodat of a file": (259, 33, (-100, 0, 0o100600, 0)),
    "madvise to page out": (28, 233, (0, 0, 21)),
    "madvise to join pages": (28, 233, (0, 0, 25)),
    "madvise to merge pages": (28, 233, (0, 0, 12)),
    "prctl to merge pages": (157, 167, (67, 0, 0, 0, 0)),
    "mmap of huge pages": (9, 222, (0, 2 * MIB, 3, 0x40022, -1, 0)),
    "mmap of locked pages": (9, 222, (0, 4096, 3, 0x2022, -1, 0)),
    "memfd_create of huge pages": (319, 279, (0, 4)),
    "shmget of huge pages": (29, 194, (0, 0, 0o5600)),
    "shmctl to lock pages": (31, 195, (-1, 11, 0)),
    "eventfd2": (290, 19, (0, 0)),
    "fadvise64 to drop pages": (221, 223, (-1, 0, 0, 4)),
    "preadv2 without waiting": (327, 286, (-1, 0, 0, 0, 0, 8)),
    "mincore": (27, 232, (0, 0, 0)),
    "cachestat": (451, 451, (-1, 0, 0, 0)),
    "splice": (275, 76, (-1, 0, -1, 0, 0, 0)),
    "io_setup": (206, 0, (0, 0)),
    "ioctl of a file system": (16, 29, (-1, 0x80086601, 0)),
    "fcntl for a lease": (72, 25, (-1, 1024, 0)),
    "setsockopt of an unlisted option": (54, 208, (-1, 1, 46, 0, 0)),
    "pidfd_send_signal": (424, 424, (-1, 0, 0, 0)),
    # Together with what the kernel refuses itself, so that no process is made.
    "clone with a user namespace": (56, 220, (0x10000000 | 0x200, 0, 0, 0, 0)),
    "clone with a pidfd": (56, 220, (0x1000 | 0x100000, 0, 0, 0, 0)),
    "clone3": (435, 435, (0, 0)),
    "name_to_handle_at": (303, 264, (-1, 0, 0, 0, 0)),
}


def attempt(action: Callable[[], object]) -> str:
    """Do something that should fail; say how it went."""
    try:
        action()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error.errno))
    return "allowed"


def in_child(action: Callable[[], str]) -> str:
    """Run an attempt in a child, whose death is an outcome too."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, action().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        outcome = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    return outcome or f"killed by signal {os.WTERMSIG(status)}"


def raw_call(number: int, arguments: tuple[int, ...]) -> str:
    """Make one system call."""
    library = ctypes.CDLL(None, use_errno=True)
    result = library.syscall(ctypes.c_long(number), *(ctypes.c_long(value) for value in arguments))
    return "allowed" if result != -1 else errno.errorcode.get(ctypes.get_errno(), "unknown")


def syscalls() -> dict[str, str]:
    """Outcome of each forbidden system call."""
    column = {"x86_64": 0, "aarch64": 1}[platform.machine()]
    outcomes = {}
    for name, call in SYSCALLS.items():
        number, arguments = (call[0], call[1])[column], call[2]
        outcomes[name] = in_child(lambda number=number, arguments=arguments: raw_call(number, arguments))  # type: ignore[misc]
    return outcomes


def open_socket(family: int) -> None:
    """Make a socket of a family, of whichever kind it knows."""
    kind = socket.SOCK_SEQPACKET if family == FAMILIES["AF_ALG"] else socket.SOCK_STREAM
    if family in (FAMILIES["AF_NETLINK"], FAMILIES["AF_PACKET"]):
        kind = socket.SOCK_RAW
    socket.socket(family, kind, 0).close()


def connect_out() -> None:
    """Reach for an address of the documentation range."""
    with socket.socket() as attempt_socket:
        attempt_socket.settimeout(1)
        attempt_socket.connect(("192.0.2.1", 80))


def locks() -> dict[str, str]:
    """Return how taking a lock went that another descriptor of the same file holds, and asking who holds one."""
    with open(sys.argv[0]) as first, open(sys.argv[0]) as second:  # noqa: PTH123
        fcntl.flock(first, fcntl.LOCK_EX)
        flock = attempt(lambda: fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB))
        fcntl.lockf(first, fcntl.LOCK_SH)
        asked = attempt(lambda: fcntl.fcntl(second, 5, bytes(32)))  # F_GETLK
    return {"flock held by another": flock, "asking for locks": asked}


def cookie() -> None:
    """Ask for a socket's number, of which the kernel has one row for all."""
    with socket.socket(socket.AF_UNIX) as own:
        own.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)


def shows_something(path: str) -> bool:
    """Whether a file of the kernel can be read and holds a byte, or a folder an entry."""
    try:
        if os.path.isdir(path):  # noqa: PTH112
            return bool(os.listdir(path))  # noqa: PTH208
        with open(path, "rb") as file:  # noqa: PTH123
            return bool(file.read(1))
    except OSError:
        return False


def interfaces() -> list[str]:
    """Network interfaces of the container."""
    with open("/proc/self/net/dev") as file:  # noqa: PTH123
        return sorted(line.split(":")[0].strip() for line in file if ":" in line)


def fill(folder: str, limit_mib: int) -> dict[str, object]:
    """Write until the folder is full, at most four times its cap; then clean up."""
    path, written, outcome = f"{folder}/fill", 0, "allowed"
    block = bytes(MIB // 4)
    names: list[str] = []
    try:
        # Several files, so that the cap met is the folder's and not the file size limit's.
        while written < 4 * limit_mib * MIB:
            names.append(f"{path}{len(names)}")
            descriptor = os.open(names[-1], os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                written += os.write(descriptor, block)
            finally:
                os.close(descriptor)
    except OSError as error:
        outcome = errno.errorcode[error.errno or 0]
    for name in names:
        os.unlink(name)  # noqa: PTH108
    return {"outcome": outcome, "mib": written / MIB, "inodes": os.statvfs(folder).f_files}


def fork_until_refused(most: int) -> dict[str, object]:
    """Start idle children until it fails; then end them."""
    children: list[int] = []
    outcome = "allowed"
    try:
        while len(children) < most:
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except OSError as error:
        outcome = errno.errorcode[error.errno or 0]
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return {"outcome": outcome, "children": len(children)}


def hog_memory(most_mib: int) -> str:
    """Touch memory without end; only the kernel should stop it."""
    held = []
    for _ in range(most_mib // 4):
        held.append(bytearray(os.urandom(64)) * (4 * MIB // 64))
    return "allowed"


def lowered_oom_score() -> int:
    """Try to become a worse victim than the host's services; read back what holds."""
    path = "/proc/self/oom_score_adj"
    descriptor = os.open(path, os.O_RDWR)
    try:
        attempt(lambda: os.write(descriptor, b"-500"))
    finally:
        os.close(descriptor)
    with open(path) as file:  # noqa: PTH123
        return int(file.read())


def process_status() -> dict[str, str]:
    """Return the lines of the process's status that speak of privileges."""
    wanted = {"CapEff", "CapBnd", "CapPrm", "CapAmb", "NoNewPrivs", "Seccomp"}
    with open("/proc/self/status") as file:  # noqa: PTH123
        pairs = (line.split(":", 1) for line in file)
        return {name: value.strip() for name, value in pairs if name in wanted}


def mount_options() -> dict[str, list[str]]:
    """Options of every mount point."""
    with open("/proc/self/mounts") as file:  # noqa: PTH123
        return {line.split()[1]: line.split()[3].split(",") for line in file}


def create_file(path: str) -> None:
    """Create a file and close it again."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def witness(workspace_mib: int, tmp_mib: int, shm_mib: int, pids: int, memory_mib: int) -> dict[str, object]:
    """Run every check in this container; return what was seen by the check's name, ready for JSON."""
    return {
        "kernel": list(os.uname()[2:4]),
        "environment": dict(os.environ),
        "interfaces": interfaces(),
        "locks": locks(),
        "cookie": attempt(cookie),
        "terminal": attempt(lambda: os.close(os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY))),
        "counters": [path for path in COUNTERS if shows_something(path)],
        "connect": attempt(connect_out),
        "families": {
            name: attempt(lambda family=family: open_socket(family))  # type: ignore[misc]
            for name, family in FAMILIES.items()
        },
        "syscalls": syscalls(),
        "status": process_status(),
        "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid()],
        "groups": os.getgroups(),
        "writes": {
            folder: attempt(lambda folder=folder: create_file(f"{folder}/probe"))  # type: ignore[misc]
            for folder in ("", "/etc", "/usr", "/var")
        },
        "core_pattern": attempt(lambda: os.close(os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY))),
        "root_read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
        "mounts": mount_options(),
        "present": [path for path in PATHS if os.path.lexists(path)],
        "devices": sorted(name for name in os.listdir("/dev") if name.startswith(DEVICES)),  # noqa: PTH208
        "limits": {
            "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
            "core": resource.getrlimit(resource.RLIMIT_CORE),
            "fsize": resource.getrlimit(resource.RLIMIT_FSIZE),
        },
        "oom_score_adj": lowered_oom_score(),
        "affinity": sorted(os.sched_getaffinity(0)),
        "processes": sum(name.isdigit() for name in os.listdir("/proc")),  # noqa: PTH208
        "workspace": fill(os.getcwd(), workspace_mib),  # noqa: PTH109
        "tmp": fill("/tmp", tmp_mib),
        "shm": fill("/dev/shm", shm_mib),
        "pids": fork_until_refused(4 * pids),
        "memory": in_child(lambda: hog_memory(2 * memory_mib)),
    }


if __name__ == "__main__":
    report = json.dumps(witness(*(int(argument) for argument in sys.argv[1:])))
    with open("witness.json", "w") as output:  # noqa: PTH123
        output.write(report)
