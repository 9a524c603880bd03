"""What holds for every `Sandbox`: what a step is handed, what it leaves, how it ends.

Each check runs Python code in containers of one image that has `python3`. `SANDBOX_CHECKS` are the contract of
`aira_bench.sandbox.sandbox`; `ISOLATION_CHECKS` try the walls, with the probe that every run begins with.

Not covered: GPUs, file trees, and what separates containers from each other beyond that probe.
"""

import contextlib
import hashlib
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from aira_bench.errors import SandboxError
from aira_bench.excerpts import LINE_CHARS
from aira_bench.sandbox.probe import probe_all
from aira_bench.sandbox.sandbox import (
    Artifact,
    ArtifactRequest,
    ContainerSpec,
    FilesTooLarge,
    IsolationWord,
    Limits,
    PreparedContainer,
    RejectedArtifact,
    Sandbox,
    StepOutcome,
)
from aira_bench.testing.checks import Check, Nonconforming, require
from aira_contract.settings import PROFILE_VARIABLE

SMALL = Limits(memory_mib=96, workspace_mib=16, tmp_mib=16, shm_mib=8, pids=48, open_files=256, output_mib=4)
WANTED = ArtifactRequest("out.txt", 4096)
_SOON_S, _PATIENT_S = 1.5, 60.0
_LATE_S = 10.0
"""How long after its deadline a step may take to be dead."""
_REVERSING = """
import struct, sys
def say(data): sys.stdout.buffer.write(struct.pack(">I", len(data)) + data); sys.stdout.buffer.flush()
say(b"ready")
while head := sys.stdin.buffer.read(4):
    say(sys.stdin.buffer.read(struct.unpack(">I", head)[0])[::-1])
"""


@dataclass(frozen=True)
class SandboxOnImage:
    """A sandbox, and an image of its with `python3`."""

    sandbox: Sandbox
    image: str
    run_id: str = field(default_factory=lambda: f"check-{secrets.token_hex(6)}")

    @property
    def spec(self) -> ContainerSpec:
        """A small container for a step of an agent."""
        return ContainerSpec(self.image, "agent", self.run_id, SMALL)

    @contextlib.contextmanager
    def container(self, spec: ContainerSpec | None = None) -> Iterator[PreparedContainer]:
        """A container that is closed in the end."""
        container = self.sandbox.prepare(spec or self.spec)
        try:
            yield container
        finally:
            container.close()

    def run(
        self,
        code: str,
        *,
        files: Mapping[str, bytes] | None = None,
        wanted: Sequence[ArtifactRequest] = (WANTED,),
        timeout_s: float = _PATIENT_S,
        destination: Path | None = None,
        spec: ContainerSpec | None = None,
    ) -> StepOutcome:
        """Run Python code in a container of its own."""
        with contextlib.ExitStack() as stack:
            folder = destination or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            container = stack.enter_context(self.container(spec))
            given = {"code.py": code.encode(), **(files or {})}
            return container.run(
                ["python3", "code.py"], files=given, timeout_s=timeout_s, artifacts=wanted, destination=folder
            )


def _require_exit(outcome: StepOutcome, status: int = 0) -> None:
    said = (outcome.ended, outcome.exit_code)
    require(said == ("exited", status), f"an exit with status {status}", (*said, outcome.stderr.head[-LINE_CHARS:]))


def _do_nothing(container: PreparedContainer) -> StepOutcome:
    """Run an empty program."""
    with tempfile.TemporaryDirectory() as folder:
        return container.run(
            ["python3", "-c", "pass"], files={}, timeout_s=_PATIENT_S, artifacts=(), destination=Path(folder)
        )


def _prints(subject: SandboxOnImage) -> None:
    outcome = subject.run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    _require_exit(outcome, 3)
    streams = (outcome.stdout.head, outcome.stderr.head)
    require(streams == (b"out\n", b"err\n"), "both streams apart", streams)
    require(0 <= outcome.wall_s < _PATIENT_S, "the seconds it took", outcome.wall_s)


def _bounds_output(subject: SandboxOnImage) -> None:
    text = b"a" * 2**20 + b"z"
    outcome = subject.run("import sys; sys.stdout.write('a' * 2**20 + 'z')")
    out = outcome.stdout
    require(out.total_bytes == len(text), f"{len(text)} bytes counted", out.total_bytes)
    require(out.sha256 == hashlib.sha256(text).hexdigest(), "the hash of all of it", out.sha256)
    require(len(out.head) + len(out.tail) < len(text), "only a beginning and an end kept", len(out.head + out.tail))
    require(out.head.startswith(b"aaa") and out.tail.endswith(b"az"), "its beginning and its end", out.tail[-9:])


