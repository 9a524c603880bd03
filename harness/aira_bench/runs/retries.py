"""Does a phase of a step in a slot, again where infrastructure fails.

Infrastructure errors are retried, with pauses, and counted; every attempt's files are kept. What comes of a phase that
fails `ATTEMPTS` times depends on what is known. An engine that is away is waited for, minutes if need be, and then the
seed halts; so it does where somebody meddled with the containers each time, or where the engine runs not even an empty
step. Else nobody can decide, and the step has no result. None of it is ever a score. What an agent's code can bring
about is no such error (`aira_bench.sandbox.ending`).

Not covered: what a step without a result counts for (`aira_bench.runs.step`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from aira_bench.errors import AskedInVain, EngineAway, EvaluationFailed, SandboxError
from aira_bench.record.attempts import keep_attempt
from aira_bench.record.folder import RunFolder
from aira_bench.runs.session import StepPlace
from aira_bench.runs.slots import Slot
from aira_bench.sandbox.patience import EnginePauses, away_words, is_away, is_outside
from aira_bench.sandbox.sandbox import FilesTooLarge, Starved, StepLost
from aira_bench.waiting import Stopped

Result = TypeVar("Result")
ATTEMPTS = 3
LOAD_TIMES = 20.0
"""How many times longer than for a failure of the engine it is waited where others had the cores."""
SOLUTION = "solution.py"


@dataclass(frozen=True)
class DonePhase(Generic[Result]):
    """A phase that was done."""

    result: Result
    repeats: int
    """How often it had to be done again."""


@dataclass(frozen=True)
class Undone:
    """A phase that has no result, and why."""

    reason: str
    too_large: bool
    """Its files did not fit: whoever made them is at fault. Else infrastructure failed, for this step alone."""
    repeats: int
    code_ran: bool
    """Whether code of the step's had begun in an attempt that was lost."""


class Doubt:
    """The one repetition that a kill is worth of which the engine knows nothing.

    The machine's own killer leaves no other trace than code that kills itself. Blaming the first would be wrong, and
    running the second again for ever too.
    """

    def __init__(self) -> None:
        self._is_spent = False

    def spend(self) -> bool:
        """Whether it is worth one now; no second time."""
        spent, self._is_spent = self._is_spent, True
        return not spent


def in_slot(place: StepPlace, work: Callable[[Slot], Result], folder: Path) -> DonePhase[Result] | Undone:
    """Do one phase in a slot; slots are free while an agent thinks. What a failed attempt left in `folder` stays there.

    Raises:
        Stopped: the user stopped the run.
        OutOfTime: the hour budget ended inside the phase.
        EvaluationFailed: the task's own evaluation is broken, which no repetition mends.
        SandboxError: the engine is away, or runs not even an empty step, or somebody ended every attempt.
    """
    tried = _Tried(place, folder)
    while True:
        try:
            with place.session.slots.slot(place.waits, place.seed) as slot:
                place.check_stop()
                return DonePhase(work(slot), tried.repeats)
        except FilesTooLarge as error:
            return Undone(error.message, too_large=True, repeats=tried.repeats, code_ran=tried.code_ran)
        except SandboxError as error:
            if place.session.stop.is_set():
                raise Stopped from error
            failure = error
        cause = _first_cause(failure)
        if isinstance(cause, EvaluationFailed) and not cause.crashed:
            keep_attempt(folder, failure, besides=[SOLUTION])
            raise EvaluationFailed(cause.message, hint=resume_command(place)) from failure
        if not tried.go_on_after(failure):
            break
    if is_outside(_first_cause(failure)) or not tried.engine_works():
        raise SandboxError(failure.message, hint=resume_command(place)) from failure
    return Undone(failure.message, too_large=False, repeats=tried.repeats, code_ran=tried.code_ran)


@dataclass
class _Tried:
    """The attempts at one phase so far."""

    place: StepPlace
    folder: Path
    failed: int = 0
    repeats: int = 0
    code_ran: bool = False
    patience: EnginePauses = field(default_factory=EnginePauses)

    def go_on_after(self, failure: SandboxError) -> bool:
        """Keep what a failed attempt left and wait until the next has a chance; False if there shall be none.

        Raises:
            EngineAway: the wait was in vain.
            Stopped: the user stopped the run.
        """
        lost = isinstance(failure, StepLost)
        self.code_ran = self.code_ran or lost
        if is_away(failure) and not lost:  # nothing was tried: no engine was there to try it
            self._await_engine(failure)
            return True
        keep_attempt(self.folder, failure, besides=[SOLUTION])
        self.failed += 1
        said = f"infrastructure failed, attempt {self.failed} of {ATTEMPTS}: {failure.message}"
        if isinstance(failure, AskedInVain):  # it has tried again itself; all again would train anew
            self.place.tell(said)
            self.repeats += failure.attempts - 1
            return False
        if self.failed == ATTEMPTS:
            self.place.tell(said)
            return False
        self.repeats += 1
        pause_s = self.place.session.retry_pauses_s[self.failed - 1]
        if isinstance(failure, Starved):  # neighbours stay longer than an engine's failures
            self.place.waits.pause(LOAD_TIMES * pause_s, "load", said)
        else:
            self.place.waits.pause(pause_s, "engine", said)
        return True

    def engine_works(self) -> bool:
        """Whether a container still runs an empty program: then the step itself is at fault.

        Raises:
            EngineAway: nobody could be asked.
            Stopped: the user stopped the run.
        """
        while True:
            try:
                with self.place.session.slots.slot(self.place.waits, self.place.seed) as slot:
                    return slot.agent.runs_empty_step(self.place.folder.path)
            except EngineAway as error:
                self._await_engine(error)

    def _await_engine(self, failure: SandboxError) -> None:
        pause_s = self.patience.pause_s()
        if pause_s is None:
            waited = f"{failure.message} It was waited for {self.patience.waited_s:.0f} s."
            raise EngineAway(waited, hint=resume_command(self.place)) from failure
        said = f"{away_words(failure)}, next try in {pause_s:.0f} s: {failure.message}"
        self.place.waits.pause(pause_s, "engine", said)


def _first_cause(failure: SandboxError) -> SandboxError:
    """What befell a model that was asked in vain; other failures speak for themselves."""
    cause = failure.__cause__
    return cause if isinstance(failure, AskedInVain) and isinstance(cause, SandboxError) else failure


def resume_command(place: StepPlace) -> str:
    """Return what to type once the machine is mended."""
    elsewhere = place.session.evaluation.elsewhere
    return RunFolder(place.folder.path.parents[1]).command("resume", *(elsewhere.options if elsewhere else ()))
