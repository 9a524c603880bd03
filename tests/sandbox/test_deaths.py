"""However code ends, slowly, loudly or by its own hand, the step has an outcome; only the engine's word makes it lost."""

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_steps import SMALL, SUBMISSION, RunCode

from aira_bench.agents.agent import Brief
from aira_bench.agents.fixed_code import SolutionFileAgent
from aira_bench.boards.board import build_tables
from aira_bench.deadline import Deadline
from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import PrerequisiteError, SandboxError
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Verdict
from aira_bench.files import write_json
from aira_bench.images.ensure import ImageSet
from aira_bench.record.folder import RunFolder
from aira_bench.runs.line import Line
from aira_bench.runs.loop import run_seed
from aira_bench.runs.outcomes import failure_of
from aira_bench.runs.places import Place
from aira_bench.runs.session import SearchSession
from aira_bench.runs.slots import open_slots
from aira_bench.sandbox import artifacts, ending
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import (
    Artifact,
    ContainerSpec,
    FilesTooLarge,
    Limits,
    RejectedArtifact,
    StepLost,
    StepOutcome,
)
from aira_bench.sandbox.step_containers import DockerStep
from aira_bench.scaffolds.one_shot import OneShot
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import find_task
from aira_bench.world import SystemWorld
from eventually import eventually, stretched
from generated_runs import manifest

pytestmark = pytest.mark.docker

WRITE_AND_STAY = "open('submission.csv', 'w').write('mA'); import time; time.sleep(600)"


class SlowDeaths(DockerEngine):
    """An engine whose containers die `dying_s` after they were killed, as ones with many page tables do."""

    dying_s = 0.0

    def kill_container(self, container_id: str) -> bool:
        timer = threading.Timer(self.dying_s, super().kill_container, (container_id,))
        timer.daemon = True
        timer.start()
        return True


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDeaths]:
    monkeypatch.setattr(ending, "DEATH_POLL_S", 1.0)
    engine = SlowDeaths.connect()
    assert isinstance(engine, SlowDeaths)
    yield engine
    engine.close()


def solve(container: DockerStep, code: str, folder: Path, timeout_s: float = 1.0) -> StepOutcome:
    return container.run(
        ["python3", "solution.py"], files={"solution.py": code.encode()}, timeout_s=timeout_s, artifacts=[SUBMISSION],
        destination=folder,
    )  # fmt: skip


def test_a_kill_at_the_deadline_is_a_timeout_however_long_dying_takes(
    slow: SlowDeaths, spec: ContainerSpec, tmp_path: Path
) -> None:
    slow.dying_s = 3.0
    with DockerSandbox(slow) as sandbox:
        container = sandbox.prepare(spec)
        outcome = solve(container, WRITE_AND_STAY, tmp_path)
        container.close()
    assert (outcome.ended, outcome.exit_code) == ("timeout", None)
    assert outcome.wall_s >= 4.0
    assert isinstance(outcome.artifacts["submission.csv"], Artifact), "read when it was dead"


class NoEvaluator:
    """No submission is expected."""

    def evaluate(self, submission: Submission, *, deadline: Deadline, destination: Path) -> Verdict:
        raise AssertionError("there is nothing to evaluate")

    def close(self) -> None:
        """Nothing is open."""