def _ends_floods(subject: SandboxOnImage) -> None:
    outcome = subject.run(f"import sys; sys.stdout.write('a' * {SMALL.output_mib * 2**20 + 10_000_000})")
    require(outcome.ended == "output_flood", "a step ended for printing without end", outcome.ended)
    require(outcome.exit_code is None, "no exit status", outcome.exit_code)


def _takes_files(subject: SandboxOnImage) -> None:
    data = bytes(range(256)) * 4096
    code = "import hashlib; print(hashlib.sha256(open('in/deep/data', 'rb').read()).hexdigest())"
    outcome = subject.run(code, files={"in/deep/data": data})
    _require_exit(outcome)
    require(outcome.stdout.head.strip().decode() == hashlib.sha256(data).hexdigest(), "the same bytes", "others")


def _refuses_too_many_files(subject: SandboxOnImage) -> None:
    try:
        outcome = subject.run("", files={"data": bytes((SMALL.workspace_mib + 1) * 2**20)})
    except FilesTooLarge:
        return
    raise Nonconforming(f"wanted FilesTooLarge for more than the workspace holds, seen {outcome.ended}")


def _refuses_odd_names(subject: SandboxOnImage) -> None:
    files: Mapping[str, bytes]
    for files, wanted in (
        ({"../out": b""}, ()),
        ({"/out": b""}, ()),
        ({}, [ArtifactRequest("../out", 9)]),
        ({}, [ArtifactRequest("a//b", 9)]),
    ):
        try:
            subject.run("", files=files, wanted=wanted)
        except ValueError:
            continue
        raise Nonconforming(f"wanted a ValueError for {[*files, *wanted]}, seen none")


def _copies_artifacts(subject: SandboxOnImage) -> None:
    with tempfile.TemporaryDirectory() as folder:
        code = "import os; os.mkdir('d'); open('out.txt', 'w').write('one'); open('d/two', 'w').write('two')"
        outcome = subject.run(code, wanted=[WANTED, ArtifactRequest("d/two", 3)], destination=Path(folder))
        _require_exit(outcome)
        for name, data in (("out.txt", b"one"), ("d/two", b"two")):
            found = outcome.artifacts[name]
            require(isinstance(found, Artifact), f"{name} as an artifact", found)
            assert isinstance(found, Artifact)
            seen = (found.path, found.path.read_bytes(), found.size_bytes, found.sha256)
            wanted = (Path(folder) / name, data, len(data), hashlib.sha256(data).hexdigest())
            require(seen == wanted, f"{wanted}", seen)
            require(not found.path.is_symlink(), "a plain file", found.path)


def _rejects_artifacts(subject: SandboxOnImage) -> None:
    cases = {
        "missing": "",
        "too large": "open('out.txt', 'w').write('a' * 4097)",
        "not a regular file": "import os; os.symlink('/etc/passwd', 'out.txt')",
    }
    for reason, code in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            outcome = subject.run(code, destination=Path(folder))
            found = outcome.artifacts["out.txt"]
            require(isinstance(found, RejectedArtifact) and found.reason == reason, f"rejected: {reason}", found)
            require(
                not (Path(folder) / "out.txt").exists(), f"no file where it is {reason}", list(Path(folder).iterdir())
            )


def _keeps_nothing(subject: SandboxOnImage) -> None:
    _require_exit(subject.run("open('left.txt', 'w').write('secret')"))
    outcome = subject.run("import os; print(sorted(os.listdir('.')))")
    require(outcome.stdout.head == b"['code.py']\n", "nothing but the step's own files", outcome.stdout.head)


def _keeps_deadlines(subject: SandboxOnImage) -> None:
    code = "import time; open('out.txt', 'w').write('early'); print('begun', flush=True); time.sleep(600)"
    outcome = subject.run(code, timeout_s=_SOON_S)
    require((outcome.ended, outcome.exit_code) == ("timeout", None), "a timeout without status", outcome.ended)
    require(outcome.wall_s < _SOON_S + _LATE_S, f"death within {_LATE_S:g} s of the deadline", outcome.wall_s)


def _runs_one_step(subject: SandboxOnImage) -> None:
    with subject.container() as container:
        _require_exit(_do_nothing(container))
        try:
            _do_nothing(container)
        except SandboxError:
            return
    raise Nonconforming("wanted a SandboxError for a container's second step, seen none")


