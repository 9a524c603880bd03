"""Trains a `train.py` against an outside clock, and takes the model that it hands over.

A *fit* container runs the script on the public data and is killed at its deadline; the last model it handed over by
then counts, whatever else happened. What the script prints ran on public data: a failed one's last line is quoted to
the agent, and its lines of progress are kept as claimed (`told_training`).

Not covered: what is asked of the model (`served_script`), and what is fair beside busy neighbours (`pace`).
"""

import hashlib
import hmac
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from aira_bench.deadline import Deadline
from aira_bench.errors import SandboxError, TaskError
from aira_bench.escaping import printable
from aira_bench.evaluation.claim import CLAIM, claimed_value
from aira_bench.evaluation.pace import Pace, missed_s, was_fair
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.told_training import told_series
from aira_bench.evaluation.verdict import Refused, Unexplained
from aira_bench.gpus.use import GpuUse
from aira_bench.output import last_line
from aira_bench.sandbox.core_time import CoreTime
from aira_bench.sandbox.sandbox import (
    Artifact,
    ArtifactRequest,
    ContainerSpec,
    Limits,
    Mount,
    Sandbox,
    Starved,
    StepOutcome,
)
from aira_bench.sandbox.warm import WarmContainer
from aira_bench.tasks.profile import FitClock
from aira_contract.containers import DATA, WORKSPACE
from aira_contract.files import COMPANION_FILES, HANDOVER_FILE, MAX_TRAINING_BEGAN_BYTES, TRAINING_BEGAN_FILE
from aira_contract.settings import PROFILE_VARIABLE, TIME_BUDGET_VARIABLE, TRAINING_SEED_VARIABLE
from aira_contract.training_series import Series

BEGAN = ArtifactRequest(TRAINING_BEGAN_FILE, MAX_TRAINING_BEGAN_BYTES)
ATTEMPTS = 3
"""How often a script is trained anew, where others used its cores."""
_OWN = ("script", "evaluation")
"""Whose deadlines a script answers for."""


@dataclass(frozen=True)
class Handover:
    """A model's file on the host, and what is known of its making (`TrainingRecord`)."""

    folder: Path
    sha256: str
    claimed: float | None
    seconds: Mapping[str, float | None]
    gpu: GpuUse | None = None
    claimed_series: Series = ()
    """How its training went, by the script's own word."""


