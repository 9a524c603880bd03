"""Scores a `model.py`: a fit container traces it to graphs, a judge trains and scores the graphs.

The fit container runs the submission's code and sees nothing else: no data, no task folder, no network, no GPU. What it
leaves is one file of bounded size, copied out by name after its death. The judge sees that file and the hidden data,
and no byte of the submission's text. What goes wrong in either because of the submission (it raises, hangs, needs too
much) is a refusal; only the engine's failures are infrastructure's.

Not covered: whether the graphs are admissible, which is the judge's to check (`aira_evaluator.lra`).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from aira_bench.deadline import Deadline
from aira_bench.errors import SandboxError, TaskError
from aira_bench.escaping import printable
from aira_bench.evaluation.judge import judge_spec, run_judge, verdict_of
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import CRASHES, Refused, Unexplained, Verdict, signal_of
from aira_bench.output import last_line
from aira_bench.sandbox.sandbox import Artifact, ArtifactRequest, ContainerSpec, Limits, Sandbox, StepOutcome
from aira_bench.sandbox.warm import WarmContainer
from aira_contract.containers import DATA
from aira_contract.files import (
    GRAPHS_FILE,
    JUDGE_FILE,
    MAX_GRAPHS_BYTES,
    MAX_PROGRAMS_FILE_BYTES,
    PROGRAMS_FILE,
    TRACE_SCRIPT,
)
from aira_contract.invocation import CPU, CUDA, DONE, PLATFORM_OPTION, PROGRAMS_OPTION, REFUSED
from aira_contract.judge_settings import JudgeSettings
from aira_contract.settings import PROFILE_VARIABLE, SeedSet

GRAPHS = ArtifactRequest(GRAPHS_FILE, MAX_GRAPHS_BYTES)
PROGRAMS = ArtifactRequest(PROGRAMS_FILE, MAX_PROGRAMS_FILE_BYTES)
"""What a judge that compiles leaves for the next one (`aira_bench.record.compiled_programs`)."""
TRACE_TIMEOUT_S = 600.0
TRAININGS: dict[SeedSet, int] = {"search": 1, "final": 3}
"""Of a module, by seed set: the first training that confirms has the judge train on control tasks too, and gives it
their time."""
_OWN = ("tracing", "evaluation")
"""Deadlines that a submission answers for. Another is what the run has left, which is not the submission's fault."""