def _closes_twice(subject: SandboxOnImage) -> None:
    for used in (False, True):
        container = subject.sandbox.prepare(subject.spec)
        if used:
            _do_nothing(container)
        container.close()
        container.close()
    require(subject.sandbox.sweep(subject.run_id) == 0, "nothing left after closing", "containers")


def _runs_side_by_side(subject: SandboxOnImage) -> None:
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(subject.run, f"print({number})") for number in range(3)]
        printed = [future.result().stdout.head for future in asked]
    require(printed == [b"0\n", b"1\n", b"2\n"], "each its own output", printed)


def _sweeps(subject: SandboxOnImage) -> None:
    mine, other = (
        replace(subject.spec, run_id=f"{subject.run_id}-a"),
        replace(subject.spec, run_id=f"{subject.run_id}-b"),
    )
    with subject.container(mine) as swept, subject.container(other) as kept, tempfile.TemporaryDirectory() as folder:
        require(subject.sandbox.sweep(mine.run_id) > 0, "the count of what was removed", 0)
        require(subject.sandbox.sweep(mine.run_id) == 0, "nothing to remove a second time", "something")
        arguments = {"files": {}, "timeout_s": _PATIENT_S, "artifacts": (), "destination": Path(folder)}
        _require_exit(kept.run(["python3", "-c", "pass"], **arguments))  # type: ignore[arg-type]
        try:
            swept.run(["python3", "-c", "pass"], **arguments)  # type: ignore[arg-type]
        except SandboxError:
            return
    raise Nonconforming("wanted a SandboxError from a container that was swept away, seen an outcome")


def _passes_the_environment(subject: SandboxOnImage) -> None:
    spec = replace(subject.spec, environment={PROFILE_VARIABLE: "cpu"})
    outcome = subject.run("import os; print(os.environ['AIRA_PROFILE'])", spec=spec)
    require(outcome.stdout.head == b"cpu\n", "the variable's value", outcome.stdout.head)


def _converses(subject: SandboxOnImage) -> None:
    spec = replace(subject.spec, role="judge")
    with subject.container(spec) as container:
        talk = container.converse(
            ["python3", "-u", "code.py"], files={"code.py": _REVERSING.encode()}, most_bytes=64, timeout_s=_PATIENT_S
        )
        for request in (b"", b"abc", bytes(range(64))):
            answer = talk.ask(request, timeout_s=_PATIENT_S)
            require(answer == request[::-1], "each request's own answer", answer)
        try:
            talk.ask(bytes(65), timeout_s=_PATIENT_S)
        except ValueError:
            return
    raise Nonconforming("wanted a ValueError for a request that is too long, seen none")


def _says_what_separates(subject: SandboxOnImage) -> None:
    found = subject.sandbox.isolation(subject.image, "agent", gpu=False)
    require(found.word in get_args(IsolationWord), f"one of {get_args(IsolationWord)}", found)
    require(bool(found.reason), "the reason", found)


def _holds(subject: SandboxOnImage) -> None:
    broken = [check for check in probe_all(subject.sandbox, subject.image) if not check.ok]
    require(not broken, "every wall", "; ".join(f"{each.name}: {each.seen}, not {each.expected}" for each in broken))


SANDBOX_CHECKS: tuple[Check[SandboxOnImage], ...] = (
    Check("it reports status and both streams", _prints),
    Check("it keeps beginning and end of long output, and counts and hashes all of it", _bounds_output),
    Check("it ends a step that prints without end", _ends_floods),
    Check("files arrive whole, in folders made for them", _takes_files),
    Check("files that the workspace does not hold are refused", _refuses_too_many_files),
    Check("names that are no plain relative paths are refused", _refuses_odd_names),
    Check("artifacts are copied out by name", _copies_artifacts),
    Check("what is missing, too large or no regular file is rejected", _rejects_artifacts),
    Check("nothing of a step reaches the next", _keeps_nothing),
    Check("a step is ended at its deadline", _keeps_deadlines),
    Check("a container runs one step", _runs_one_step),
    Check("closing twice is safe and leaves nothing", _closes_twice),
    Check("containers work side by side", _runs_side_by_side),
    Check("a sweep removes the containers of one run, which then have no outcome", _sweeps),
    Check("the environment that is asked for arrives", _passes_the_environment),
    Check("a command that stays answers one request at a time", _converses),
    Check("it says what separates its containers", _says_what_separates),
)
ISOLATION_CHECKS: tuple[Check[SandboxOnImage], ...] = (Check("every wall of the probe holds", _holds),)
