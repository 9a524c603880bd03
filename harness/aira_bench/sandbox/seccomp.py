"""The system calls that containers may make: one list, from which the profile of each kind of container is made.

An allow-list for 64-bit calls; a 32-bit call ends the process, which also closes socketcall. Absent on purpose:
ptrace, process_vm_*, kcmp, pidfd_getfd, userfaultfd, bpf, perf_event_open, io_uring_*, aio, add_key, keyctl,
request_key, mq_*, splice, tee, vmsplice, mincore and cachestat (which probe the page cache), namespaces, mounts,
clocks, modules, swap.

Trusted containers run our code and task authors' scripts. Untrusted ones run an agent's, and get less: what reaches a
table or a counter that all containers of a machine share would carry messages from one that saw hidden data to
another. A call that libraries need for themselves alone, a file lock, is answered with success and has no effect.

Not covered: files of the kernel (`aira_bench.sandbox.kernel_files`), and what no filter can see: names, pages, time.
"""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import product
from typing import Any, Literal

Kind = Literal["trusted", "untrusted", "untrusted with a GPU"]

EPERM, ENOSYS = 1, 38

FILES = """
access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fallocate fchdir
fchmod fchmodat fchmodat2 fchown fchownat fdatasync fgetxattr flistxattr fremovexattr fsetxattr fstat fstatfs fsync
ftruncate futimesat getcwd getdents getdents64 getxattr lchown lgetxattr link linkat listxattr llistxattr lremovexattr
lseek lsetxattr lstat mkdir mkdirat newfstatat open openat openat2 pread64 preadv pwrite64 pwritev read readlink
readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr stat statfs statx symlink symlinkat sync
sync_file_range syncfs truncate umask unlink unlinkat utime utimensat utimes write writev
"""
MEMORY = """
brk map_shadow_stack membarrier mprotect mremap mseal msync munmap pkey_alloc pkey_free pkey_mprotect
remap_file_pages
"""
PROCESSES = """
arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue futex_wait futex_waitv futex_wake
get_robust_list get_thread_area getcpu getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority
getresgid getresuid getrlimit getrusage getsid gettid getuid ioprio_get ioprio_set kill pause prlimit64
restart_syscall rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr
sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups
setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setuid sigaltstack tgkill tkill vfork wait4
waitid
"""
TIME_AND_EVENTS = """
alarm clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2
epoll_wait getitimer gettimeofday nanosleep pipe pipe2 poll ppoll pselect6 select setitimer signalfd
signalfd4 time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
timerfd_settime times
"""
OWN_IPC_NAMESPACE = "semctl semget semop semtimedop shmat shmdt"
MACHINE = "getrandom uname"
SOCKETS = """
accept accept4 bind connect getpeername getsockname listen recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto shutdown
"""
EVERYBODY = (FILES, MEMORY, PROCESSES, TIME_AND_EVENTS, OWN_IPC_NAMESPACE, MACHINE, SOCKETS)

TRUSTED_ONLY = """
fcntl flock getsockopt inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl madvise memfd_create mknod
mknodat mmap pidfd_open pidfd_send_signal prctl preadv2 pwritev2 readahead setsockopt shmctl shmget sysinfo
"""
EVENT_COUNTERS = "eventfd eventfd2"
"""Numbered over the whole machine, lowest free number first, as /proc/self/fdinfo tells. GPU drivers need them."""
LOCKED_MEMORY = "mlock mlock2 mlockall munlock munlockall"
"""Counted for the whole machine. Pinned host buffers of GPUs may need it; there masks alone hide the counters."""

ADVICE_ON_FILES = (0, 1, 2, 3)
"""NORMAL, RANDOM, SEQUENTIAL, WILLNEED; not DONTNEED, as dropping chosen pages of the image leaves a message."""
ADVICE_ON_MEMORY = (0, 1, 2, 3, 4, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 22, 23, 24)
"""All but COLD and PAGEOUT (20, 21), which drop pages that others share, COLLAPSE (25), which joins them for all, and
MERGEABLE and UNMERGEABLE (12, 13), by which the kernel merges equal pages of all processes, and tells that it did."""
FILE_COMMANDS = (0, 1, 2, 3, 4, 1030, 1031, 1032, 1033, 1034)
"""DUPFD, GETFD, SETFD, GETFL, SETFL, DUPFD_CLOEXEC, sizes of pipes, seals; no owner, lease or notification."""
LOCK_COMMANDS = (6, 7, 37, 38)
"""SETLK, SETLKW, OFD_SETLK, OFD_SETLKW. GETLK and OFD_GETLK are refused."""
SOCKET_OPTIONS = (2, 3, 4, 7, 8, 9, 13, 16, 17, 18, 19, 20, 21, 30, 38, 39, 66, 67)
"""REUSEADDR, TYPE, ERROR, SNDBUF, RCVBUF, KEEPALIVE, LINGER, PASSCRED, PEERCRED, low-water marks, timeouts,
ACCEPTCONN, PROTOCOL, DOMAIN of the level SOCKET; no COOKIE, MEMINFO, INCOMING_CPU, PEERPIDFD."""
TERMINAL_REQUESTS, REQUEST_CLASS = 0x5400, 0xFF00
"""The requests of ioctl that libraries make: terminals, FIONREAD, FIONBIO, FIOCLEX. File systems have others, which
tell what the kernel holds of a file."""
FIFO, FILE_TYPE = 0o010000, 0o170000
MAP_LOCKED, MAP_HUGETLB, MFD_HUGETLB, SHM_HUGETLB = 0x2000, 0x40000, 4, 0o4000
"""Huge pages come from one pool of the machine's, where there is one."""
SEGMENT_COMMANDS = (0, 1, 2, 3, 13, 14, 15)
"""RMID, SET, and what describes shared segments of the container's own; not LOCK and UNLOCK (11, 12)."""
SET_MEMORY_MERGE = 67
NEW_NAMESPACES = 0x7E020000
CLONE_PIDFD = 0x1000
UNIX, INET, INET6 = 1, 2, 10
STREAM, DATAGRAM, SOCKET_TYPE = 1, 2, 0xF
NO_PROTOCOL, TCP, UDP = 0, 6, 17

