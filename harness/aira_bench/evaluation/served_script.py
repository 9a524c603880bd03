"""Scores a `train.py`: has it trained against an outside clock, then has a judge question the model it left behind.

Three kinds of containers. *Fit* runs the script on the public data (`script_training`). *Judge* owns the hidden tokens
and never sees the model's file. *Predict* loads that file and answers the judge's questions over a socket; where rows
share source files there are several, one after the other.

Once a model is handed over, nothing is trained again for the same step: where infrastructure fails, the same model is
asked the same questions, in fresh containers. So a container that is lost on purpose buys nothing.

Nothing that the model prints is read here.

Not covered: the questions and the score (`aira_evaluator.autoresearch`).
"""

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from aira_bench.deadline import Deadline, WorkClock
from aira_bench.errors import AiraError, AskedInVain, SandboxError
from aira_bench.evaluation.judge import judge, judge_spec
from aira_bench.evaluation.pace import Pace
from aira_bench.evaluation.predictors import TAKING_TURNS, Predictors, predict_spec
from aira_bench.evaluation.script_training import Handover, ScriptTraining
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Refused, Scored, Verdict
from aira_bench.record.attempts import keep_attempt
from aira_bench.sandbox.core_share import MOST_TIMES
from aira_bench.sandbox.core_time import CoreTime
from aira_bench.sandbox.patience import EnginePauses, is_away, is_outside
from aira_bench.sandbox.sandbox import Limits, Sandbox, Starved, StepLost
from aira_bench.sandbox.warm import WarmContainer
from aira_contract.containers import DATA
from aira_contract.files import FIT_FILE, HANDOVER_FILE
from aira_contract.training_record import NO_ANSWER, TOO_SLOW, TrainingRecord

ATTEMPTS = 3
"""How often one hand-over is asked, if infrastructure fails."""
_ENDING_S = 5.0
_BY_TIME = (NO_ANSWER, TOO_SLOW)
_ROOM = 2.0


class ServedScript:
    """Scores scripts one after the other in one slot; containers that need no submission are started ahead."""

    def __init__(self, setting: EvaluationSetting, sandbox: Sandbox, limits: Limits, ahead: ThreadPoolExecutor) -> None:
        """Begin starting the first fit and judge containers.

        Raises:
            TaskError: the task names no clock for its profile, or its data lacks what lies beside a script.
        """
        self._pace = Pace()
        self._training = ScriptTraining(setting, sandbox, limits, ahead, self._pace)
        self._setting, self._sandbox, self._limits = setting, sandbox, limits
        self._clock = self._training.clock
        self._socket_volume = f"aira-sockets-{secrets.token_hex(6)}"
        # The judge computes on the slot's cores while the model computes on its GPU, or on the same cores in turn.
        alone = judge_spec(setting, replace(limits, gpu_uuid=None))
        judging = replace(alone, socket_volume=self._socket_volume, environment={**alone.environment, **TAKING_TURNS})
        self._judges = WarmContainer(sandbox, judging, ahead)
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
            made = self._training.train(submission, folder, deadline)
            if isinstance(made, Refused):
                return made
            return self._asked(made, deadline, destination)
        finally:
            (folder / HANDOVER_FILE).unlink(missing_ok=True)  # hundreds of MB; its hash is in the report

    def close(self) -> None:
        """Remove every container that is left."""
        self._closed.set()
        self._training.close()
        self._judges.close()
        with self._lock:
            if self._predictors is not None:
                self._predictors.stop()

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
            self._pace.saw(CoreTime(deadline.clock() - began_s + lost_s, lost_s, lost_s))
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
        if isinstance(verdict, Scored):
            return replace(verdict, claimed_series=made.claimed_series)
        return self._explained(verdict, predictors)

    def _told_stretch(self) -> float:
        """What the judge's own limits are stretched by: with room for neighbours who take more than they just did."""
        return min(_ROOM * self._pace.stretch, MOST_TIMES) if self._pace.stretch > 1 else 1.0

    def _explained(self, verdict: Refused, predictors: Predictors) -> Refused:
        """A refusal in the engine's words where the engine ended the predictor that the judge missed."""
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
            return self._training.runs_empty_step(destination)
        except AiraError:
            return False


def _is_lost(failure: AiraError) -> bool:
    """Whether a container was lost after its code had begun, by nothing that is known to be outside of it."""
    return isinstance(failure, StepLost) and not is_outside(failure)
