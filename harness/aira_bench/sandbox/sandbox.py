"""What a sandbox is, whatever engine is behind it.

A `Sandbox` prepares one fresh container per step. A prepared container is already started and waits for its
files, so that its start-up lies outside the step's critical path. Nothing of a step survives in the engine:
declared artifacts are copied out by name, everything else is discarded.

What a container's code can bring about is an outcome, with an `ended` of its own; a `SandboxError` is the engine's
failure, told apart by what the engine says and never by how the container behaved (docs/decisions/0016).

Not covered: what the outcome means. `aira_bench.runs.outcomes` turns a `StepOutcome` into a step class.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Protocol

from aira_bench.errors import AiraError, SandboxError
from aira_bench.gpus.use import GpuUse
from aira_bench.output import CapturedOutput
from aira_bench.sandbox.core_time import CoreHistory, CoreTime

IsolationWord = Literal["own kernel", "own trees", "dropped caches", "shared"]
Role = Literal["agent", "fit", "judge", "predict", "prepare", "probe"]
EndReason = Literal["exited", "timeout", "out_of_memory", "output_flood"]
"""`exited`: by itself, with a status. The others were ended: by the host at the deadline, by the kernel or the host for
memory, by the host for printing without end."""
LossReason = Literal["failed", "away", "outside", "unexplained"]
"""Why a step has no outcome: the engine `failed` at something; it went `away` and took its containers along; somebody
killed, paused or removed the container from `outside`; or it was killed and the engine knows of no hand (`StepOutcome.
is_unexplained`), which is run again once."""


@dataclass(frozen=True)
class Limits:
    """Hard caps of one container. All of them are enforced by the kernel, none by the code inside."""

    memory_mib: int = 4096
    """Memory for processes, equal to the swap limit. The workspace, /tmp and /dev/shm are granted on top."""
    workspace_mib: int = 512
    tmp_mib: int = 256
    shm_mib: int = 64
    pids: int = 512
    open_files: int = 4096
    output_mib: int = 256
    """Of standard output and error together, after which the container is killed: draining costs the host's time."""
    cpus: tuple[int, ...] | None = None
    """Host cores the container is pinned to; None leaves all of them."""
    gpu_uuid: str | None = None

    @property
    def kernel_mib(self) -> int:
        """What the kernel may hold for the container, page tables above all, before it is killed (`memory_use`).

        Honest steps need little: 2 MiB of tables for each GiB they use, and about 1 KiB for each file they meet.
        """
        return 256 + self.memory_mib // 8


@dataclass(frozen=True)
class Mount:
    """A host folder shown inside the container. The source must be owned by the orchestrator."""

    source: Path
    target: PurePosixPath
    writable: bool = False
    """True only for preparation containers, which run a task author's trusted scripts."""
    content: str | None = None
    """Hash of all that a folder holds, if it never changes: then containers can get a file system with a copy."""


@dataclass(frozen=True)
class ContainerSpec:
    """Everything the engine is told about a container. No agent-made string is ever part of it."""

    image: str
    role: Role
    run_id: str
    """Label under which a crashed orchestrator's leftovers are found and removed."""
    limits: Limits = field(default_factory=Limits)
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the fixed environment. Names must be upper-case and trusted."""
    socket_volume: str | None = None
    """Name of a small volume that is made if absent, labelled with `run_id`. A judge writes its sockets there, a
    predict container sees it read-only; no other role may have one."""


@dataclass(frozen=True)
class Isolation:
    """What separates one kind of container from others (`aira_bench.sandbox.isolation`), and why no better."""

    word: IsolationWord
    reason: str


@dataclass(frozen=True)
class Artifact:
    """A regular file copied out of a dead container."""

    name: str
    path: Path
    size_bytes: int
    sha256: str
    changed_s: float = math.nan
    """When the kernel last saw it change, on the host's monotonic clock. Nothing in the container can set this."""


@dataclass(frozen=True)
class RejectedArtifact:
    """A declared file that was absent or not acceptable; `reason` is safe to print."""

    name: str
    reason: Literal["missing", "not a regular file", "too large", "unreadable"]
    detail: str = ""


@dataclass(frozen=True)
class ArtifactRequest:
    """A file to copy out by name: a relative path without `..`, with a size cap."""

    name: str
    max_bytes: int


@dataclass(frozen=True)
class StepOutcome:
    """What the engine saw. `exit_code` is None unless the container ended by itself."""

    ended: EndReason
    exit_code: int | None
    wall_s: float
    """From handing over the files to the death of the container's last process, however long it took to die."""
    stdout: CapturedOutput
    stderr: CapturedOutput
    artifacts: Mapping[str, Artifact | RejectedArtifact]
    peak_memory_mib: float | None
    above: str = ""
    """What was exceeded, where the host or the kernel ended it for that: `512 MiB of kernel memory`."""
    is_unexplained: bool = False
    """Ended by SIGKILL or SIGTERM, of which the engine knows nothing: by its own code, or by the machine's doing (a
    host out of memory). Run again once; a second such end is the code's own."""
    lost_s: float = 0.0
    """Of `wall_s`, by how much others delayed it on its cores; its deadline does not count them."""
    taken_s: float = 0.0
    """Of `wall_s`, for how long others used a core of its, on average: also where its code did not want it."""
    gpu: GpuUse | None = None
    """How its device worked; None without a device, or where its driver said nothing."""
    began_s: float = math.nan
    """When its files were handed over, on the clock of `Artifact.changed_s`."""
    history: CoreHistory = field(default_factory=CoreHistory)
    """What others took along `wall_s`."""

    def core_time(self, began_s: float = math.nan, ended_s: float = math.nan) -> CoreTime:
        """Return what others took of a part of it, or of all of it where the part is not known."""
        found = self.history.between(began_s, ended_s)
        return found or CoreTime(self.wall_s, self.lost_s, self.taken_s)


