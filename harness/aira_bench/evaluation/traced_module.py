"""Scores a `model.py`: a fit container traces it to graphs, a judge trains and scores the graphs.

The fit container runs the submission's code and sees nothing else: no data, no task folder, no network, no GPU. What it
leaves is one file of bounded size, copied out by name after its death. The judge sees that file and the hidden data,
and no byte of the submission's text. What goes wrong in either because of the submission (it raises, hangs, needs too
much) is a refusal; only the engine's failures are infrastructure's.

Not covered: whether the graphs are admissible, which is the judge's to check (`aira_evaluator.lra`).
"""

import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from aira_bench.errors import SandboxError, TaskError
from aira_bench.escaping import printable
from aira_bench.evaluation.compiled_programs import PROGRAMS
from aira_bench.evaluation.judge import has_whole_time, judge_spec, read_verdict, run_judge
from aira_bench.evaluation.protocol import EvaluationSetting
from aira_bench.evaluation.verdict import Refused, Verdict
from aira_bench.output import last_line
from aira_bench.sandbox.protocol import Artifact, ArtifactRequest, ContainerSpec, Limits, Sandbox, StepOutcome
from aira_bench.sandbox.warm import WarmContainer

SCRIPT = "trace.py"
"""Of the task folder; given to the fit container as a file, since the folder also names the hidden seeds."""
GRAPHS = ArtifactRequest("module.graphs", 160 << 20)
JUDGE_FILE = "judge.json"
TRACE_TIMEOUT_S = 600.0
TRAININGS = {"search": 1, "final": 3}
"""Of a module, by seed set: `aira-bench confirm` has the judge train on control tasks too, and gives it their time."""
_CRASHES = frozenset(
    128 + number for number in (signal.SIGILL, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGSEGV)
)
"""Exit statuses of a process that ended by a fault of its own. What a judge runs is our code and the submission's
graphs, the same every time: another attempt would end like this one."""