class TracedModule:
    """Scores `model.py` submissions, each in a fit and a judge container of its own, both started ahead."""

    def __init__(self, setting: EvaluationSetting, sandbox: Sandbox, limits: Limits, ahead: ThreadPoolExecutor) -> None:
        """Begin starting the first containers.

        Raises:
            TaskError: the task folder has no script that traces.
        """
        self._setting, self._limits = setting, limits
        try:
            # Given to the fit container as a file, since the task folder also names the hidden seeds.
            self._script = (setting.data.task / TRACE_SCRIPT).read_bytes()
        except OSError as error:
            raise TaskError(f"Task {setting.task.title} has no readable {TRACE_SCRIPT}: {error.strerror}.") from None
        self._platform = CPU if limits.gpu_uuid is None else CUDA
        self._fits = WarmContainer(sandbox, fit_spec(setting, limits), ahead)
        self._judges = WarmContainer(sandbox, judge_spec(setting, limits), ahead)

    def evaluate(self, submission: Submission, *, deadline: Deadline, destination: Path) -> Verdict:
        """Score one submission (`SubmissionEvaluator.evaluate`)."""
        graphs = self._trace(submission, deadline.first_part(TRACE_TIMEOUT_S, "tracing"), destination / "fit")
        if isinstance(graphs, Refused):
            return graphs
        times = TRAININGS[self._setting.seed_set] if self._has_controls(submission.training) else 1
        verdict = self._judge(graphs, deadline.stretched(times), destination, submission.training)
        if isinstance(verdict, Refused):
            return replace(verdict, seconds=deadline.used_s)
        admitted = self._setting.task.metadata.aira.admits
        return replace(verdict, unranked=tuple(flag for flag in verdict.unranked if flag not in admitted))

    def close(self) -> None:
        """Remove the containers started ahead."""
        self._fits.close()
        self._judges.close()

    def _has_controls(self, training: int) -> bool:
        return self._setting.seed_set == "final" and training == 0

    def _trace(self, submission: Submission, deadline: Deadline, destination: Path) -> bytes | Refused:
        name = self._setting.task.metadata.aira.artifact.name
        destination.mkdir(parents=True, exist_ok=True)
        container = self._fits.take()
        try:
            outcome = container.run(
                ["python3", TRACE_SCRIPT, PLATFORM_OPTION, self._platform],
                files={TRACE_SCRIPT: self._script, name: submission.content},
                timeout_s=deadline.limit_s,
                artifacts=[GRAPHS],
                destination=destination,
            )
        finally:
            container.close()
        deadline.lose(outcome.lost_s)
        (destination / "stderr.txt").write_text(printable(outcome.stderr.head + outcome.stderr.tail), encoding="utf-8")
        if outcome.ended == "timeout" and deadline.owner not in _OWN:
            raise SandboxError("The time of the run ended while a submission was traced.")
        reason = self._failure(outcome, deadline.limit_s)
        found = outcome.artifacts[GRAPHS.name]
        if reason is not None and outcome.is_unexplained:
            raise Unexplained(reason, Refused(reason, outcome.wall_s))
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
        if outcome.exit_code == REFUSED:
            return last_line(outcome.stderr) or f"{name}: cannot be traced"
        if outcome.exit_code != DONE:
            said = last_line(outcome.stderr) or "no message"
            return f"{name}: tracing ended with exit status {outcome.exit_code}: {said}"
        return None

    def _judge(self, graphs: bytes, deadline: Deadline, destination: Path, training: int) -> Verdict:
        own, left_s = deadline.owner in _OWN, deadline.left_s
        if left_s <= 0:
            if own:
                return Refused("tracing took all the time there is for an evaluation")
            raise SandboxError("The time of the run ended before a traced submission was judged.")
        outcome = self._run_judge(graphs, left_s if own else None, left_s, destination, training)
        deadline.lose(outcome.lost_s)
        return replace(self._verdict_on(outcome, deadline, left_s, own=own), gpu=outcome.gpu)

    def _verdict_on(self, outcome: StepOutcome, deadline: Deadline, left_s: float, *, own: bool) -> Verdict:
        """What the judge's ending says, where it had `left_s` and, with `own`, they are the submission's to keep."""
        name = self._setting.task.metadata.aira.artifact.name
        if outcome.ended == "timeout" and own:
            return Refused(f"{name}: training and scoring did not end within {left_s:.0f} s", outcome.wall_s)
        if outcome.ended in ("out_of_memory", "output_flood"):
            return Refused(f"{name}: compiling or training needs more than {outcome.above}", outcome.wall_s)
        if outcome.exit_code is not None and signal_of(outcome.exit_code) in CRASHES:
            return Refused(f"{name}: its graphs crash the compiler; they may be too long", outcome.wall_s)
        return verdict_of(self._setting, outcome, deadline)

    def _run_judge(
        self, graphs: bytes, told_s: float | None, timeout_s: float, destination: Path, training: int
    ) -> StepOutcome:
        """Train and score; where the run keeps compiled programs, with those of an earlier judge of these graphs."""
        deviation = self._setting.training_deviation if self._has_controls(training) else 0.0
        told = JudgeSettings(told_s, self._limits.memory_mib, self._setting.draw_secret, deviation)
        files = {f"{DATA}/{GRAPHS.name}": graphs, f"{DATA}/{JUDGE_FILE}": told.to_json()}
        store = self._setting.programs
        if store is not None and (kept := store.get(graphs)):
            files[PROGRAMS.name] = kept
        container = self._judges.take()
        try:
            outcome = run_judge(
                self._setting,
                files,
                container,
                timeout_s=timeout_s,
                destination=destination,
                options=[] if store is None else [PROGRAMS_OPTION, PROGRAMS.name],
                artifacts=[] if store is None else [PROGRAMS],
                training=training,
            )
        finally:
            container.close()
        left = outcome.artifacts.get(PROGRAMS.name)
        if store is not None and isinstance(left, Artifact):
            store.put(graphs, left.path)
        return outcome


def fit_spec(setting: EvaluationSetting, limits: Limits) -> ContainerSpec:
    """Return the container a submission is traced in: an image, no mount, no device."""
    return ContainerSpec(
        image=setting.images.agent,
        role="fit",
        run_id=setting.run_id,
        limits=replace(limits, gpu_uuid=None),
        environment={PROFILE_VARIABLE: setting.profile, "JAX_PLATFORMS": "cpu"},
    )
