"""A sandbox that is none: it runs commands as plain processes of this machine, with mounts as links and paths put right.

For tests of what trusted scripts of our own do, many and quickly; tests with the mark `docker` run a few in containers.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aira_bench.hardware import Hardware
from aira_bench.images.ensure import ImageSet
from aira_bench.paths import HostPaths
from aira_bench.runs.host import Host
from aira_bench.sandbox.protocol import (
    Artifact,
    ArtifactRequest,
    CapturedOutput,
    ContainerSpec,
    Conversation,
    Isolation,
    RejectedArtifact,
    Role,
    StepOutcome,
)
from aira_bench.world import SystemWorld
from aira_contract.containers import WORKSPACE


@dataclass
class HostSandbox:
    """Remembers the roles of the containers it was asked for."""

    roles: list[str] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)

    def prepare(self, spec: ContainerSpec) -> "HostProcess":
        self.roles.append(spec.role)
        return HostProcess(spec)

    def isolation(self, image: str, role: Role, *, gpu: bool) -> Isolation:
        return Isolation("shared", "it is no container")

    def sweep(self, run_id: str) -> int:
        self.swept.append(run_id)
        return 0


class HostProcess:
    """One command in a temporary folder, which stands for the workspace."""

    def __init__(self, spec: ContainerSpec) -> None:
        self._spec = spec
        self._folder = tempfile.TemporaryDirectory(prefix="host-sandbox-")
        self._workspace = Path(self._folder.name)

    def run(
        self,
        command: Sequence[str],
        *,
        files: Mapping[str, bytes],
        timeout_s: float,
        artifacts: Sequence[ArtifactRequest],
        destination: Path,
    ) -> StepOutcome:
        for mount in self._spec.mounts:
            if mount.target.is_relative_to(WORKSPACE):
                (self._workspace / mount.target.relative_to(WORKSPACE)).symlink_to(mount.source)
        for name, content in files.items():
            (self._workspace / name).parent.mkdir(parents=True, exist_ok=True)
            (self._workspace / name).write_bytes(content)
        started_s = time.monotonic()
        try:
            done = subprocess.run(
                [self._here(part) for part in (sys.executable, *command[1:])],
                capture_output=True, timeout=timeout_s, cwd=self._workspace, check=False,
                env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **self._spec.environment},
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            none = {request.name: RejectedArtifact(request.name, "missing") for request in artifacts}
            return StepOutcome("timeout", None, timeout_s, _captured(b""), _captured(b""), none, None)
        copied = {request.name: self._copy(request, destination) for request in artifacts}
        output = _captured(done.stdout), _captured(done.stderr)
        return StepOutcome("exited", done.returncode, time.monotonic() - started_s, *output, copied, None)

    def _here(self, text: str) -> str:
        """Paths of the container as paths of this machine; `/task` and `/hidden` are mounted whole."""
        for mount in self._spec.mounts:
            text = text.replace(str(mount.target), str(mount.source)) if len(mount.target.parts) == 2 else text
        return text.replace(str(WORKSPACE), str(self._workspace))

    def _copy(self, request: ArtifactRequest, destination: Path) -> Artifact | RejectedArtifact:
        path = self._workspace / request.name
        if not path.is_file():
            return RejectedArtifact(request.name, "missing")
        data = path.read_bytes()
        if len(data) > request.max_bytes:
            return RejectedArtifact(request.name, "too large")
        (destination / request.name).write_bytes(data)
        return Artifact(request.name, destination / request.name, len(data), hashlib.sha256(data).hexdigest())

    def converse(
        self, command: Sequence[str], *, files: Mapping[str, bytes], most_bytes: int, timeout_s: float
    ) -> Conversation:
        raise NotImplementedError

    def inspect(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None:
        self._folder.cleanup()


def _captured(text: bytes) -> CapturedOutput:
    return CapturedOutput(text, b"", len(text), hashlib.sha256(text).hexdigest())


def host_without_containers(root: Path) -> tuple[Host, HostSandbox]:
    """A host whose sandbox runs plain processes, and the sandbox."""
    sandbox = HostSandbox()
    hardware = Hardware("test", 1, 1024, ())
    paths = HostPaths(root / "home", root / "runs")
    return Host(paths, sandbox, SystemWorld(), hardware, lambda flavour: ImageSet("agent", "evaluator")), sandbox
