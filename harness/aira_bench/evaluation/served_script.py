"""Scores a `train.py`: runs it against an outside clock, then has a judge question the model it left behind.

Three kinds of containers. *Fit* runs the script on the public data and is killed at its deadline; the last model it
handed over by then counts, whatever else happened. *Judge* owns the hidden tokens and never sees the model's file.
*Predict* loads that file and answers the judge's questions over a socket; where rows share source files there are
several, one after the other.

Once a model is handed over, nothing is trained again for the same step: where infrastructure fails, the same model is
asked the same questions, in fresh containers. So a container that is lost on purpose buys nothing.

Nothing that the script or the model prints is read here, except that a failed script's last line is quoted to the
agent; it ran on public data.

Not covered: the questions and the score (`aira_evaluator.autoresearch`).
"""

import hashlib
import hmac
import math
import secrets
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from aira_bench.deadline import Deadline, WorkClock
from aira_bench.errors import AiraError, AskedInVain, SandboxError, TaskError
from aira_bench.escaping import printable
from aira_bench.evaluation.claim import CLAIM, claimed_value
from aira_bench.evaluation.judge import judge, judge_spec
from aira_bench.evaluation.pace import Pace, missed_s, was_fair
from aira_bench.evaluation.predictors import TAKING_TURNS, Predictors, predict_spec
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Refused, Scored, Unexplained, Verdict
from aira_bench.gpus.use import GpuUse
from aira_bench.output import last_line
from aira_bench.record.attempts import keep_attempt
from aira_bench.sandbox.core_share import MOST_TIMES
from aira_bench.sandbox.patience import EnginePauses, is_away, is_outside
from aira_bench.sandbox.sandbox import (
    Artifact,
    ArtifactRequest,
    ContainerSpec,
    Limits,
    Mount,
    Sandbox,
    Starved,
    StepLost,
    StepOutcome,
)
from aira_bench.sandbox.warm import WarmContainer
from aira_bench.tasks.metadata import FitClock
from aira_contract.containers import DATA, WORKSPACE
from aira_contract.files import COMPANION_FILES, FIT_FILE, HANDOVER_FILE, MAX_TRAINING_BEGAN_BYTES, TRAINING_BEGAN_FILE
from aira_contract.settings import PROFILE_VARIABLE, TIME_BUDGET_VARIABLE, TRAINING_SEED_VARIABLE
from aira_contract.training_record import NO_ANSWER, TOO_SLOW, TrainingRecord

BEGAN = ArtifactRequest(TRAINING_BEGAN_FILE, MAX_TRAINING_BEGAN_BYTES)
ATTEMPTS = 3
"""How often one hand-over is asked, if infrastructure fails."""
_ENDING_S = 5.0
_OWN = ("script", "evaluation")
"""Whose deadlines a script answers for."""
_BY_TIME = (NO_ANSWER, TOO_SLOW)
_ROOM = 2.0


@dataclass(frozen=True)
class Handover:
    """A model's file on the host, and what is known of its making (`TrainingRecord`)."""

    folder: Path
    sha256: str
    claimed: float | None
    seconds: Mapping[str, float | None]
    gpu: GpuUse | None = None