class Busy(SandboxError):
    """A program of ours took longer than a machine with time to spare needs. It says nothing about any wall."""


class EndedFromOutside(SandboxError):
    """Somebody killed, stopped, paused or removed a running container through the engine. Never its code's doing."""


class StepLost(SandboxError):
    """A step has no outcome though its code had begun: it can have seen all that a step sees. Holds what it printed."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        output: tuple[CapturedOutput, CapturedOutput] | None = None,
        why: LossReason = "failed",
    ) -> None:
        super().__init__(message, hint=hint)
        self.output, self.why = output, why


class Starved(StepLost):
    """The time of a container's code was over by the wall's clock, but others had kept its cores from it.

    It says nothing about the code. Tried again when the machine is less busy; at last the seed halts.
    """


class DeviceTaken(Starved):
    """The driver lost the device of a container, or somebody else's process computed on it, while its code ran."""


class FilesTooLarge(AiraError):
    """The workspace does not hold what a step is handed. Whoever made the files is at fault, and no retry helps."""

    exit_code = SandboxError.exit_code


class ConversationTimeout(SandboxError):
    """A command that stays gave no answer by the deadline, and was killed."""


class Conversation(Protocol):
    """A command that stays and answers requests, one at a time."""

    @property
    def lost_s(self) -> float:
        """By how much others delayed it on its cores so far; its deadlines do not count these seconds."""
        ...

    def ask(self, request: bytes, *, timeout_s: float) -> bytes:
        """Send one request and wait for its answer. The container is killed if that fails in any way.

        Raises:
            ConversationTimeout: no answer in time.
            Starved: none in time, but others kept its cores.
            SandboxError: an inadmissible answer, or the conversation broke, now or before.
            ValueError: the request is longer than messages may be.
        """
        ...


class PreparedContainer(Protocol):
    """A started container that waits for its files. Used once."""

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

        At `timeout_s` the container is killed from outside, and the step ends by `timeout` however long it takes to
        die. Seconds by which others delay it on its cores do not count, up to a multiple of the limit. Artifacts are
        read after its death only, through no link, regular files only, each under its cap; they count as missing where
        it does not die at all.

        Raises:
            StepLost: the engine failed after the command had begun; the step has no outcome.
            Starved: others kept its cores for so long that its deadline says nothing.
            SandboxError: the engine failed before that.
            FilesTooLarge: the workspace does not hold `files`.
            MachineError: the host could not write an artifact.
        """
        ...

    def converse(
        self, command: Sequence[str], *, files: Mapping[str, bytes], most_bytes: int, timeout_s: float
    ) -> Conversation:
        """Write `files`, begin `command` and wait for its greeting; it then answers requests until `close`.

        For trusted commands: what stays between requests is theirs to keep apart. Messages are framed as
        `aira_bench.sandbox.conversation` says, on standard input and output.

        Args:
            command: runs in the workspace.
            files: as in `run`.
            most_bytes: largest message either way.
            timeout_s: until the greeting.

        Raises:
            SandboxError: the engine failed, or no greeting came in time.
        """
        ...

    def inspect(self) -> Mapping[str, Any]:
        """Return what the engine says it has set for the container, in the terms of Docker's inspection."""
        ...

    @property
    def is_waiting(self) -> bool:
        """Whether it still waits for its files, as far as the host can tell: it may have died with its engine."""
        ...

    def close(self) -> None:
        """Remove the container, its reader and its workspace. Safe to call twice and at any moment."""
        ...


class Sandbox(Protocol):
    """An engine that makes containers."""

    def prepare(self, spec: ContainerSpec) -> PreparedContainer:
        """Create and start a container that waits for its files.

        Raises:
            PrerequisiteError: the engine or the image is not there.
            SandboxError: the engine failed.
        """
        ...

    def isolation(self, image: str, role: Role, *, gpu: bool) -> Isolation:
        """Return what separates containers of `image` in `role` from others; found out by trying at the first call.

        Raises:
            PrerequisiteError: the engine or the image is not there.
        """
        ...

    def sweep(self, run_id: str) -> int:
        """Remove whatever an earlier process left under `run_id`; return how many containers went."""
        ...

    def sweep_owner(self, owner: str) -> int:
        """Remove whatever a dead process left, known by its label (`aira_bench.sandbox.owner`); return how many
        containers went.

        Raises:
            SandboxError: something could not be removed.
        """
        ...
