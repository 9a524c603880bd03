"""Judge nodes for tests: machines of their own with a home of their own, whose containers are functions.

A node in a thread serves over a socket; `tests/played_run.py judge serve` is one as a process, for ssh and Ray.
"""

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import pytest

from aira_bench.hidden_keys import HiddenKey, make_hidden_key
from aira_bench.remote_judging.nodes import JudgeNode, JudgeNodes
from aira_bench.remote_judging.wires import Wire, WireBroken
from aira_bench.runs import judges
from aira_bench.runs.host import Host
from aira_bench.runs.judge_service import serve
from played_host import ProbedSandbox, played_host, played_sandbox

Serving = Callable[[BinaryIO, BinaryIO], None]


class SocketWire:
    """A wire to a thread of this process."""

    def __init__(self, serving: Serving) -> None:
        self._ours, theirs = socket.socketpair()

        def run() -> None:
            with suppress(OSError), theirs, theirs.makefile("rb") as source, theirs.makefile("wb") as sink:
                serving(source, sink)

        threading.Thread(target=run, daemon=True).start()

    def send(self, data: bytes, timeout_s: float) -> None:
        try:
            self._ours.sendall(data)
        except OSError as error:
            raise WireBroken("it hung up") from error

    def receive(self, size: int, timeout_s: float) -> bytes:
        data, ends_s = b"", time.monotonic() + timeout_s
        while len(data) < size:
            try:
                if not select.select([self._ours], [], [], max(0.0, ends_s - time.monotonic()))[0]:
                    raise WireBroken(f"it said nothing for {timeout_s:g} s")
                piece = self._ours.recv(size - len(data))
            except (OSError, ValueError) as error:
                raise WireBroken("it hung up") from error
            if not piece:
                raise WireBroken("it hung up")
            data += piece
        return data

    def close(self) -> None:
        with suppress(OSError):
            self._ours.shutdown(socket.SHUT_RDWR)
        self._ours.close()


@dataclass
class PlayedNode:
    """One judge node in threads of this process."""

    host: Host
    sandbox: ProbedSandbox
    key: HiddenKey | None = None
    is_down: bool = False
    """Whether nobody can reach it."""
    between: Callable[[Serving], Serving] = lambda serving: serving
    """What stands between its service and the run."""
    reached: int = 0
    """How often somebody connected."""
    wires: list[SocketWire] = field(default_factory=list)

    def connect(self) -> Wire:
        if self.is_down:
            raise WireBroken("ssh ended with status 255: Connection refused")
        self.reached += 1
        self.wires.append(SocketWire(self.between(self.serve)))
        return self.wires[-1]

    def serve(self, source: BinaryIO, sink: BinaryIO) -> None:
        serve(lambda note: self.host, lambda profile, note: b"", source, sink)


def played_node(root: Path, *, key: Path | None = None, sandbox: ProbedSandbox | None = None) -> PlayedNode:
    """A judge node whose home lies below `root`, under a hidden key of its own or that of another's file."""
    sandbox = sandbox or played_sandbox()
    host = played_host(root, sandbox)
    host.paths.keys.mkdir(parents=True, mode=0o700)
    place = host.paths.keys / "hidden.key"
    if key is None:
        return PlayedNode(host, sandbox, make_hidden_key(place))
    place.write_bytes(key.read_bytes())
    place.chmod(0o600)
    return PlayedNode(host, sandbox)


def judge_nodes(*nodes: PlayedNode) -> JudgeNodes:
    """What `--judge-on` would name."""
    made = [JudgeNode(f"judge node {number}", "", each.connect) for number, each in enumerate(nodes, start=1)]
    return JudgeNodes("ssh", tuple(made), "ssh:one,two")


@contextmanager
def another_machine(name: str = "desk") -> Iterator[None]:
    """The searching machine has a kernel of its own, which in this process is only said."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges, "boot_id", lambda: name)
        yield


def searching_host(root: Path, *nodes: PlayedNode, sandbox: ProbedSandbox | None = None) -> Host:
    """A machine that searches and judges nothing: it has no judge to play."""
    own = sandbox or played_sandbox()
    own.responders = {}
    return replace(played_host(root, own), judges=judge_nodes(*nodes))
