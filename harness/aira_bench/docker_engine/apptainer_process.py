"""One container of Apptainer as processes: started, fed, read, found again, killed.

Apptainer has no daemon. A container is a child of ours, and whoever looks for it later, another process after a crash
too, finds it by a number that it left. All of it dies with the first process of its process namespace, which is killed
from outside: the kernel then ends the rest, whatever it ignores.

Not covered: what it is told to do (`apptainer_command`).
"""

import contextlib
import os
import selectors
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from aira_bench.docker_engine.apptainer_command import BEGUN
from aira_bench.errors import SandboxError
from aira_bench.excerpts import LINE_CHARS

START_TIMEOUT_S = 60.0
_DEATH_S = 5.0
_PROC = Path("/proc")
_CHUNK_BYTES = 1 << 16
_FRAME = struct.Struct(">BxxxI")
_STDOUT, _STDERR = 1, 2
_MOST_SAID = 1 << 16
_SIGNAL_STATUS = 128
_POLL_S = 0.02
_START_TIME = 19
"""Of the fields of `/proc/PID/stat` behind the name."""
_PASSED = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS",
    "APPTAINER_TMPDIR", "APPTAINER_CACHEDIR", "APPTAINER_CONFIGDIR",
)  # fmt: skip


def passed(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what Apptainer sees of an environment: APPTAINER_BIND and its like would open walls, and keys are none of
    its business.
    """
    return {name: environ[name] for name in _PASSED if name in environ}


@dataclass(frozen=True)
class HostProcess:
    """A process by its number and when it began, so that a reused number is not mistaken for it."""

    pid: int
    began: int

    @classmethod
    def of(cls, pid: int) -> "HostProcess | None":
        """Return the process that has a number now; None if there is none."""
        fields = _stat(pid)
        return None if fields is None else cls(pid, int(fields[_START_TIME]))

    @classmethod
    def told(cls, stat: str) -> "HostProcess":
        """Return the process that a line of `/proc/PID/stat` is of.

        Raises:
            ValueError: it is no such line, or not a whole one.
        """
        fields = stat.rpartition(")")[2].split()
        if len(fields) <= _START_TIME:
            raise ValueError(f"no line of /proc/PID/stat: {stat[:40]!r}")
        return cls(int(stat.split()[0]), int(fields[_START_TIME]))

    @property
    def lives(self) -> bool:
        """Whether it is there and has not ended, be it that its parent has not heard of that."""
        fields = _stat(self.pid)
        return fields is not None and int(fields[_START_TIME]) == self.began and fields[0] not in ("Z", "X")

    def kill(self) -> bool:
        """Send SIGKILL; return whether it was sent."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.lives:  # asked after the descriptor was had, which stays this process's
                return False
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        except ProcessLookupError:
            return False
        finally:
            os.close(descriptor)
        return True


def first_process(starter: int) -> HostProcess | None:
    """Return the first process of the process namespace that a descendant of a process has made; None without one."""
    parents: dict[int, list[int]] = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit() and (fields := _stat(int(folder.name))) is not None:
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    waiting = [starter]
    while waiting:
        pid = waiting.pop(0)
        if _is_first(pid):
            return HostProcess.of(pid)
        waiting += parents.get(pid, [])
    return None


def _is_first(pid: int) -> bool:
    """Whether it is number 1 in a process namespace below ours."""
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                return len(numbers) > 1 and numbers[-1] == "1"
    return False


def _stat(pid: int) -> list[str] | None:
    """Fields of `/proc/PID/stat` behind the name: state, parent, ..."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


class ApptainerProcess:
    """One container, made by `start`. Usable from several threads."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._ends: tuple[socket.socket, socket.socket] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._first: HostProcess | None = None
        self._begun = threading.Event()
        self._said = b""

    def attach(self) -> socket.socket:
        """Return a socket with the container's streams, as Docker multiplexes them. To be called before `start`."""
        self._ends = socket.socketpair()
        return self._ends[0]

    def start(self, environ: Mapping[str, str]) -> None:
        """Start it, and wait until its own program is about to run: what it mounts need not stay longer.

        Raises:
            SandboxError: it did not come up; with what Apptainer said.
        """
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=passed(environ),
            start_new_session=True, cwd="/",
        )  # fmt: skip
        self._process = process
        theirs = self._ends[1] if self._ends else None
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if theirs is None:
            process.stdin.close()
        else:
            self._thread(_feed, theirs, process.stdin)
        self._thread(self._read, theirs, process.stdout, process.stderr)
        if not self._begun.wait(START_TIMEOUT_S) or not self._said.endswith(BEGUN):
            self.kill()
            self.wait(_DEATH_S)
            said = " ".join(self._said.decode(errors="replace").strip().splitlines()[-1:]) or "it said nothing"
            raise SandboxError(f"Apptainer could not start a container: {said[:LINE_CHARS]}", hint="apptainer version")
        self._first = first_process(process.pid)

    @property
    def first(self) -> HostProcess | None:
        """The first process of the container, while it runs."""
        return self._first if self.is_running else None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int:
        """Its exit status once it has ended; 128 and the signal where one ended it."""
        code = self._process.poll() if self._process is not None else 0
        return 0 if code is None else _SIGNAL_STATUS - code if code < 0 else code

    def wait(self, timeout_s: float) -> bool:
        """Wait until all of it is dead; return whether it is by then."""
        if self._process is None:
            return True
        ends_s = time.monotonic() + timeout_s
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(timeout_s, 0.0))
        if self._process.poll() is None:
            return False
        # Somebody may have killed Apptainer's process alone: what it leaves is no container of anybody's.
        while self._first is not None and self._first.lives:
            self._first.kill()
            if time.monotonic() >= ends_s:
                return False
            time.sleep(_POLL_S)
        return True

    def kill(self) -> bool:
        """Send SIGKILL to the first process, with which all others die; return whether it was sent."""
        if self._process is None or self._process.poll() is not None:
            return False
        first = self._first or first_process(self._process.pid)
        if first is not None and first.kill():
            return True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
            return True
        return False

    def close(self) -> None:
        """Let go of its streams."""
        if self._ends is not None and self._process is None:
            for end in self._ends:
                end.close()

    @staticmethod
    def _thread(target: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=target, args=arguments, name="apptainer-streams", daemon=True).start()

    def _read(self, theirs: socket.socket | None, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        """Hand on what the container prints, in Docker's frames; nothing that Apptainer printed before it."""
        try:
            for stream, data in _pieces(stdout, stderr):
                told = data
                if not self._begun.is_set() and stream == _STDERR:
                    before, mark, told = (self._said + data).partition(BEGUN)
                    self._said = (before + mark)[-_MOST_SAID:]
                    if mark:
                        self._begun.set()
                    else:
                        continue
                if told and theirs is not None:
                    theirs.sendall(_FRAME.pack(stream, len(told)) + told)
        except OSError:  # whoever listened is gone
            pass
        finally:
            self._begun.set()
            stdout.close()
            stderr.close()
            if theirs is not None:
                with contextlib.suppress(OSError):
                    theirs.shutdown(socket.SHUT_RDWR)
                theirs.close()


def _pieces(stdout: IO[bytes], stderr: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """What comes of two pipes, until both are at their ends."""
    with selectors.DefaultSelector() as selector:
        selector.register(stdout, selectors.EVENT_READ, _STDOUT)
        selector.register(stderr, selectors.EVENT_READ, _STDERR)
        while selector.get_map():
            for key, _ in selector.select():
                if data := os.read(key.fd, _CHUNK_BYTES):
                    yield int(key.data), data
                else:
                    selector.unregister(key.fileobj)


def _feed(theirs: socket.socket, stdin: IO[bytes]) -> None:
    """Hand on what the container is sent, up to the end of it."""
    try:
        with stdin:
            while data := theirs.recv(_CHUNK_BYTES):
                stdin.write(data)
                stdin.flush()
    except (OSError, ValueError):  # it reads no more, or is gone
        pass
