"""One step in a prepared Docker container: hand over files, wait, kill at the deadline, read what was left.

Or, for trusted commands only, a conversation (`conversation`) instead of the wait.

The clock is the host's monotonic one and the kill comes from the engine, so nothing in the container has a say in
when it ends. Files are read after its death only.

Not covered: what the outcome means, and the removal of containers, which the sandbox does behind our back.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aira_bench.docker_engine import Attachment, DockerEngine
from aira_bench.errors import SandboxError
from aira_bench.output import last_line
from aira_bench.sandbox.artifacts import WorkspaceReader, relative_path
from aira_bench.sandbox.conversation import Answers, DockerConversation
from aira_bench.sandbox.peak_memory import PeakMemory
from aira_bench.sandbox.protocol import (
    Artifact,
    ArtifactRequest,
    EndReason,
    Limits,
    RejectedArtifact,
    StepOutcome,
)
from aira_bench.sandbox.pump import OutputPump

START_TIMEOUT_S = 60.0
KILL_TIMEOUT_S = 10.0
"""From the kill to the end of the container; a process stuck in a driver is the machine's fault, not the step's."""
_SIGKILL_EXIT_CODE = 137
_OOM_NOTICE_S, _OOM_POLL_S = 1.0, 0.05
_FIRST_SAMPLE_S, _LAST_SAMPLE_S = 0.01, 1.0


@dataclass(frozen=True)
class StepContainers:
    """The engine's names for what one step consists of."""

    step: str
    reader: str
    volume: str
    trees: tuple[str, ...] = ()
    """Volumes with file trees of the step's own."""