Rule = dict[str, Any]
"""One entry of `syscalls` in the Engine API's terms."""


@cache
def seccomp_profile(kind: Kind) -> str:
    """Return the profile as the engine takes it: content, not a path."""
    architectures = ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": EPERM,
            "archMap": [{"architecture": name, "subArchitectures": []} for name in architectures],
            "syscalls": [*_everybody(), *(_trusted() if kind == "trusted" else _untrusted(gpu=kind != "untrusted"))],
        }
    )


def _everybody() -> list[Rule]:
    return [
        _allow(" ".join(EVERYBODY).split()),
        *(_allow(["fadvise64"], _equal(3, advice)) for advice in ADVICE_ON_FILES),
        _allow(["socket", "socketpair"], _equal(0, UNIX)),
        # The flags of clone3 lie in memory, where a filter cannot look; ENOSYS makes the C library use clone.
        {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
    ]


def _trusted() -> list[Rule]:
    protocols = ((STREAM, NO_PROTOCOL), (STREAM, TCP), (DATAGRAM, NO_PROTOCOL), (DATAGRAM, UDP))
    return [
        _allow(TRUSTED_ONLY.split()),
        _allow([*LOCKED_MEMORY.split(), *EVENT_COUNTERS.split()]),
        _allow(["clone"], _masked(0, NEW_NAMESPACES, 0)),
        # Loopback by TCP and UDP; MPTCP, SCTP, UDP-Lite and ICMP are other protocols of the same families.
        *(
            _allow(["socket"], _equal(0, family), _masked(1, SOCKET_TYPE, kind), _equal(2, protocol))
            for family, (kind, protocol) in product((INET, INET6), protocols)
        ),
    ]


def _untrusted(*, gpu: bool) -> list[Rule]:
    devices = [_allow(["ioctl"]), _allow([*LOCKED_MEMORY.split(), *EVENT_COUNTERS.split(), "mmap"])]
    no_devices = [
        _allow(["ioctl"], _masked(1, REQUEST_CLASS, TERMINAL_REQUESTS)),
        _allow(["mmap"], _masked(3, MAP_LOCKED | MAP_HUGETLB, 0)),
        # Programs that know an older kernel use pipes then.
        {"names": EVENT_COUNTERS.split(), "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
    ]
    return [
        *(devices if gpu else no_devices),
        *(_allow(["madvise"], _equal(2, advice)) for advice in ADVICE_ON_MEMORY),
        *(_allow(["fcntl"], _equal(1, command)) for command in FILE_COMMANDS),
        *(_pretend(["fcntl"], _equal(1, command)) for command in LOCK_COMMANDS),
        _pretend(["flock"]),
        _allow(["memfd_create"], _masked(1, MFD_HUGETLB, 0)),
        _allow(["shmget"], _masked(2, SHM_HUGETLB, 0)),
        *(_allow(["shmctl"], _equal(1, command)) for command in SEGMENT_COMMANDS),
        _allow(["prctl"], {"index": 0, "value": SET_MEMORY_MERGE, "op": "SCMP_CMP_NE"}),
        _allow(["mknod"], _masked(1, FILE_TYPE, FIFO)),
        _allow(["mknodat"], _masked(2, FILE_TYPE, FIFO)),
        # With flags these say whether a page is in memory (NOWAIT), or keep it out of there (DONTCACHE).
        _allow(["preadv2", "pwritev2"], _equal(5, 0)),
        *(_allow(["getsockopt", "setsockopt"], _equal(1, 1), _equal(2, option)) for option in SOCKET_OPTIONS),
        _allow(["clone"], _masked(0, NEW_NAMESPACES | CLONE_PIDFD, 0)),
    ]


def _allow(names: Iterable[str], *conditions: Rule) -> Rule:
    return {"names": sorted(names), "action": "SCMP_ACT_ALLOW", "args": _all(conditions)}


def _pretend(names: Iterable[str], *conditions: Rule) -> Rule:
    """Answer with success, and do nothing."""
    return {"names": sorted(names), "action": "SCMP_ACT_ERRNO", "errnoRet": 0, "args": _all(conditions)}


def _all(conditions: Sequence[Rule]) -> list[Rule]:
    indices = [condition["index"] for condition in conditions]
    assert len(set(indices)) == len(indices), "the engine takes two conditions on one argument as alternatives"
    return list(conditions)


def _equal(index: int, value: int) -> Rule:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def _masked(index: int, mask: int, value: int) -> Rule:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}
