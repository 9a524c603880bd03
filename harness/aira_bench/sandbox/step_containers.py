"""One step in a prepared Docker container: hand over files, wait, kill at the deadline, read what was left.

Or, for trusted commands only, a conversation (`conversation`) instead of the wait.

The clock is the host's monotonic one and the kill comes from the engine, so nothing in the container has a say in
when it ends. Files are read when it is dead, or count as missing. From `begin` on whatever the container does is an
outcome; a `StepLost` needs the engine's own word.

Not covered: how it ends (`ending`), what the outcome means, and the removal of containers, which the sandbox does
behind our back.
"""

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aira_bench.docker_engine import Attachment, DockerEngine, NotThere
from aira_bench.errors import EngineAway, SandboxError
from aira_bench.excerpts import LINE_CHARS
from aira_bench.gpus.use import GpuReading, fault_in, strangers_in, summary
from aira_bench.gpus.watch import GpuWatch
from aira_bench.machine_failures import machine_failures
from aira_bench.output import last_line
from aira_bench.sandbox.artifacts import ReaderFailed, WorkspaceReader, relative_path
from aira_bench.sandbox.conversation import Answers, DockerConversation
from aira_bench.sandbox.core_share import CoreAllowance, CoreShare
from aira_bench.sandbox.ending import DEATH_TIMEOUT_S, Ending, EndWatch, touched
from aira_bench.sandbox.pump import OutputPump
from aira_bench.sandbox.sandbox import (
    Artifact,
    ArtifactRequest,
    DeviceTaken,
    EndedFromOutside,
    FilesTooLarge,
    Limits,
    LossReason,
    RejectedArtifact,
    Starved,
    StepLost,
    StepOutcome,
)

