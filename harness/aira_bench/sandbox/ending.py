"""How a step's container ends: by itself, or by a kill at its deadline or for what it takes.

A kill that was sent decides how the step ended. Code can take long to die (the kernel takes page tables apart at some
seconds a GiB), but not out of its class by that. What the container did is never evidence of a failure: that needs the
engine's own word (docs/decisions/0016). Its events are asked of every step that ended by itself or at its deadline:
one that somebody killed, stopped or paused meanwhile says nothing about its code (docs/decisions/0026). The kernel
is asked whether the code still runs, last of all at its deadline: an engine that lost its runtime may not know.

Not covered: what is read from the workspace afterwards (`step`).
"""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aira_bench.docker_engine import DockerEngine, EngineWords, NotThere
from aira_bench.errors import EngineAway, SandboxError
from aira_bench.sandbox.core_share import ContainerUse, CoreAllowance, CoreShare
from aira_bench.sandbox.init_process import InitProcess
from aira_bench.sandbox.memory_use import MemoryUse
from aira_bench.sandbox.pump import OutputPump
from aira_bench.sandbox.sandbox import EndedFromOutside, EndReason, Limits

DEATH_TIMEOUT_S = 1800.0
"""From the kill to the end of the container. A GiB of page tables took two idle cores some 7 s; what outlasts this is a
process stuck in a driver: its step has ended by the kill, and its sandbox starts no other."""
OUTPUT_TIMEOUT_S = 10.0
"""From the death of a container to the end of its output; what comes later is not captured."""
DEATH_POLL_S = 5.0
_KILLED, _TERMINATED = 137, 143
"""Exit statuses of a command that SIGKILL or SIGTERM ended, from whichever side."""
_SILENT_S = 2.0
"""How long an engine may take to say that there is nothing left to kill."""
_UNTOLD_S = 30.0
"""How long an engine may take to tell of an end that its machine's kernel has seen."""
_OOM_NOTICE_S, _OOM_POLL_S = 1.0, 0.05
_FIRST_SAMPLE_S, _LAST_SAMPLE_S = 0.01, 1.0


@dataclass(frozen=True)
class Ending:
    """How a container ended."""

    ended: EndReason
    exit_code: int | None = None
    """None unless it ended by itself."""
    above: str = ""
    """What it exceeded, where it was killed for that."""
    dead: bool = True
    """False where it outlived its kill by `DEATH_TIMEOUT_S`."""
    at_s: float = 0.0
    """On the monotonic clock: its death, or the end of the wait for it."""
    unexplained: bool = False
    """It was killed, and the engine knows nothing of that."""


