"""A `Sandbox` without containers: Python functions stand in for what commands do.

It keeps the contract of `aira_bench.sandbox.sandbox` (one step a container, artifacts by name and under their caps,
deadlines, sweeping), so that a search, an agent or an evaluator can be tested in milliseconds, and every failure of an
engine can be played. `run_unprotected` is a stand-in that runs the command itself, for code of one's own.

Not covered: isolation. Nothing here keeps code from the host, so no real run can use it: the probe before the first
step fails.
"""

import math
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.gpus.use import GpuUse
from aira_bench.output import CapturedOutput
from aira_bench.sandbox.artifacts import relative_path
from aira_bench.sandbox.core_time import CoreHistory
from aira_bench.sandbox.sandbox import (
    Artifact,
    ArtifactRequest,
    ContainerSpec,
    ConversationTimeout,
    EndReason,
    FilesTooLarge,
    Isolation,
    RejectedArtifact,
    Role,
    StepOutcome,
)
from aira_bench.sandbox.streams import OutputRecorder
from aira_bench.testing.world import PlayedWorld

_MIB = 2**20
KILLED = (137, 143)
"""Exit codes of a command that was killed by a hand of which the engine knows nothing."""


@dataclass(frozen=True)
class Call:
    """A command that a container is to run."""

    spec: ContainerSpec
    command: tuple[str, ...]
    files: Mapping[str, bytes]
    """What was written into the workspace, by relative path."""
    timeout_s: float


@dataclass(frozen=True)
class Done:
    """What a command did."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    """Regular files it left in the workspace, by relative path."""
    others: Collection[str] = ()
    """What it left there that is no regular file."""
    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0
    ended: EndReason = "exited"
    lost_s: float = 0.0
    """By how much others delayed it on its cores."""
    taken_s: float = 0.0
    """For how long others used a core of its, wanted or not; at least `lost_s`."""
    gpu: GpuUse | None = None
    """How its device worked."""
    changed_s: Mapping[str, float] = field(default_factory=dict)
    """When a file was written, in seconds from the command's beginning; unknown where nothing is said."""
    history: CoreHistory = field(default_factory=CoreHistory)
    """What others took along its time, from the command's beginning."""


Program = Callable[[Call], Done]
"""What all commands of a role do."""
Responder = Callable[[bytes], bytes]
"""What a command that stays answers to a request."""
EngineCall = Literal["prepare", "run", "converse", "ask", "inspect", "close", "sweep"]
"""What an engine is asked to do."""


@dataclass
class InMemorySandbox:
    """An engine whose containers are Python functions."""

    programs: Mapping[Role, Program]
    """By role of the container. A role without one has no image."""
    responders: Mapping[Role, Responder] = field(default_factory=dict)
    """For commands that stay, by role."""
    world: PlayedWorld = field(default_factory=PlayedWorld)
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Of played time that a command or an answer takes, by role; 0 where nothing is said."""
    fails: Callable[[int, ContainerSpec], bool] = lambda call, spec: False
    """Whether the engine breaks on a call; calls (runs and requests) are counted from 1."""
    failure: Exception = field(default_factory=lambda: SandboxError("The engine broke."))
    before: Callable[[EngineCall, Role | None], None] = lambda call, role: None
    """Told of each call before it is carried out, with the container's role; what it raises befalls that call."""
    calls: int = 0
    containers: set["InMemoryContainer"] = field(default_factory=set)
    """Those that are not closed yet."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, spec: ContainerSpec) -> "InMemoryContainer":
        """Return a container whose commands the role's program stands in for."""
        self.before("prepare", spec.role)
        if spec.role not in self.programs and spec.role not in self.responders:
            raise PrerequisiteError(f"The in-memory sandbox has no program for containers of role {spec.role!r}.")
        container = InMemoryContainer(self, spec)
        with self._lock:
            self.containers.add(container)
        return container

    def isolation(self, image: str, role: Role, *, gpu: bool) -> Isolation:
        """Shared: nothing separates them."""
        return Isolation("shared", "in-memory containers are functions of this process")

    def sweep(self, run_id: str) -> int:
        """Forget the open containers of a run; what runs in them has no outcome."""
        self.before("sweep", None)
        with self._lock:
            swept = {container for container in self.containers if container.spec.run_id == run_id}
            self.containers -= swept
        return len(swept)

    def sweep_owner(self, owner: str) -> int:
        """Return 0: containers of this engine end with their process."""
        self.before("sweep", None)
        return 0

    def forget(self, container: "InMemoryContainer") -> None:
        """Count a container as closed."""
        with self._lock:
            self.containers.discard(container)

    def spend(self, container: "InMemoryContainer", timeout_s: float) -> float:
        """Let a call take its time; return how much it is, cut at the deadline.

        Raises:
            SandboxError: the engine breaks on this call, or the container was closed or swept.
        """
        with self._lock:
            self.calls += 1
            number, is_open = self.calls, container in self.containers
        if not is_open:
            raise SandboxError("The container was swept away, or closed, before its step had ended.")
        if self.fails(number, container.spec):
            raise self.failure
        took_s = self.seconds.get(container.spec.role, 0.0)
        self.world.now_s += min(took_s, timeout_s)
        return took_s


