"""The in-memory engine with a fault at one of its calls: it breaks, is away, or the process ends in the middle of it.

Not covered: what a real engine does to a real container (`tests/sandbox`, docs/reliability.md).
"""

import errno
import os
import select
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from aira_bench.errors import SandboxError
from aira_bench.sandbox.sandbox import ContainerSpec, Role, StepLost
from aira_bench.testing import Call, Done, InMemoryContainer
from faults.injector import Injector
from played_host import ProbedContainer, ProbedSandbox, probe, score, solve

EngineKind = Literal["breaks once", "breaks twice", "loses it", "is gone", "kill", "signal", "EMFILE", "threads"]
ENGINE_KINDS: tuple[EngineKind, ...] = (
    "breaks once", "breaks twice", "loses it", "is gone", "kill", "signal", "EMFILE", "threads",
)  # fmt: skip


@dataclass(frozen=True)
class EnginePoint:
    """One call of a run: its name, the role of the container, and how often the pair was seen before."""

    call: str
    role: str | None
    nth: int

    def kinds(self) -> tuple[EngineKind, ...]:
        """The faults that can befall this call. Removing a container is done behind our back and never fails."""
        if self.call == "close":
            return ("kill", "signal")
        return tuple(kind for kind in ENGINE_KINDS if kind != "loses it" or (self.call, self.role) == ("run", "agent"))

    def __str__(self) -> str:
        return f"{self.call} {self.role or 'run'} #{self.nth}"


@dataclass(frozen=True)
class Meeting:
    """A fault and the call that it befalls."""

    point: EnginePoint
    kind: EngineKind


@dataclass
class FaultySandbox(ProbedSandbox):
    """An engine that takes down its calls, and fails at one."""

    seen: list[EnginePoint] = field(default_factory=list)
    struck: bool = False
    caretaker: None = None

    def prepare(self, spec: ContainerSpec) -> InMemoryContainer:
        self.before("prepare", spec.role)
        container = ProbedContainer(self, spec)
        self.containers.add(container)
        return container


def faulty_sandbox(meeting: Meeting | None, injector: Injector) -> FaultySandbox:
    """A played engine on which all works but what `meeting` says. What containers do to files is not the host's."""

    def outside(program: Callable[[Call], Done]) -> Callable[[Call], Done]:
        def run(call: Call) -> Done:
            with injector.aside():
                return program(call)

        return run

    def solve_beside_the_next(call: Call) -> Done:
        """The container after this one is begun meanwhile. A step as quick as ours would now and then be over before."""
        for _ in range(200):
            with lock:
                if counts["prepare", "agent"] > counts["run", "agent"]:
                    break
            select.select([], [], [], 0.005)  # real time, which `quick_time` does not skip
        return solution(call)

    programs = {"agent": solve_beside_the_next, "prepare": prepare, "probe": probe}
    sandbox = FaultySandbox({role: outside(program) for role, program in programs.items()}, {"judge": score})  # type: ignore[misc]
    counts: Counter[tuple[str, str | None]] = Counter()
    lock = threading.Lock()
    left = {"breaks once": 1, "breaks twice": 2, "is gone": 1_000_000}.get(meeting.kind, 1) if meeting else 0

    def before(call: str, role: Role | None) -> None:
        nonlocal left
        with lock:
            here = EnginePoint(call, role, counts[call, role])
            counts[call, role] += 1
            sandbox.seen.append(here)
            sandbox.struck = sandbox.struck or (meeting is not None and here == meeting.point)
            due = meeting is not None and sandbox.struck and left > 0 and call not in ("close", "sweep")
            due = due or (meeting is not None and here == meeting.point)
            left -= due
        if due and meeting is not None:
            _strike(meeting.kind)

    sandbox.before = before  # type: ignore[assignment]
    return sandbox


def solution(call: Call) -> Done:
    """A program that names an architecture submits it; any other leaves nothing."""
    return solve(call) if b"ARCHITECTURE" in call.files["solution.py"] else Done()


def prepare(call: Call) -> Done:
    """Both preparing scripts write a file."""
    output = next(mount.source for mount in call.spec.mounts if mount.writable)
    (output / "data.txt").write_text("data\n")
    return Done()


def _strike(kind: EngineKind) -> None:
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "signal":
        os.kill(os.getpid(), signal.SIGTERM)
        return
    if kind == "EMFILE":
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    if kind == "threads":
        raise RuntimeError("can't start new thread")
    raise StepLost("The engine lost the step.") if kind == "loses it" else SandboxError("The engine broke.")