class TracedModule:
    """Scores `model.py` submissions, each in a fit and a judge container of its own, both started ahead."""

    def __init__(self, setting: EvaluationSetting, sandbox: Sandbox, limits: Limits, ahead: ThreadPoolExecutor) -> None:
        """Begin starting the first containers.

        Raises:
            TaskError: the task folder has no script that traces.
        """
        self._setting, self._limits = setting, limits
        try:
            self._script = (setting.data.task / SCRIPT).read_bytes()
        except OSError as error:
            raise TaskError(f"Task {setting.task.title} has no readable {SCRIPT}: {error.strerror}.") from None
        self._platform = "cpu" if limits.gpu_uuid is None else "cuda"
        self._fits = WarmContainer(sandbox, fit_spec(setting, limits), ahead)
        self._judges = WarmContainer(sandbox, judge_spec(setting, limits), ahead)

    def evaluate(self, submission: bytes, *, timeout_s: float, destination: Path) -> Verdict:
        """Score one submission (`SubmissionEvaluator.evaluate`)."""
        started_s = time.monotonic()
        # Less than the profile's time is what the run has left: running out of it is not the submission's fault.
        whole = has_whole_time(self._setting, timeout_s)
        graphs = self._trace(submission, timeout_s, destination / "fit", whole=whole)
        if isinstance(graphs, Refused):
            return graphs
        left_s = TRAININGS[self._setting.seed_set] * timeout_s - (time.monotonic() - started_s)
        verdict = self._judge(graphs, left_s, destination, whole=whole)
        if isinstance(verdict, Refused):
            return replace(verdict, seconds=time.monotonic() - started_s)
        admitted = self._setting.task.metadata.aira.admits
        return replace(verdict, unranked=tuple(flag for flag in verdict.unranked if flag not in admitted))

    def close(self) -> None:
        """Remove the containers started ahead."""
        self._fits.close()
        self._judges.close()

    def _trace(self, submission: bytes, timeout_s: float, destination: Path, *, whole: bool) -> bytes | Refused:
        limit_s = min(TRACE_TIMEOUT_S, timeout_s)
        name = self._setting.task.metadata.aira.artifact.name
        destination.mkdir(parents=True, exist_ok=True)
        container = self._fits.take()
        try:
            outcome = container.run(
                ["python3", SCRIPT, "--platform", self._platform],
                files={SCRIPT: self._script, name: submission},
                timeout_s=limit_s,
                artifacts=[GRAPHS],
                destination=destination,
            )
        finally:
            container.close()
        (destination / "stderr.txt").write_text(printable(outcome.stderr.head + outcome.stderr.tail), encoding="utf-8")
        if outcome.ended == "timeout" and not whole and limit_s < TRACE_TIMEOUT_S:
            raise SandboxError("The time of the run ended while a submission was traced.")
        reason = self._failure(outcome, limit_s)
        found = outcome.artifacts[GRAPHS.name]
        if reason is not None:
            return Refused(reason, outcome.wall_s)
        if not isinstance(found, Artifact):
            return Refused(f"{name}: tracing left no graphs ({found.reason})", outcome.wall_s)
        graphs = found.path.read_bytes()
        found.path.unlink()  # up to 160 MiB a step that the same text gives again
        return graphs

    def _failure(self, outcome: StepOutcome, limit_s: float) -> str | None:
        """How a fit container failed. What it says is the submission's word: quoted, never believed."""
        name = self._setting.task.metadata.aira.artifact.name
        if outcome.ended == "timeout":
            return f"{name}: tracing did not end within {limit_s:.0f} s"
        if outcome.ended != "exited":
            return f"{name}: tracing needs more than {outcome.above}"
        if outcome.exit_code == 2:
            return last_line(outcome.stderr) or f"{name}: cannot be traced"
        if outcome.exit_code != 0:
            said = last_line(outcome.stderr) or "no message"
            return f"{name}: tracing ended with exit status {outcome.exit_code}: {said}"
        return None

    def _judge(self, graphs: bytes, timeout_s: float, destination: Path, *, whole: bool) -> Verdict:
        if timeout_s <= 0:
            if whole:
                return Refused("tracing took all the time there is for an evaluation")
            raise SandboxError("The time of the run ended before a traced submission was judged.")
        name, memory_mib = self._setting.task.metadata.aira.artifact.name, self._limits.memory_mib
        told = {
            "timeout_s": timeout_s if whole else None,
            "memory_mib": memory_mib,
            "draw_secret": self._setting.draw_secret,
        }
        store = self._setting.programs
        container = self._judges.take()
        try:
            outcome = run_judge(
                self._setting,
                GRAPHS.name,
                {GRAPHS.name: graphs, JUDGE_FILE: json.dumps(told).encode()},
                container,
                timeout_s=timeout_s,
                destination=destination,
                programs=None if store is None else store.get(graphs) or b"",
            )
        finally:
            container.close()
        left = outcome.artifacts.get(PROGRAMS.name)
        if store is not None and isinstance(left, Artifact):
            store.put(graphs, left.path)
        if outcome.ended == "timeout" and whole:
            return Refused(f"{name}: training and scoring did not end within {timeout_s:.0f} s", outcome.wall_s)
        if outcome.ended in ("out_of_memory", "output_flood"):
            return Refused(f"{name}: compiling or training needs more than {outcome.above}", outcome.wall_s)
        if outcome.exit_code in _CRASHES:
            return Refused(f"{name}: its graphs crash the compiler; they may be too long", outcome.wall_s)
        return read_verdict(self._setting, outcome, timeout_s=timeout_s)


def fit_spec(setting: EvaluationSetting, limits: Limits) -> ContainerSpec:
    """The container a submission is traced in: an image, no mount, no device."""
    return ContainerSpec(
        image=setting.images.agent,
        role="fit",
        run_id=setting.run_id,
        limits=replace(limits, gpu_uuid=None),
        environment={"AIRA_PROFILE": setting.profile, "JAX_PLATFORMS": "cpu"},
    )