@dataclass(eq=False)
class InMemoryContainer:
    """A container of an `InMemorySandbox`; runs one command, or holds one conversation."""

    sandbox: InMemorySandbox
    spec: ContainerSpec
    _used: bool = False

    def run(
        self,
        command: Sequence[str],
        *,
        files: Mapping[str, bytes],
        timeout_s: float,
        artifacts: Sequence[ArtifactRequest],
        destination: Path,
    ) -> StepOutcome:
        """Call the role's program, and keep the artifacts it left."""
        for request in artifacts:
            relative_path(request.name)
        self._take("run", files)
        began_s = self.sandbox.world.monotonic_s()
        took_s = self.sandbox.spend(self, timeout_s)
        if took_s > timeout_s:
            done = Done(ended="timeout")
        else:
            done = self.sandbox.programs[self.spec.role](Call(self.spec, tuple(command), files, timeout_s))
        if self not in self.sandbox.containers:
            raise SandboxError("The container was swept away before its step had ended.")
        flooded = len(done.stdout) + len(done.stderr) > self.spec.limits.output_mib * _MIB
        ended: EndReason = "output_flood" if flooded else done.ended
        destination.mkdir(parents=True, exist_ok=True)
        return StepOutcome(
            ended=ended,
            exit_code=done.exit_code if ended == "exited" else None,
            wall_s=min(took_s, timeout_s),
            stdout=captured(done.stdout),
            stderr=captured(done.stderr),
            artifacts={request.name: _copied(done, request, destination, began_s) for request in artifacts},
            peak_memory_mib=None,
            is_unexplained=ended == "exited" and done.exit_code in KILLED,
            lost_s=done.lost_s,
            taken_s=max(done.taken_s, done.lost_s),
            gpu=done.gpu,
            began_s=began_s,
            history=replace(done.history, at_s=[began_s + each for each in done.history.at_s]),
        )

    def converse(
        self, command: Sequence[str], *, files: Mapping[str, bytes], most_bytes: int, timeout_s: float
    ) -> "InMemoryConversation":
        """Begin a conversation with the role's responder."""
        self._take("converse", files)
        if self.spec.role not in self.sandbox.responders:
            raise SandboxError(f"The in-memory sandbox has no responder for containers of role {self.spec.role!r}.")
        return InMemoryConversation(self, most_bytes)

    def inspect(self) -> Mapping[str, Any]:
        """Return no description: no engine has set anything."""
        self.sandbox.before("inspect", self.spec.role)
        return {}

    @property
    def is_waiting(self) -> bool:
        """Whether it was neither used, closed nor swept."""
        return not self._used and self in self.sandbox.containers

    def close(self) -> None:
        """Forget the container, so that its sandbox counts one less."""
        self.sandbox.before("close", self.spec.role)
        self.sandbox.forget(self)

    def _take(self, call: EngineCall, files: Mapping[str, bytes]) -> None:
        for name in files:
            relative_path(name)
        if self._used:
            raise SandboxError("A container runs one step only.")
        self._used = True
        self.sandbox.before(call, self.spec.role)
        if sum(map(len, files.values())) > self.spec.limits.workspace_mib * _MIB:
            raise FilesTooLarge(
                f"The workspace of {self.spec.limits.workspace_mib} MiB does not hold the step's files."
            )