class ScriptTraining:
    """Trains scripts one after the other in one slot; the next container is started ahead."""

    def __init__(
        self, setting: EvaluationSetting, sandbox: Sandbox, limits: Limits, ahead: ThreadPoolExecutor, pace: Pace
    ) -> None:
        """Begin starting the first container; `pace` is the slot's.

        Raises:
            TaskError: the task names no clock for its profile, or its data lacks what lies beside a script.
        """
        clock = setting.task.profile(setting.profile).fit
        if clock is None:
            raise TaskError(f"Task {setting.task.title} has no aira.profiles.{setting.profile}.fit in its metadata.")
        missing = [name for name in COMPANION_FILES if not (setting.data.public / name).is_file()]
        if missing:
            raise TaskError(
                f"The public data of {setting.task.title} has no {', '.join(missing)}: another version prepared it.",
                hint=f"rm -r {setting.data.folder}   (the next run prepares it again)",
            )
        self._setting, self._limits, self.clock = setting, limits, clock
        self._containers = WarmContainer(sandbox, fit_spec(setting, limits, clock), ahead)
        self._pace = pace

    def train(self, submission: Submission, folder: Path, deadline: Deadline) -> Handover | Refused:
        """Run one script until it has had its time; what it handed over lies in `folder`.

        Raises:
            Starved: others used its cores each time.
            SandboxError: the engine failed, or the time of the run ended.
            Unexplained: it was killed, and the engine knows of no hand.
        """
        clock = self.clock
        limit = deadline.first_part(clock.budget_s + clock.start_up_s, "script")
        for _ in range(ATTEMPTS):
            stretch = 1.0 if self._limits.gpu_uuid else self._pace.for_training
            outcome = self._run_script(submission, folder, limit, stretch)
            training = training_in(outcome)
            self._pace.saw(outcome.core_time())
            self._pace.saw_training(training)
            if was_fair(training, stretch, clock.budget_s, gpu=self._limits.gpu_uuid is not None):
                deadline.lose(outcome.lost_s)
                return self._handed_over(outcome, folder, limit, fit_seconds(outcome, stretch))
            deadline.lose(outcome.wall_s)  # its neighbours' doing, all of it
            (folder / HANDOVER_FILE).unlink(missing_ok=True)
        missed = missed_s(training, stretch)
        raise Starved(
            f"Others used the cores of a training, {ATTEMPTS} times: it had them for {abs(missed):.0f} s "
            f"{'less' if missed > 0 else 'more'} than is due, of {clock.budget_s:.0f} s, and is not scored."
        )

    def _run_script(self, submission: Submission, folder: Path, limit: Deadline, stretch: float) -> StepOutcome:
        name = self._setting.task.metadata.aira.artifact.name
        companions = {name: (self._setting.data.public / name).read_bytes() for name in COMPANION_FILES}
        told = [f"{TIME_BUDGET_VARIABLE}={stretch * self.clock.budget_s:.3f}"] if stretch > 1 else []
        if self._setting.seed_set == "final":
            told.append(f"{TRAINING_SEED_VARIABLE}={self._seed_of(submission)}")
        container = self._containers.take()
        try:
            outcome = container.run(
                [*(["env", *told] if told else []), "python3", name],
                files={name: submission.content, **companions},
                timeout_s=limit.limit_s,
                artifacts=[BEGAN, CLAIM, ArtifactRequest(HANDOVER_FILE, self.clock.handover_mib << 20)],
                destination=folder,
            )
        finally:
            container.close()
        for stream, output in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
            text = printable(output.head + output.tail)
            (folder / f"fit_{stream}.txt").write_text(text, encoding="utf-8")
        return outcome

    def _seed_of(self, submission: Submission) -> int:
        """A number below 2 ** 31 that follows from this machine's secret, the script and the training's number."""
        said = f"training\0{submission.sha256}\0{submission.training}"
        drawn = hmac.new(bytes.fromhex(self._setting.draw_secret), said.encode(), hashlib.sha256).digest()
        return int.from_bytes(drawn[:4], "big") >> 1

    def _handed_over(
        self, outcome: StepOutcome, folder: Path, limit: Deadline, seconds: Mapping[str, float | None]
    ) -> Handover | Refused:
        model = outcome.artifacts[HANDOVER_FILE]
        if not isinstance(model, Artifact):
            if outcome.ended == "timeout" and limit.owner not in _OWN:
                raise SandboxError("The time of the run ended while a script trained.")
            detail = f": {model.detail}" if model.detail else ""
            reason = self._without_model(outcome, f"{model.reason}{detail}", limit)
            refused = Refused(reason, outcome.wall_s, gpu=outcome.gpu)
            if outcome.is_unexplained:
                raise Unexplained(refused.reason, refused)
            return refused
        model.path.chmod(0o644)
        claimed = claimed_value(outcome, self._setting.task.metric)
        told = told_series(outcome.stdout, outcome.stderr)
        return Handover(folder, model.sha256, claimed, seconds, outcome.gpu, told)

    def _without_model(self, outcome: StepOutcome, file: str, limit: Deadline) -> str:
        name, clock = self._setting.task.metadata.aira.artifact.name, self.clock
        if outcome.ended == "timeout" and limit.owner == "evaluation":  # the checks of a task may set a short one
            return f"{name} was killed after {limit.limit_s:.0f} s, all of its evaluation, and had handed no model over"
        if outcome.ended == "timeout":
            return (
                f"{name} was killed after {clock.budget_s + clock.start_up_s:.0f} s (budget {clock.budget_s:.0f} s, "
                f"start-up allowance {clock.start_up_s:.0f} s) and had handed no model over: call evaluate_bpb earlier"
            )
        if outcome.ended != "exited":
            return f"{name} was killed above {outcome.above} and had handed no model over"
        if file != "missing":
            return f"the handed-over model cannot be used: {file}"
        if outcome.exit_code != 0:
            said = last_line(outcome.stderr) or last_line(outcome.stdout) or "no message"
            return f"{name} ended with exit status {outcome.exit_code}: {said}"
        return f"{name} ended without handing a model over: it must call evaluate_bpb(model, ...)"

    def runs_empty_step(self, destination: Path) -> bool:
        """Whether a container still runs an empty program (`WarmContainer.runs_empty_step`)."""
        return self._containers.runs_empty_step(destination)

    def close(self) -> None:
        """Remove the container that is left."""
        self._containers.close()


def fit_spec(setting: EvaluationSetting, limits: Limits, clock: FitClock) -> ContainerSpec:
    """Return the container a script trains in: public data, no other."""
    return ContainerSpec(
        image=setting.images.agent,
        role="fit",
        run_id=setting.run_id,
        limits=limits,
        mounts=(Mount(setting.data.public, WORKSPACE / DATA, content=setting.public_sha256),),
        environment={PROFILE_VARIABLE: setting.profile, TIME_BUDGET_VARIABLE: f"{clock.budget_s:g}"},
    )


def fit_seconds(outcome: StepOutcome, stretch: float) -> dict[str, float | None]:
    """Start-up, training, everything, and what others took of it, by clocks that the script has no hand on; and how
    many times its budget it was told.

    Start-up ends with the first training batch, training with the last hand-over; None where there was no such file.
    A script can make either file early or late. It cannot change when the kernel says it did.
    """
    start_up_s, until_model_s = (_left_s(outcome, name) - outcome.began_s for name in (BEGAN.name, HANDOVER_FILE))
    seconds = {
        "start_up": start_up_s,
        "training": until_model_s - start_up_s,
        "until_handed_over": until_model_s,
        "fit": outcome.wall_s,
        "lost_to_others": outcome.lost_s,
        "lost_in_training": training_in(outcome).lost_s,
        "stretch": stretch,
    }
    return {name: round(value, 3) if math.isfinite(value) else None for name, value in seconds.items()}


def training_in(outcome: StepOutcome) -> CoreTime:
    """Return what others took of a training: from its first batch to the last hand-over.

    Where there was no such batch it is from the script's beginning, where nothing was handed over to its end.
    """
    began_s, handed_over_s = _left_s(outcome, BEGAN.name), _left_s(outcome, HANDOVER_FILE)
    return outcome.core_time(
        outcome.began_s if math.isnan(began_s) else began_s,
        outcome.began_s + outcome.wall_s if math.isnan(handed_over_s) else handed_over_s,
    )


def _left_s(outcome: StepOutcome, name: str) -> float:
    """When a file was left, on the clock of `StepOutcome.began_s`; not a number where there is none."""
    found = outcome.artifacts[name]
    return found.changed_s if isinstance(found, Artifact) else math.nan