def test_a_slow_death_counts_against_the_agent_and_buys_no_second_draft(
    slow: SlowDeaths, spec: ContainerSpec, tmp_path: Path
) -> None:
    slow.dying_s = 3.0
    record = manifest("slow", seeds=(0,), steps=5, agent="script:slow.py")
    run = RunFolder(tmp_path / "slow")
    write_json(run.path / "manifest.json", record.model_dump(mode="json"))
    plan = record.plan.model_copy(update={"scaffold": "one-shot", "step_timeout_s": 1.0})
    task = find_task("mad-2p")
    with DockerSandbox(slow) as sandbox:
        slots = open_slots(sandbox, [spec], lambda *_: NoEvaluator(), Line([Place()], folder=tmp_path / "leases"))
        session = SearchSession(
            plan=plan,
            brief=Brief("mad-2p", "", task.metadata.aira.artifact, "Accuracy", False, "cpu", "hidden", 1.0, 96),
            agent=SolutionFileAgent("script:slow.py", WRITE_AND_STAY),
            policy=OneShot(),
            evaluation=EvaluationSetting(
                task, "cpu", TaskData(tmp_path), ImageSet(spec.image, spec.image), spec.run_id, draw_secret="00"
            ),
            cache=None,
            slots=slots,
            world=SystemWorld(),
            watch=lambda progress: None,
        )
        ended = run_seed(session, run.seed(0), 0)
        slots.close()
    assert (ended.why, ended.submitted) == ("policy", None)
    (table,) = build_tables([run])
    (row,) = table.rows
    assert (row.valid_submission_rate, row.steps, row.infra_errors, row.retries) == (0.0, 1, 0, 0)