@dataclass
class InMemoryConversation:
    """Requests to a responder; the first that fails ends it."""

    container: InMemoryContainer
    most_bytes: int
    _broken: bool = False
    lost_s: float = 0.0
    """Nobody delays it."""

    def ask(self, request: bytes, *, timeout_s: float) -> bytes:
        """Return the responder's answer, if it is admissible and in time."""
        if len(request) > self.most_bytes:
            raise ValueError(f"a request of {len(request)} bytes, at most {self.most_bytes}")
        if self._broken:
            raise SandboxError("The conversation broke before.")
        self._broken = True
        sandbox = self.container.sandbox
        sandbox.before("ask", self.container.spec.role)
        if sandbox.spend(self.container, timeout_s) > timeout_s:
            raise ConversationTimeout("The container did not answer in time and was killed.")
        answer = sandbox.responders[self.container.spec.role](request)
        if len(answer) > self.most_bytes:
            raise SandboxError(f"It announced {len(answer)} bytes, at most {self.most_bytes}.")
        self._broken = False
        return answer


def captured(text: bytes) -> CapturedOutput:
    """Return a stream as a sandbox keeps it."""
    recorder = OutputRecorder()
    recorder.write(text)
    return recorder.captured()


def run_unprotected(call: Call) -> Done:
    """Run the command as a process of this machine, in a folder of its own. NOTHING keeps it from anything.

    For tests of code one would run anyway: `python3` is this interpreter, and the deadline is kept in real seconds.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, data in call.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        program, *arguments = call.command
        command = [sys.executable if program == "python3" else program, *arguments]
        try:
            done = subprocess.run(
                command, cwd=folder, env=_environment(call.spec), stdin=subprocess.DEVNULL, capture_output=True,
                timeout=call.timeout_s, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            return Done(stdout=error.stdout or b"", stderr=error.stderr or b"", ended="timeout")
        found = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
        plain = [path for path in found if path.is_file() and not path.is_symlink()]
        return Done(
            files={str(path.relative_to(folder)): path.read_bytes() for path in plain},
            others=[str(path.relative_to(folder)) for path in folder.rglob("*") if path not in plain],
            stdout=done.stdout,
            stderr=done.stderr,
            exit_code=done.returncode,
        )


def _environment(spec: ContainerSpec) -> dict[str, str]:
    """What containers see of an environment, and no key of the user's."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", **spec.environment}


def _copied(done: Done, request: ArtifactRequest, destination: Path, began_s: float) -> Artifact | RejectedArtifact:
    if request.name not in done.files:
        odd = request.name in done.others or any(
            str(parent) in done.others and str(parent) != "." for parent in PurePosixPath(request.name).parents
        )
        return RejectedArtifact(request.name, "not a regular file" if odd else "missing")
    data = done.files[request.name]
    if len(data) > request.max_bytes:
        detail = f"{len(data)} bytes, at most {request.max_bytes}"
        return RejectedArtifact(request.name, "too large", detail)
    path = destination / request.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    changed_s = began_s + done.changed_s.get(request.name, math.nan)
    return Artifact(request.name, path, len(data), sha256(data).hexdigest(), changed_s)