class ServedScript:
    """Scores scripts one after the other in one slot; containers that need no submission are started ahead."""

    def __init__(self, setting: EvaluationSetting, sandbox: Sandbox, limits: Limits, ahead: ThreadPoolExecutor) -> None:
        """Begin starting the first fit and judge containers.

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
        self._setting, self._sandbox, self._limits, self._clock = setting, sandbox, limits, clock
        self._socket_volume = f"aira-sockets-{secrets.token_hex(6)}"
        self._fits = WarmContainer(sandbox, fit_spec(setting, limits, clock), ahead)
        # The judge computes on the slot's cores while the model computes on its GPU, or on the same cores in turn.
        alone = judge_spec(setting, replace(limits, gpu_uuid=None))
        judging = replace(alone, socket_volume=self._socket_volume, environment={**alone.environment, **TAKING_TURNS})
        self._judges = WarmContainer(sandbox, judging, ahead)
        self._pace = Pace()
        self._lock = threading.Lock()
        self._predictors: Predictors | None = None
        self._closed = threading.Event()

    def evaluate(self, submission: Submission, *, deadline: Deadline, destination: Path) -> Verdict:
        """Score one script (`SubmissionEvaluator.evaluate`).

        Raises:
            AskedInVain: infrastructure failed after the model was handed over; it must not be trained again.
        """
        destination.mkdir(parents=True, exist_ok=True)
        folder = destination / "handover"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # predict containers run as another user
        try:
            made = self._fit(submission, folder, deadline)
            if isinstance(made, Refused):
                return made
            return self._asked(made, deadline, destination)
        finally:
            (folder / HANDOVER_FILE).unlink(missing_ok=True)  # hundreds of MB; its hash is in the report

    def close(self) -> None:
        """Remove every container that is left."""
        self._closed.set()
        self._fits.close()
        self._judges.close()
        with self._lock:
            if self._predictors is not None:
                self._predictors.stop()

    def _fit(self, submission: Submission, folder: Path, deadline: Deadline) -> Handover | Refused:
        clock = self._clock
        limit = deadline.first_part(clock.budget_s + clock.start_up_s, "script")
        for _ in range(ATTEMPTS):
            stretch = 1.0 if self._limits.gpu_uuid else self._pace.stretch
            started_s, outcome = self._run_script(submission, folder, limit, stretch)
            self._pace.saw(outcome.wall_s, outcome.lost_s)
            if was_fair(outcome, stretch, clock.budget_s, gpu=self._limits.gpu_uuid is not None):
                deadline.lose(outcome.lost_s)
                return self._handed_over(outcome, folder, limit, fit_seconds(outcome, started_s, stretch))
            deadline.lose(outcome.wall_s)  # its neighbours' doing, all of it
            (folder / HANDOVER_FILE).unlink(missing_ok=True)
        missed = missed_s(outcome, stretch)
        raise Starved(
            f"Others used the cores of a training, {ATTEMPTS} times: it had them for {abs(missed):.0f} s "
            f"{'less' if missed > 0 else 'more'} than is due, of {clock.budget_s:.0f} s, and is not scored."
        )

    def _run_script(
        self, submission: Submission, folder: Path, limit: Deadline, stretch: float
    ) -> tuple[float, StepOutcome]:
        """When it began on the host's monotonic clock, and how it ended."""
        name = self._setting.task.metadata.aira.artifact.name
        companions = {name: (self._setting.data.public / name).read_bytes() for name in COMPANION_FILES}
        told = [f"{TIME_BUDGET_VARIABLE}={stretch * self._clock.budget_s:.3f}"] if stretch > 1 else []
        if self._setting.seed_set == "final":
            told.append(f"{TRAINING_SEED_VARIABLE}={self._training_seed(submission)}")
        container = self._fits.take()
        started_s = time.monotonic()
        try:
            outcome = container.run(
                [*(["env", *told] if told else []), "python3", name],
                files={name: submission.content, **companions},
                timeout_s=limit.limit_s,
                artifacts=[BEGAN, CLAIM, ArtifactRequest(HANDOVER_FILE, self._clock.handover_mib << 20)],
                destination=folder,
            )
        finally:
            container.close()
        for stream, output in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
            text = printable(output.head + output.tail)
            (folder / f"fit_{stream}.txt").write_text(text, encoding="utf-8")
        return started_s, outcome

    def _training_seed(self, submission: Submission) -> int:
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
        return Handover(folder, model.sha256, claimed, seconds, outcome.gpu)

    def _without_model(self, outcome: StepOutcome, file: str, limit: Deadline) -> str:
        name, clock = self._setting.task.metadata.aira.artifact.name, self._clock
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

    def _asked(self, made: Handover, deadline: Deadline, destination: Path) -> Verdict:
        """The verdict on a handed-over model, asked the same again where infrastructure fails; all files are kept.

        An engine that is away is waited for here, with the model in hand: a seed that halts would train it anew.
        """
        attempt, patience = 1, EnginePauses()
        while True:
            try:
                return replace(self._serve(made, deadline, destination), attempts=attempt, gpu=made.gpu)
            except SandboxError as error:
                failure = error
            keep_attempt(destination, failure, besides=[made.folder.name])
            if self._closed.is_set() or deadline.has_passed:
                break
            pause_s = patience.pause_s() if is_away(failure) else None
            if pause_s is not None:
                self._closed.wait(pause_s)
                deadline.lose(pause_s)
            elif attempt == ATTEMPTS or is_away(failure):
                break
            else:
                attempt += 1
        served = self._predictors
        its_doing = served is not None and (served.failure is failure or served.ended_unexplained)
        if its_doing and _is_lost(failure) and self._engine_works(destination):
            return Refused(f"the container that served the model was lost {attempt} times", attempts=attempt)
        raise AskedInVain(failure.message, hint=failure.hint, attempts=attempt) from failure

    def _serve(self, made: Handover, deadline: Deadline, destination: Path) -> Verdict:
        container = self._judges.take()
        spec = predict_spec(self._setting, self._limits, made.folder, self._socket_volume)
        sockets = [secrets.token_hex(16) for _ in range(self._clock.predictors)]
        told = TrainingRecord(
            made.sha256, made.claimed, self._clock.serving_s, made.seconds, sockets, self._setting.draw_secret,
            self._told_stretch(),
        )  # fmt: skip
        worked = WorkClock()
        predictors = Predictors(
            self._sandbox, spec, sockets, self._clock.serving_s, destination, on_failure=container.close,
            clock=worked,
        )  # fmt: skip
        with self._lock:
            self._predictors = predictors
        lost_before_s, began_s = deadline.clock.lost_s, deadline.clock()
        name = self._setting.task.metadata.aira.artifact.name
        try:
            predictors.start()
            verdict = judge(
                self._setting,
                # The upstream layout wants the first; nobody reads it.
                {f"{DATA}/{name}": b"", f"{DATA}/{FIT_FILE}": told.to_json()},
                container,
                deadline=deadline.remainder(least_s=1.0),
                destination=destination,
            )
            lost_s = deadline.clock.lost_s - lost_before_s
            worked.lose(lost_s)
            self._pace.saw(deadline.clock() - began_s + lost_s, lost_s)
        except Starved:
            predictors.stop()
            raise
        except SandboxError as error:
            predictors.stop()
            if "timeout" not in predictors.endings:
                raise predictors.failure or error from None
            verdict = Refused("")  # the judge was ended, since no predictor would come any more; explained below
        finally:
            predictors.stop(_ENDING_S)  # how it ended by itself says whose failure a refusal is
            container.close()
        if predictors.failure is not None:
            raise predictors.failure
        if isinstance(verdict, Refused) and predictors.ended_unexplained:
            raise StepLost(
                "The container that served the model was killed by nobody that the engine knows of.", why="unexplained"
            )
        if isinstance(verdict, Refused) and self._pace.stretch > told.stretch and verdict.reason.startswith(_BY_TIME):
            raise Starved(f"Others used the cores while a model was served: {verdict.reason}.")
        return self._explained(verdict, predictors)

    def _told_stretch(self) -> float:
        """What the judge's own limits are stretched by: with room for neighbours who take more than they just did."""
        return min(_ROOM * self._pace.stretch, MOST_TIMES) if self._pace.stretch > 1 else 1.0

    def _explained(self, verdict: Verdict, predictors: Predictors) -> Verdict:
        """A refusal in the engine's words where the engine ended the predictor that the judge missed."""
        if isinstance(verdict, Scored):
            return verdict
        if "out_of_memory" in predictors.endings:
            reason = f"the model was killed above {self._limits.memory_mib} MiB of memory while it was served"
        elif "output_flood" in predictors.endings:
            reason = f"the model printed more than {self._limits.output_mib} MiB while it was served"
        elif "timeout" in predictors.endings:
            reason = f"serving the model took longer than {self._clock.serving_s:.0f} s"
        else:
            return verdict
        return Refused(reason, verdict.seconds)

    def _engine_works(self, destination: Path) -> bool:
        """Whether a container still runs an empty program: then a lost one is the doing of what it ran."""
        try:
            return self._fits.runs_empty_step(destination)
        except AiraError:
            return False


def _is_lost(failure: AiraError) -> bool:
    """Whether a container was lost after its code had begun, by nothing that is known to be outside of it."""
    return isinstance(failure, StepLost) and not is_outside(failure)


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


def fit_seconds(outcome: StepOutcome, started_s: float, stretch: float) -> dict[str, float | None]:
    """Start-up, training, everything, and what others took of it, by clocks that the script has no hand on; and how
    many times its budget it was told.

    Start-up ends with the first training batch, training with the last hand-over; None where there was no such file.
    A script can make either file early or late. It cannot change when the kernel says it did.
    """
    began, model = outcome.artifacts[BEGAN.name], outcome.artifacts[HANDOVER_FILE]
    start_up_s = began.changed_s - started_s if isinstance(began, Artifact) else math.nan
    until_model_s = model.changed_s - started_s if isinstance(model, Artifact) else math.nan
    seconds = {
        "start_up": start_up_s,
        "training": until_model_s - start_up_s,
        "until_handed_over": until_model_s,
        "fit": outcome.wall_s,
        "lost_to_others": outcome.lost_s,
        "stretch": stretch,
    }
    return {name: round(value, 3) if math.isfinite(value) else None for name, value in seconds.items()}