def test_what_never_dies_is_a_timeout_too_and_nothing_is_started_beside_it(
    slow: SlowDeaths, spec: ContainerSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.dying_s = 6.0
    monkeypatch.setattr(ending, "DEATH_TIMEOUT_S", 1.0)
    with DockerSandbox(slow) as sandbox:
        container, ahead = sandbox.prepare(spec), sandbox.prepare(spec)
        monkeypatch.setattr(sandbox, "_remove", lambda containers, volume: None)
        outcome = solve(container, WRITE_AND_STAY, tmp_path)
        container.close()
        assert outcome.ended == "timeout"
        rejected = outcome.artifacts["submission.csv"]
        assert isinstance(rejected, RejectedArtifact)
        assert rejected.reason == "missing"
        with pytest.raises(PrerequisiteError, match="was killed and has not died"):
            sandbox.prepare(spec)
        with pytest.raises(SandboxError, match="swept away"):
            solve(ahead, "pass", tmp_path)
        time.sleep(6.0)
        sandbox.prepare(spec).close()
        sandbox.sweep(spec.run_id)


def test_page_tables_without_end_are_a_lack_of_memory(run_code: RunCode) -> None:
    """One page looked at in every 2 MiB costs a table each; full tables are what takes the kernel long to take apart."""
    outcome = run_code(
        """
import ctypes, mmap, time
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no huge pages
open("submission.csv", "w").write("mA")
held = mmap.mmap(-1, 1 << 38, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
for at in range(0, len(held), 2 << 20): held[at]
time.sleep(600)
""",
        limits=Limits(memory_mib=1024, workspace_mib=16, tmp_mib=16, shm_mib=8, pids=48),
        timeout_s=60,
    )
    if outcome.peak_memory_mib is None:
        pytest.skip("the engine's control groups cannot be seen from here")
    failure = failure_of(outcome, "submission.csv", timeout_s=60, memory_mib=1024)
    assert failure is not None
    assert (failure.step_class, failure.reason) == ("out_of_memory", "killed above 384 MiB of kernel memory")


def test_a_killed_child_and_a_bad_exit_are_a_bug_and_not_a_lack_of_memory(run_code: RunCode) -> None:
    outcome = run_code(
        """
import os
if os.fork() == 0:
    held = []
    while True: held.append(bytearray(b'x') * (1 << 20))
os.wait()
raise SystemExit(3)
"""
    )
    assert (outcome.ended, outcome.exit_code) == ("exited", 3)
    failure = failure_of(outcome, "submission.csv", timeout_s=9, memory_mib=96)
    assert failure is not None
    assert failure.step_class == "buggy"


@pytest.mark.parametrize("ending", ["", "os._exit(0)"], ids=["endless", "that exits"])
def test_a_flood_ends_its_step_whether_it_would_stop_or_not(run_code: RunCode, ending: str) -> None:
    limits = replace(SMALL, output_mib=4)
    outcome = run_code(
        f"import os\nopen('submission.csv', 'w').write('mA')\nfor n in range({'99' if ending else '10**9'}):\n"
        f"    os.write(1 + n % 2, b'x' * 65536)\n{ending}",
        limits=limits,
    )
    assert outcome.ended == "output_flood"
    assert outcome.stdout.total_bytes + outcome.stderr.total_bytes <= 4 << 20
    failure = failure_of(outcome, "submission.csv", timeout_s=30, memory_mib=96)
    assert failure is not None
    assert (failure.step_class, failure.reason) == ("buggy", "killed above 4 MiB of output")


HOSTILE = {
    "stops itself": ("os.kill(os.getpid(), signal.SIGSTOP)", "timeout"),
    "ends its first thread": (
        "import ctypes, threading\nthreading.Thread(target=time.sleep, args=(600,)).start()\n"
        "ctypes.CDLL(None).syscall(60 if os.uname().machine == 'x86_64' else 93, 0)", "timeout",
    ),
    "closes all and stays": ("os.closerange(0, 256); time.sleep(600)", "timeout"),
    "closes all and ends": ("os.closerange(0, 256)", "exited"),
    "kills all it can": ("os.kill(-1, signal.SIGKILL)", "exited"),
    "kills its parents": ("[os.kill(p, s) for p in (1, os.getppid()) for s in (9, 19, 15)]; time.sleep(9)", "exited"),
    "processes without end": ("while True:\n    try: os.fork()\n    except OSError: pass", "timeout"),
    "fills everything": (
        "for f in ('/workspace', '/tmp', '/dev/shm'):\n"
        "    try:\n        for n in range(10**6): open(f'{f}/{n}', 'wb').write(bytes(1 << (n % 2 * 20)))\n"
        "    except OSError: pass\nopen('/workspace/0', 'w')", "exited",
    ),
    "forged frames": ("os.write(1, b'\\x01\\0\\0\\0\\xff\\xff\\xff\\xff' * 999 + b'ready\\nbegin\\n')", "exited"),
    "a deep tree": ("[(os.mkdir('d'), os.chdir('d')) for _ in range(3000)]", "exited"),
    "no way to its files": ("os.chmod('/workspace', 0)", "exited"),
}  # fmt: skip


@pytest.mark.parametrize("code", list(HOSTILE))
def test_nothing_that_code_does_to_its_container_is_the_engine_s_failure(run_code: RunCode, code: str) -> None:
    text, ended = HOSTILE[code]
    outcome = run_code(f"import os, signal, time\n{text}", timeout_s=2)
    assert outcome.ended == ended
    assert isinstance(outcome.artifacts["submission.csv"], RejectedArtifact)


def test_files_that_do_not_fit_are_not_the_engine_s_failure(
    sandbox: DockerSandbox, spec: ContainerSpec, tmp_path: Path
) -> None:
    container = sandbox.prepare(spec)
    with pytest.raises(FilesTooLarge, match="the workspace holds 16 MiB"):
        container.run(["true"], files={"a": bytes(16 << 20)}, timeout_s=5, artifacts=(), destination=tmp_path)
    container.close()
    assert not issubclass(FilesTooLarge, SandboxError)


SERVE_ON = "import signal, time\nsignal.signal(15, lambda *_: exit(0))\n" + WRITE_AND_STAY
BY_HAND: dict[str, tuple[str, float, Callable[[DockerEngine, str], object]]] = {
    "killed": (WRITE_AND_STAY, 60.0, lambda engine, step: engine.api.kill(step)),
    "told to end": (WRITE_AND_STAY, 60.0, lambda engine, step: engine.api.kill(step, signal="TERM")),
    "interrupted": (WRITE_AND_STAY, 60.0, lambda engine, step: engine.api.kill(step, signal="INT")),
    "stopped": (WRITE_AND_STAY, 60.0, lambda engine, step: engine.api.stop(step, timeout=1)),
    "stopped, with a good end": (SERVE_ON, 60.0, lambda engine, step: engine.api.stop(step, timeout=5)),
    "removed": (WRITE_AND_STAY, 60.0, lambda engine, step: engine.remove_container(step)),
    "paused beyond its deadline": (WRITE_AND_STAY, 3.0, lambda engine, step: engine.api.pause(step)),
}


class OpenEngine(DockerEngine):
    """One whose SDK tests may use, as a person uses the docker command."""

    @property
    def api(self) -> Any:  # noqa: ANN401 - the SDK is untyped
        return self._api


@pytest.mark.parametrize("how", list(BY_HAND))
def test_a_container_that_somebody_ends_from_outside_has_no_outcome(
    sandbox: DockerSandbox, spec: ContainerSpec, tmp_path: Path, how: str
) -> None:
    code, timeout_s, act = BY_HAND[how]
    container, outside = sandbox.prepare(spec), OpenEngine.connect()
    assert isinstance(outside, OpenEngine)
    with ThreadPoolExecutor(max_workers=1) as pool:
        running = pool.submit(solve, container, "print('seen', flush=True)\n" + code, tmp_path, timeout_s)
        eventually(lambda: container._pump.captured()[0].head, what="its output")
        act(outside, container.containers.step)
        with pytest.raises(StepLost, match="from outside") as caught:
            running.result(timeout=120)
    container.close()
    outside.close()
    assert caught.value.why == "outside"
    assert caught.value.output is not None
    assert caught.value.output[0].head == b"seen\n"


@pytest.mark.parametrize(
    "code",
    ["os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)", "os.kill(1, 15); time.sleep(9)", "os._exit(137)"],
)
def test_what_kills_itself_is_told_from_what_others_kill(run_code: RunCode, code: str) -> None:
    """Nothing tells it from what a machine without memory kills, so a run does it again, once (`Doubt`)."""
    outcome = run_code(f"import os, time\n{code}")
    assert (outcome.ended, outcome.exit_code) == ("exited", 143 if "15" in code else 137)
    assert outcome.is_unexplained


class FrozenEngine(DockerEngine):
    """One that says nothing of an end, nor takes a kill, from `freeze` until some time after the first kill, if any."""

    frozen_s, most_s = 4.0, 15.0
    thawed_s = 0.0

    def freeze(self) -> None:
        self.thawed_s = time.monotonic() + self.most_s

    def wait_container(self, container_id: str, timeout_s: float) -> int | None:
        if time.monotonic() < self.thawed_s:
            time.sleep(min(timeout_s, 0.5))
            return None
        return super().wait_container(container_id, timeout_s)

    def kill_container(self, container_id: str) -> bool:
        self.thawed_s = min(self.thawed_s, time.monotonic() + self.frozen_s)
        time.sleep(max(self.thawed_s - time.monotonic(), 0.0))
        return super().kill_container(container_id)


class FrozenElsewhere(FrozenEngine):
    """One on another machine: its numbers of processes say nothing here."""

    def inspect_container(self, container_id: str) -> dict[str, Any]:
        found = super().inspect_container(container_id)
        return found | {"State": found["State"] | {"Pid": 0}}


SILENT = {
    "ended, here": (FrozenEngine, "pass", "exited"),
    "ended, elsewhere": (FrozenElsewhere, "pass", "lost"),
    "still runs, here": (FrozenEngine, WRITE_AND_STAY, "timeout"),
    "still runs, elsewhere": (FrozenElsewhere, WRITE_AND_STAY, "timeout"),
}


@pytest.mark.parametrize("case", list(SILENT))
def test_an_engine_that_is_silent_at_the_deadline_makes_no_timeout_of_what_had_ended(
    spec: ContainerSpec, tmp_path: Path, case: str
) -> None:
    kind, code, ended = SILENT[case]
    engine = kind.connect()
    assert isinstance(engine, FrozenEngine)
    with DockerSandbox(engine) as sandbox:
        container = sandbox.prepare(spec)
        engine.freeze()
        if ended == "lost":
            with pytest.raises(StepLost, match="did not take the kill") as caught:
                solve(container, code, tmp_path, 3.0)
            assert caught.value.why == "away"
        else:
            assert solve(container, code, tmp_path, 3.0).ended == ended
        container.close()
    engine.close()


class WithoutRuntime(DockerEngine):
    """One whose containerd was killed: it hears of no end, and takes each kill for sent; then it finds nothing there."""

    is_deaf = False

    def wait_container(self, container_id: str, timeout_s: float) -> int | None:
        if not self.is_deaf:
            return super().wait_container(container_id, timeout_s)
        time.sleep(min(timeout_s, 0.2))
        return None

    def kill_container(self, container_id: str) -> bool:
        self.is_deaf = False
        super().kill_container(container_id)
        return True


@pytest.mark.parametrize(
    ("code", "timeout_s"),
    [("pass", 2.0), ("pass", 600.0), (WRITE_AND_STAY, 2.0)],
    ids=["ended", "ended long before", "still runs"],
)
def test_an_end_that_the_engine_never_heard_of_is_no_timeout_though_it_says_that_it_killed(
    spec: ContainerSpec, tmp_path: Path, code: str, timeout_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ending, "_UNTOLD_S", 1.0)
    engine = WithoutRuntime.connect()
    assert isinstance(engine, WithoutRuntime)
    with DockerSandbox(engine) as sandbox:
        container = sandbox.prepare(spec)
        engine.is_deaf = True
        began_s = time.monotonic()
        if code == "pass":
            with pytest.raises(StepLost, match="did not tell") as caught:
                solve(container, code, tmp_path, timeout_s)
            assert time.monotonic() - began_s < stretched(20), "it waits for no deadline"
            assert caught.value.why == "away"
        else:
            assert solve(container, code, tmp_path, timeout_s).ended == "timeout"
        container.close()
    engine.close()


def test_a_lack_of_memory_is_explained(run_code: RunCode) -> None:
    outcome = run_code("held = []\nwhile True: held.append(bytearray(b'x') * (1 << 20))")
    assert (outcome.ended, outcome.exit_code, outcome.is_unexplained) == ("out_of_memory", None, False)


@pytest.mark.parametrize("how", ["killed", "removed", "paused", "in any other way"])
def test_a_reader_that_ends_is_the_workspace_s_doing_unless_the_engine_was_told(
    sandbox: DockerSandbox, spec: ContainerSpec, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "READ_TIMEOUT_S", 2.0)
    container, outside = sandbox.prepare(spec), OpenEngine.connect()
    assert isinstance(outside, OpenEngine)
    reader = container.containers.reader
    if how == "in any other way":
        try:
            os.kill(int(outside.inspect_container(reader)["State"]["Pid"]), signal.SIGKILL)
        except (PermissionError, ProcessLookupError):
            pytest.skip("the engine's processes are out of reach from here")
        rejected = solve(container, "pass", tmp_path, 30.0).artifacts["submission.csv"]
        assert isinstance(rejected, RejectedArtifact)
        assert rejected.reason == "unreadable"
    else:
        {"killed": outside.api.kill, "removed": outside.remove_container, "paused": outside.api.pause}[how](reader)
        with pytest.raises(StepLost, match="reader was touched from outside") as caught:
            solve(container, "pass", tmp_path, 30.0)
        assert caught.value.why == "outside"
    container.close()
    outside.close()


def test_steps_leave_no_descriptor_open(run_code: RunCode, sandbox: DockerSandbox, run_id: str) -> None:
    run_code("pass")
    sandbox.sweep(run_id)
    gc.collect()
    gc.disable()
    try:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(8):
            run_code("pass")
        sandbox.sweep(run_id)
        # Two a step were left once, which would be 16. Connections to the engine are kept, a few more when it is slow.
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 6
    finally:
        gc.enable()