class DockerStep:
    """A started container that waits for its files. Used once."""

    def __init__(
        self,
        engine: DockerEngine,
        containers: StepContainers,
        streams: tuple[Attachment, Attachment],
        limits: Limits,
        environment: Sequence[str],
        discard: Callable[["DockerStep"], None],
        settle: Callable[[], None],
    ) -> None:
        """Take over started containers; `streams` are those of step and reader, in this order.

        `settle` returns when nothing is left of other containers that this one must not find.
        """
        self.containers = containers
        self._engine = engine
        self._limits = limits
        self._environment = list(environment)
        self._discard = discard
        self._pump = OutputPump(streams[0])
        self._attachment = streams[0]
        self._reader = WorkspaceReader(streams[1])
        self._settle = settle
        self._used = self._is_dead = False
        self._swept = threading.Event()
        self._peak_memory: PeakMemory | None = None

    def wait_ready(self) -> None:
        """Wait until both containers' programs are up.

        Raises:
            SandboxError: one did not come up.
        """
        self._reader.wait_ready(START_TIMEOUT_S)
        self._pump.ready.wait(START_TIMEOUT_S)
        if not self._pump.is_waiting:
            raise SandboxError(f"A container did not come up: {self._pump.captured()[1].head[-300:]!r}")
        self._peak_memory = PeakMemory(int(self._engine.inspect_container(self.containers.step)["State"]["Pid"]))

    def inspect(self) -> Mapping[str, Any]:
        """What the engine says it has set, in the Engine API's terms."""
        return self._engine.inspect_container(self.containers.step)

    def run(
        self,
        command: Sequence[str],
        *,
        files: Mapping[str, bytes],
        timeout_s: float,
        artifacts: Sequence[ArtifactRequest],
        destination: Path,
    ) -> StepOutcome:
        """Write `files` into the workspace, run `command` there, copy `artifacts` into `destination`.

        Raises:
            SandboxError: the engine failed, the container was swept away, or this one was used before.
            ValueError: a name is not a plain relative path.
        """
        message = self._use(command, files, converse=False)
        start_s = time.monotonic()
        finished = self._execute(message, start_s + timeout_s)
        wall_s = time.monotonic() - start_s
        ended, exit_code = self._end(finished)
        self._is_dead = True
        copied = {request.name: self._copy(request, destination) for request in artifacts}
        stdout, stderr = self._pump.captured()
        peak = self._peak_memory.mib if self._peak_memory else None
        return StepOutcome(ended, exit_code, wall_s, stdout, stderr, copied, peak)

    def converse(
        self, command: Sequence[str], *, files: Mapping[str, bytes], most_bytes: int, timeout_s: float
    ) -> DockerConversation:
        """Write `files`, begin `command` and keep its standard input open for requests (`PreparedContainer.converse`).

        Raises:
            SandboxError: the engine failed, no greeting came in time, or this one was used before.
            ValueError: a name is not a plain relative path.
        """
        message = self._use(command, files, converse=True)
        answers = Answers(most_bytes)
        answers.expect()
        self._pump.divert(answers)
        deadline_s = time.monotonic() + timeout_s
        try:
            self._attachment.send(message, timeout_s)
        except OSError as error:
            raise SandboxError(f"A container was lost before its conversation began ({error}).") from error
        conversation = DockerConversation(
            self._attachment.send, answers, most_bytes, self._kill_quietly, self._last_words
        )
        conversation.greeting(max(deadline_s - time.monotonic(), 0.001))
        return conversation

    def close(self) -> None:
        """Have containers and workspace removed behind our back. Safe to call twice and at any moment."""
        self._discard(self)

    def sweep(self) -> None:
        """Mark the step as swept away: whatever it still yields is no outcome."""
        self._swept.set()

    def release(self) -> None:
        """Let go of the streams; both containers then read the end of their input."""
        self._attachment.close()
        self._reader.close()

    def _use(self, command: Sequence[str], files: Mapping[str, bytes], *, converse: bool) -> bytes:
        if self._used:
            raise SandboxError("A prepared container runs one step only.")
        self._used = True
        message = hand_over(command, files, self._environment, converse=converse)
        if len(message) > self._limits.workspace_mib * 2**20:
            raise SandboxError(f"The files take {len(message)} bytes, the workspace {self._limits.workspace_mib} MiB.")
        self._settle()
        return message

    @property
    def was_used(self) -> bool:
        """Whether a command may have run in it."""
        return self._used

    @property
    def is_dead(self) -> bool:
        """Whether its last process is known to be dead."""
        return self._is_dead

    def _kill_quietly(self) -> None:
        with contextlib.suppress(SandboxError):  # the failure that led here is the one to tell; removal follows
            self._engine.kill_container(self.containers.step)

    def _last_words(self) -> str:
        words = last_line(self._pump.captured()[1])
        return f"Its last words: {words}" if words else ""

    def _execute(self, message: bytes, deadline_s: float) -> bool:
        """Hand over and wait until every process is dead; False where that took a kill."""
        try:
            self._attachment.send(message, max(deadline_s - time.monotonic(), 0.001))
            finished = self._wait_for_end(deadline_s)
        except TimeoutError:
            finished = False
        except OSError as error:
            raise SandboxError(f"A container was lost before its step began ({error}).") from error
        if not finished:
            self._engine.kill_container(self.containers.step)
            if self._engine.wait_container(self.containers.step, KILL_TIMEOUT_S) is None:
                raise SandboxError(
                    f"Container {self.containers.step[:12]} is still up {KILL_TIMEOUT_S:.0f} s after its kill.",
                    hint="docker ps",
                )
        if not self._pump.close(KILL_TIMEOUT_S):
            raise SandboxError("The output of a dead container did not end.", hint="docker ps")
        return finished

    def _wait_for_end(self, deadline_s: float) -> bool:
        interval_s = _FIRST_SAMPLE_S
        while not self._pump.ended.wait(min(interval_s, max(deadline_s - time.monotonic(), 0))):
            if time.monotonic() >= deadline_s:
                return False
            interval_s = min(2 * interval_s, _LAST_SAMPLE_S)
            if self._peak_memory:
                self._peak_memory.sample()
        # Its output ended, which it may have closed itself: the container counts as finished when it is dead.
        return self._engine.wait_container(self.containers.step, max(deadline_s - time.monotonic(), 0.5)) is not None

    def _end(self, finished: bool) -> tuple[EndReason, int | None]:
        state = self._state()
        if not self._pump.has_begun and finished:
            raise SandboxError(f"The files did not reach the container: {self._pump.captured()[1].head[-300:]!r}")
        if not finished:
            return "timeout", None
        exit_code = int(state["ExitCode"])
        notice_until_s = time.monotonic() + _OOM_NOTICE_S
        while exit_code == _SIGKILL_EXIT_CODE and not state["OOMKilled"] and time.monotonic() < notice_until_s:
            time.sleep(_OOM_POLL_S)  # the engine learns of the kernel's kill by another way than of the death
            state = self._state()
        # A child may be killed for memory and its parent go on to succeed: that step was not ended by it.
        return ("out_of_memory" if state["OOMKilled"] and exit_code != 0 else "exited"), exit_code

    def _state(self) -> Mapping[str, Any]:
        state: Mapping[str, Any] = self._engine.inspect_container(self.containers.step)["State"]
        if self._swept.is_set():
            raise SandboxError("The container was swept away while its step ran.")
        if state["Running"]:
            raise SandboxError("The engine calls a container running that it reported dead.", hint="docker ps")
        return state

    def _copy(self, request: ArtifactRequest, destination: Path) -> Artifact | RejectedArtifact:
        try:
            return self._reader.copy(request, destination)
        except OSError as error:
            raise SandboxError(f"{request.name} could not be written to {destination}: {error}") from error


def hand_over(
    command: Sequence[str], files: Mapping[str, bytes], environment: Sequence[str], *, converse: bool = False
) -> bytes:
    """The bootstrap's input: one line of JSON, then the files' bytes in its order.

    With `converse` the command inherits what follows on standard input; else it reads nothing.

    Raises:
        ValueError: a file name is not a plain relative path, or there is no command.
    """
    if not command:
        raise ValueError("there is no command to run")
    header = {
        "command": list(command),
        "environment": list(environment),
        "converse": converse,
        "files": [(str(relative_path(name)), len(data)) for name, data in files.items()],
    }
    return json.dumps(header).encode() + b"\n" + b"".join(files.values())
