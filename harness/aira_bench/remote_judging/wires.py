"""Ways to a judge node: a process whose standard input and output are the wire, started by ssh or held by a Ray actor.

`AIRA_SSH` is the command that stands for `ssh` (with options: `ssh -F FILE`), `AIRA_JUDGE_PROGRAM` what runs on the
node (`aira-bench judge serve`); an account whose key has a command forced runs that one whatever is asked for.

Not covered: what is said (`messages`), and which node is asked (`nodes`).
"""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import split
from typing import Any, Protocol

from aira_bench.errors import PrerequisiteError
from aira_bench.escaping import one_line
from aira_bench.excerpts import PROBLEM_CHARS
from aira_bench.launchers.ray_cluster import connect_ray

SSH, PROGRAM = "AIRA_SSH", "AIRA_JUDGE_PROGRAM"
_SSH_OPTIONS = ("-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15",
                "-o", "ServerAliveCountMax=4")  # fmt: skip
_PIECE_BYTES = 1 << 16
_LAST_WORDS_BYTES = 4096
_END_S = 2.0
_A_CALL_S = 30.0
"""Of Ray, beyond what was asked of the actor."""
_SHARE = 0.001
"""Of the custom resource for each connection: it names nodes, and what they bear at a time their cores decide."""


class WireBroken(Exception):
    """The program on a node is gone, or silent for too long; why, in one line."""


class Wire(Protocol):
    """Bytes to and from the program on a node."""

    def send(self, data: bytes, timeout_s: float) -> None:
        """Send all of it.

        Raises:
            WireBroken: the program is gone, or did not take it in time.
        """
        ...

    def receive(self, size: int, timeout_s: float) -> bytes:
        """Return the next `size` bytes.

        Raises:
            WireBroken: they do not come, or not in time.
        """
        ...

    def close(self) -> None:
        """End the program. Safe to call twice, and from another thread while one waits."""
        ...


class ProcessWire:
    """A process of this machine, such as ssh."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it.

        Raises:
            WireBroken: it cannot be started.
        """
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `close`
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._said, bufsize=0,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            self._said.close()
            raise WireBroken(f"{command[0]} cannot be started: {error.strerror}") from error
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        self._to, self._from = self._process.stdin, self._process.stdout
        os.set_blocking(self._to.fileno(), False)
        self._name = Path(command[0]).name

    def send(self, data: bytes, timeout_s: float) -> None:
        """Send all of it (`Wire.send`)."""
        left, ends_s = memoryview(data), time.monotonic() + timeout_s
        try:
            while left:
                if not select.select([], [self._to], [], max(ends_s - time.monotonic(), 0.0))[1]:
                    raise WireBroken(f"it took {len(data) - len(left)} of {len(data)} bytes in {timeout_s:.0f} s")
                left = left[os.write(self._to.fileno(), left[:_PIECE_BYTES]) :]
        except (OSError, ValueError) as error:
            raise WireBroken(self._ended()) from error

    def receive(self, size: int, timeout_s: float) -> bytes:
        """Return the next `size` bytes (`Wire.receive`)."""
        pieces, left, ends_s = [], size, time.monotonic() + timeout_s
        try:
            while left:
                if not select.select([self._from], [], [], max(ends_s - time.monotonic(), 0.0))[0]:
                    raise WireBroken(f"it said nothing for {timeout_s:.0f} s")
                piece = os.read(self._from.fileno(), min(left, _PIECE_BYTES))
                if not piece:
                    raise WireBroken(self._ended())
                pieces.append(piece)
                left -= len(piece)
        except (OSError, ValueError) as error:
            raise WireBroken(self._ended()) from error
        return b"".join(pieces)

    def close(self) -> None:
        """End the process: by the end of its input, and by a signal (`Wire.close`)."""
        with contextlib.suppress(OSError):
            self._to.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _ended(self) -> str:
        """How the process ended, with its last words."""
        try:
            status = f"ended with status {self._process.wait(_END_S)}"
        except subprocess.TimeoutExpired:
            status = "closed its output"
        with contextlib.suppress(OSError, ValueError):
            size = os.fstat(self._said.fileno()).st_size
            said = os.pread(self._said.fileno(), _LAST_WORDS_BYTES, max(0, size - _LAST_WORDS_BYTES))
            if words := one_line(said.decode("utf-8", "replace").strip().rpartition("\n")[2])[:PROBLEM_CHARS]:
                return f"{self._name} {status}: {words}"
        return f"{self._name} {status}"


def ssh_wire(host: str, environment: Mapping[str, str] = os.environ) -> Wire:
    """Start the program on a host by ssh.

    Raises:
        WireBroken: ssh cannot be started here.
    """
    ssh = split(environment.get(SSH) or "ssh")
    return ProcessWire([*ssh, *_SSH_OPTIONS, "--", host, environment.get(PROGRAM) or "aira-bench judge serve"])


def ssh_names(host: str, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return what ssh calls a host in its messages, by the user's settings; nothing where it does not say."""
    command = [*split(environment.get(SSH) or "ssh"), "-G", "--", host]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        told = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, timeout=_END_S,
            check=False,
        )  # fmt: skip
        pairs = [line.split(maxsplit=1) for line in told.stdout.splitlines()]
        return tuple(pair[1] for pair in pairs if len(pair) == 2 and pair[0] in ("hostname", "hostkeyalias"))
    return ()


class RayWire:
    """A process on whichever node of a Ray cluster has a custom resource, held by an actor."""

    def __init__(self, resource: str, address: str | None = None, environment: Mapping[str, str] = os.environ) -> None:
        """Start the actor.

        Raises:
            PrerequisiteError: Ray is not installed, or no cluster answers.
        """
        connect_ray(address)
        import ray

        program = split(environment.get(PROGRAM) or "aira-bench judge serve")
        options = {"num_cpus": 0, "resources": {resource: _SHARE}}
        self._actor: Any = ray.remote(ProcessWire).options(**options).remote(program)

    def send(self, data: bytes, timeout_s: float) -> None:
        """Send all of it (`Wire.send`)."""
        self._called("send", data, timeout_s)

    def receive(self, size: int, timeout_s: float) -> bytes:
        """Return the next `size` bytes (`Wire.receive`)."""
        found = self._called("receive", size, timeout_s)
        assert isinstance(found, bytes), "what the actor's process wire returns"
        return found

    def close(self) -> None:
        """Kill the actor, with which the program's input ends (`Wire.close`)."""
        import ray

        with contextlib.suppress(Exception):  # a cluster that is gone has no actor left
            ray.kill(self._actor)

    def _called(self, name: str, argument: bytes | int, timeout_s: float) -> object:
        import ray

        try:
            call = getattr(self._actor, name).remote(argument, timeout_s)
            return ray.get(call, timeout=timeout_s + _A_CALL_S)
        except WireBroken as error:
            raise WireBroken(str(getattr(error, "cause", error))) from error  # Ray's own holds the actor's
        except (ray.exceptions.RayError, TimeoutError, ConnectionError) as error:
            told = one_line(" ".join(str(error).split()))[:PROBLEM_CHARS]
            raise WireBroken(f"its Ray actor does not answer: {told or type(error).__name__}") from error


def ray_wire(resource: str) -> Wire:
    """Start the program on a node of a Ray cluster that has a custom resource.

    Raises:
        WireBroken: there is no cluster.
    """
    try:
        return RayWire(resource)
    except PrerequisiteError as error:
        raise WireBroken(error.message) from error