START_TIMEOUT_S = 60.0
_PAGE_BYTES, _HEADROOM_BYTES = 4096, 1 << 20


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
        share: CoreShare,
    ) -> None:
        """Take over started containers; `streams` are those of step and reader, in this order.

        `settle` returns when nothing is left of other containers that this one must not find; `share` is of those that
        take turns with it on its cores.
        """
        self.containers = containers
        self._engine = engine
        self._limits = limits
        self._environment = list(environment)
        self._discard = discard
        self._pump = OutputPump(streams[0], limits.output_mib << 20)
        self._attachment = streams[0]
        self._reader = WorkspaceReader(streams[1])
        self._settle = settle
        self._used = self._is_dead = False
        self._watch = EndWatch(engine, containers.step, self._pump, limits, share)
        self.is_undead = False
        """It was killed and has not died in `DEATH_TIMEOUT_S`."""

    def wait_ready(self) -> None:
        """Wait until both containers' programs are up.

        Raises:
            SandboxError: one did not come up.
        """
        self._reader.wait_ready(START_TIMEOUT_S)
        self._pump.ready.wait(START_TIMEOUT_S)
        if not self._pump.is_waiting:
            raise SandboxError(f"A container did not come up: {self._pump.captured()[1].head[-LINE_CHARS:]!r}")
        self._watch.begin()

    def inspect(self) -> Mapping[str, Any]:
        """Return what the engine says it has set, in the Engine API's terms."""
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
            StepLost: the engine failed, or the container was swept away, after the command had begun.
            SandboxError: that happened before, or this one was used before.
            FilesTooLarge: the workspace does not hold `files`.
            MachineError: the host could not write an artifact.
            ValueError: a name is not a plain relative path.
        """
        message = self._use(command, files, converse=False)
        try:
            return self._run(message, timeout_s, artifacts, destination)
        except SandboxError as error:
            if not self._pump.has_begun:
                raise
            if isinstance(error, Starved):
                error.output = self._pump.captured()
                raise
            raise StepLost(error.message, hint=error.hint, output=self._pump.captured(), why=_why(error)) from error

    def _run(
        self, message: bytes, timeout_s: float, artifacts: Sequence[ArtifactRequest], destination: Path
    ) -> StepOutcome:
        start_s, allowance = time.monotonic(), CoreAllowance(timeout_s, self._watch.share)
        gpu = None if self._limits.gpu_uuid is None else GpuWatch(self._limits.gpu_uuid)
        try:
            ending = self._execute(message, allowance)
        finally:
            readings = gpu.stop() if gpu is not None else ()
        wall_s = ending.at_s - start_s
        self._is_dead = ending.dead
        self._require_own_device(readings)
        copied = {request.name: self._copy(request, destination, ending) for request in artifacts}
        stdout, stderr = self._pump.captured()
        peak_mib = self._watch.peak_memory_mib
        return StepOutcome(
            ending.ended, ending.exit_code, wall_s, stdout, stderr, copied, peak_mib, ending.above, ending.unexplained,
            min(allowance.lost_s, wall_s), min(allowance.taken_s, wall_s), summary(readings),
            start_s, allowance.history(),
        )  # fmt: skip

    def _require_own_device(self, readings: Sequence[GpuReading]) -> None:
        """Raise DeviceTaken if its device failed, or worked for somebody else too, while the code ran."""
        gpu = self._limits.gpu_uuid
        if fault := fault_in(readings):
            raise DeviceTaken(f"The GPU of a container failed while it ran ({gpu}): {fault}.", hint="nvidia-smi -q")
        others = strangers_in(readings, self.containers.step) if self._watch.sees_processes else ()
        if others:
            named = ", ".join(map(str, others[:3]))
            raise DeviceTaken(f"Others used the GPU of a container while it ran ({gpu}): {named}.", hint="nvidia-smi")

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
        allowance = CoreAllowance(timeout_s, self._watch.share)
        try:
            self._attachment.send(message, timeout_s)
        except OSError as error:
            raise SandboxError(f"A container was lost before its conversation began ({error}).") from error
        conversation = DockerConversation(
            self._attachment.send, answers, most_bytes, self._kill_quietly, self._last_words,
            self._watch.require_untouched, self._watch.share,
        )  # fmt: skip
        conversation.greeting(allowance)
        return conversation

    def close(self) -> None:
        """Have containers and workspace removed behind our back. Safe to call twice and at any moment."""
        self._discard(self)

    def sweep(self) -> None:
        """Mark the step as swept away: whatever it still yields is no outcome."""
        self._watch.sweep()

    def retire(self) -> None:
        """Let a step that was not begun begin no more; one that runs goes on."""
        if not self._used:
            self.sweep()

    def release(self) -> None:
        """Let go of the streams; both containers then read the end of their input."""
        self._attachment.close()
        self._reader.close()

    def _use(self, command: Sequence[str], files: Mapping[str, bytes], *, converse: bool) -> bytes:
        if self._used:
            raise SandboxError("A prepared container runs one step only.")
        self._used = True
        self._watch.require_unswept()
        message = hand_over(command, files, self._environment, converse=converse)
        taken = sum(_PAGE_BYTES * -(-len(data) // _PAGE_BYTES) for data in files.values())
        if files and taken + _HEADROOM_BYTES > self._limits.workspace_mib << 20:
            raise FilesTooLarge(f"the files take {taken} bytes, the workspace holds {self._limits.workspace_mib} MiB")
        self._settle()
        return message

    @property
    def is_waiting(self) -> bool:
        """Whether it still waits for its files (`PreparedContainer.is_waiting`)."""
        return self._pump.is_waiting and not self._used

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

    def _execute(self, message: bytes, allowance: CoreAllowance) -> Ending:
        """Hand over and wait until every process is dead."""
        try:
            self._attachment.send(message, max(allowance.left_s(), 0.001))
        except TimeoutError as error:
            raise SandboxError("A container did not take its files before the deadline.") from error
        except OSError as error:
            raise SandboxError(f"A container was lost before its step began ({error}).") from error
        ending = self._watch.wait(allowance)
        self.is_undead = not ending.dead
        if not self._pump.has_begun:
            raise SandboxError(
                f"The files did not reach the container: {self._pump.captured()[1].head[-LINE_CHARS:]!r}"
            )
        return ending

    def _copy(self, request: ArtifactRequest, destination: Path, ending: Ending) -> Artifact | RejectedArtifact:
        if not ending.dead:
            (destination / request.name).unlink(missing_ok=True)
            detail = f"the container did not die within {DEATH_TIMEOUT_S:.0f} s of its kill"
            return RejectedArtifact(request.name, "missing", detail)
        try:
            with machine_failures(destination):  # no attempt mends a full disk: the seed halts and can be resumed
                return self._reader.copy(request, destination)
        except ReaderFailed as error:
            return self._unread(request, error)

    def _unread(self, request: ArtifactRequest, error: ReaderFailed) -> RejectedArtifact:
        """Why a file was not read: the workspace's doing, unless the engine says what befell the reader.

        Raises:
            EndedFromOutside: somebody else killed, stopped, paused or removed the reader.
            SandboxError: the engine does not answer.
        """
        try:
            state = self._engine.inspect_container(self.containers.reader)["State"]
            told = self._engine.told_of(self.containers.reader)
        except NotThere:
            told = ("removed",)
        self._watch.require_unswept()
        if told:
            raise touched(self._engine.words, "workspace reader", told) from error
        status = "is running" if state["Running"] else f"ended with exit status {state['ExitCode']}"
        return RejectedArtifact(request.name, "unreadable", f"{error.message} The reader {status}.")


def _why(error: SandboxError) -> LossReason:
    if isinstance(error, EngineAway):
        return "away"
    return "outside" if isinstance(error, EndedFromOutside) else "failed"


def hand_over(
    command: Sequence[str], files: Mapping[str, bytes], environment: Sequence[str], *, converse: bool = False
) -> bytes:
    """Return the bootstrap's input: one line of JSON, then the files' bytes in its order.

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