class EndWatch:
    """Waits for the end of one container, and brings it about where that is due."""

    def __init__(
        self, engine: DockerEngine, container: str, pump: OutputPump, limits: Limits, share: CoreShare
    ) -> None:
        """Watch a container that was started.

        Args:
            engine: which made it.
            container: the engine's name for it.
            pump: drains it.
            limits: of its memory and output.
            share: of the cores, of those that take turns on them with it.
        """
        self._engine, self._container, self._pump, self._limits = engine, container, pump, limits
        self.share = share
        self._memory: MemoryUse | None = None
        self._init: InitProcess | None = None
        self._swept = threading.Event()
        self._killed, self._kill_took_s = False, 0.0

    def begin(self) -> None:
        """Find the container's control group and first process, once it is up."""
        pid = int(self.state()["Pid"])
        self._memory, self._init = MemoryUse(pid), InitProcess(pid, self._container)
        self.share.join(ContainerUse(pid))

    @property
    def sees_processes(self) -> bool:
        """Whether numbers of processes mean here what they mean to the engine's machine and its drivers."""
        return self._init is not None and self._init.is_seen

    def sweep(self) -> None:
        """Let every wait end in an error: the container was swept away."""
        self._swept.set()

    def require_unswept(self) -> None:
        """Raises SandboxError after `sweep`."""
        if self._swept.is_set():
            raise SandboxError("The container was swept away before its step had ended.")

    @property
    def peak_memory_mib(self) -> float | None:
        """The most memory it was seen to hold; None where its control group cannot be seen."""
        return self._memory.peak_mib if self._memory else None

    def wait(self, allowance: CoreAllowance) -> Ending:
        """Wait until every process is dead, with a kill where that is due, or when its time is over.

        Raises:
            Starved: its time was over, but others had kept its cores; it was killed.
            EngineAway: the engine does not answer.
            EndedFromOutside: somebody else had a hand in how it ended, or removed it.
            SandboxError: the engine failed.
        """
        try:
            due = self._wait_for_death(allowance)
            dead = due is None or self._kill()
            at_s = time.monotonic()
            # What a dead container printed comes at once; an end that the engine keeps back costs the rest of it.
            self._pump.close(OUTPUT_TIMEOUT_S if dead else 0.0)
            self.require_unswept()
            if due is not None and due.ended == "timeout" and "pause" in self._told():
                raise touched(self._engine.words, "container", ("pause",))
            if due is not None and due.ended == "timeout":
                self._require_killed()
                allowance.require_had()
            return replace(due or self._by_itself(), dead=dead, at_s=at_s)
        except NotThere as error:
            self.require_unswept()
            raise touched(self._engine.words, "container", ("removed",)) from error

    def require_untouched(self) -> None:
        """Raise EndedFromOutside if the engine was told to do something to the container by anybody but us."""
        if told := self._told():
            raise touched(self._engine.words, "container", told)

    def state(self) -> Mapping[str, Any]:
        """Return what the engine says of the container now.

        Raises:
            SandboxError: it does not answer, or knows nothing of it.
        """
        self.require_unswept()
        state: Mapping[str, Any] = self._engine.inspect_container(self._container)["State"]
        self.require_unswept()
        return state

    def _wait_for_death(self, allowance: CoreAllowance) -> Ending | None:
        """Wait for a death without a kill; what to kill it for where that does not come first."""
        interval_s = _FIRST_SAMPLE_S
        while True:
            left_s = allowance.left_s()
            # It may have closed its output itself: it has finished when it is dead.
            if self._pump.ended.wait(min(interval_s, max(left_s, 0.0))):
                self._sample()  # at once: an engine removes the group of what is dead
                pause_s = min(max(left_s, 0.5), _LAST_SAMPLE_S)
                if self._engine.wait_container(self._container, pause_s) is not None:
                    return None
            if self._pump.is_flooded:
                return self._flood()
            if self._fills_the_kernel():
                return Ending("out_of_memory", above=f"{self._limits.kernel_mib} MiB of kernel memory")
            if self._has_ended_untold():
                return None
            if allowance.left_s() <= 0:
                return Ending("timeout")
            interval_s = min(2 * interval_s, _LAST_SAMPLE_S)

    def _has_ended_untold(self) -> bool:
        """Whether the code has ended, and the engine tells of it only when it is asked again.

        Raises:
            EngineAway: it has, and the engine does not tell.
        """
        if self._init is None or not self._init.is_gone:
            return False
        give_up_s = time.monotonic() + _UNTOLD_S
        while self._engine.wait_container(self._container, _LAST_SAMPLE_S) is None:
            self.require_unswept()
            if time.monotonic() >= give_up_s:
                untold = f"The engine did not tell for {_UNTOLD_S:.0f} s that a step's container had ended."
                raise EngineAway(untold, hint=self._engine.words.command("info"))
        return True

    def _sample(self) -> None:
        if self._memory is not None:
            self._memory.sample()

    def _fills_the_kernel(self) -> bool:
        if self._memory is None:
            return False
        self._sample()
        return self._memory.kernel_mib is not None and self._memory.kernel_mib > self._limits.kernel_mib

    def _flood(self) -> Ending:
        return Ending("output_flood", above=f"{self._limits.output_mib} MiB of output")

    def _kill(self) -> bool:
        """Kill the container and wait for its death, however long that takes; False where it takes too long."""
        began_s = time.monotonic()
        give_up_s = began_s + DEATH_TIMEOUT_S
        while True:
            self._killed = self._engine.kill_container(self._container) or self._killed
            self._kill_took_s = time.monotonic() - began_s
            if self._engine.wait_container(self._container, DEATH_POLL_S) is not None:
                return True
            self.state()  # an engine that is gone, or a sweep, ends the wait
            if time.monotonic() >= give_up_s:
                return False

    def _by_itself(self) -> Ending:
        """How a container ended that the host did not end.

        A child may be killed for memory and its parent go on: the step was not ended by it, whatever its status.
        """
        state = self.state()
        if state["Running"]:
            raise SandboxError(
                "The engine calls a container running that it reported dead.", hint=self._engine.words.command("ps")
            )
        if self._pump.is_flooded:
            return self._flood()
        exit_code = int(state["ExitCode"])
        self.require_untouched()
        if exit_code == _KILLED and self._was_killed_for_memory():
            return Ending("out_of_memory", above=f"{self._limits.memory_mib} MiB of memory")
        return Ending("exited", exit_code, unexplained=exit_code in (_KILLED, _TERMINATED))

    def _require_killed(self) -> None:
        """Raise EngineAway if the engine was silent at the deadline, and the container had died by itself by then.

        Whether it ended in time is known to nobody. An end within `_SILENT_S` of the kill is just a late one.
        """
        if not self._killed and self._kill_took_s > _SILENT_S:
            silent = f"The engine did not take the kill at a step's deadline for {self._kill_took_s:.0f} s"
            raise EngineAway(
                f"{silent}, and its container had ended meanwhile.", hint=self._engine.words.command("info")
            )

    def _told(self) -> tuple[str, ...]:
        told = self._engine.told_of(self._container)
        self.require_unswept()  # a sweep kills too
        return told

    def _was_killed_for_memory(self) -> bool:
        """Whether the kernel killed it for its own limit, and not because the whole machine had no memory left."""
        if self._memory is not None and not self._memory.may_have_met_its_limit():
            return False
        if self._memory is not None and self._memory.was_killed:
            return True
        notice_until_s = time.monotonic() + _OOM_NOTICE_S
        while not (killed := bool(self.state()["OOMKilled"])) and time.monotonic() < notice_until_s:
            time.sleep(_OOM_POLL_S)  # the engine learns of the kernel's kill by another way than of the death
        return killed


def touched(engine: EngineWords, what: str, told: Sequence[str]) -> EndedFromOutside:
    """Return what to raise of a container that somebody else had a hand in."""
    words = f"A {what} was touched from outside while it ran ({', '.join(told)})."
    return EndedFromOutside(words, hint=engine.command("events --since 10m --filter type=container"))
