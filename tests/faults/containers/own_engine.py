"""A Docker daemon of a test's own, which it may stop, kill and freeze without disturbing any other.

Needs root, `dockerd`, and the images of the machine's usual daemon, which are copied once.
"""

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_COMES_UP_S = 120.0
_CONTAINER = re.compile(r"[0-9a-f]{64}")


@dataclass
class OwnEngine:
    """One daemon, whose files lie below `root`."""

    root: Path
    _started: "subprocess.Popen[bytes] | None" = None

    @property
    def host(self) -> str:
        """What `DOCKER_HOST` is set to."""
        return f"unix://{self.root}/x.sock"

    @property
    def pid(self) -> int:
        """The daemon's, 0 if it does not run."""
        try:
            number = int((self.root / "pid").read_text())
            return number if _lives(number) and "dockerd" in Path(f"/proc/{number}/cmdline").read_text() else 0
        except (OSError, ValueError):
            return 0

    def start(self) -> None:
        """Start the daemon unless it runs, and wait until it answers."""
        self.root.mkdir(parents=True, exist_ok=True)
        ends_s = time.monotonic() + _COMES_UP_S
        while self.docker("version").returncode != 0:
            if time.monotonic() > ends_s:
                raise RuntimeError(f"the daemon did not come up; see {self.root}/log")
            if not self.pid and (self._started is None or self._started.poll() is not None):
                self._spawn()  # again, if it gave up: on a busy machine its containerd may come too late for it
            time.sleep(0.2)

    def _spawn(self) -> None:
        (self.root / "pid").unlink(missing_ok=True)
        with (self.root / "log").open("ab") as log:
            self._started = subprocess.Popen(
                # In a network of its own: a daemon without a bridge removes the machine's docker0 when it starts.
                ["unshare", "--net", "dockerd", f"--data-root={self.root}/data", f"--exec-root={self.root}/exec", "-H", self.host,
                 f"--pidfile={self.root}/pid", "--bridge=none", "--iptables=false"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def take_images(self, tags: list[str]) -> None:
        """Copy images from the usual daemon, unless they are here."""
        for tag in tags:
            if self.docker("image", "inspect", tag).returncode != 0:
                saved = subprocess.Popen(["docker", "save", tag], stdout=subprocess.PIPE)
                environment = os.environ | {"DOCKER_HOST": self.host}
                subprocess.run(["docker", "load"], stdin=saved.stdout, env=environment, check=True, capture_output=True)

    def signal(self, number: int) -> None:
        """Send the daemon a signal."""
        os.kill(self.pid, number)

    def away(self, number: int, seconds: float) -> None:
        """End the daemon by a signal, and start it again after some time."""
        pid = self.pid
        os.kill(pid, number)
        ends_s = time.monotonic() + seconds
        while _lives(pid) and time.monotonic() < ends_s + _COMES_UP_S:
            time.sleep(0.1)
        time.sleep(max(ends_s - time.monotonic(), 0.0))
        self.start()

    def frozen(self, seconds: float) -> None:
        """Let the daemon stand still for some time."""
        self.signal(signal.SIGSTOP)
        time.sleep(seconds)
        self.signal(signal.SIGCONT)

    def docker(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Call the docker command on this daemon."""
        command = ["docker", *arguments]
        environment = os.environ | {"DOCKER_HOST": self.host}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)

    def lines(self, *arguments: str) -> list[str]:
        """What the docker command prints."""
        return self.docker(*arguments).stdout.split("\n")[:-1]

    def working(self, program: str) -> str:
        """The container whose command names `program` now; empty if none does."""
        return next((container for container, _ in self._processes(program)), "")

    def pids(self, container: str, program: str) -> list[int]:
        """Processes of a container whose command names `program`, as this machine numbers them."""
        return [pid for found, pid in self._processes(program) if found == container]

    def _processes(self, program: str) -> Iterator[tuple[str, int]]:
        """Looked up in /proc: a command for each container would take longer than a step does."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().split(b"\0")
                if (command[0] == b"python3" and program.encode() in command) or command[1:2] == [program.encode()]:
                    container = _CONTAINER.search((folder / "cgroup").read_text())
                    if container and (self.root / "data" / "containers" / container[0]).exists():
                        yield container[0], int(folder.name)

    def left(self) -> list[str]:
        """All containers and volumes of ours."""
        containers = self.lines("ps", "-aq", "--filter", "label=aira-bench.owner")
        return containers + self.lines("volume", "ls", "-q", "--filter", "label=aira-bench.owner")


def _lives(pid: int) -> bool:
    """Whether a process runs; one of our own that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
