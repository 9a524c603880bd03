"""Does a phase of a step in a slot, again where infrastructure fails.

Infrastructure errors are retried, with pauses, and counted; every attempt's files are kept. A phase that fails so
`ATTEMPTS` times has no result if the engine still runs an empty step, else the seed halts and can be resumed; neither
is ever a score. What an agent's code can bring about is no such error (`aira_bench.sandbox.ending`).

Not covered: what a step without a result counts for (`aira_bench.runs.step`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from aira_bench.errors import AskedInVain, SandboxError
from aira_bench.record.attempts import keep_attempt
from aira_bench.runs.session import StepPlace
from aira_bench.runs.slots import Slot
from aira_bench.sandbox.sandbox import FilesTooLarge, StepLost
from aira_bench.waiting import Stopped

Result = TypeVar("Result")
ATTEMPTS = 3
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


def in_slot(place: StepPlace, work: Callable[[Slot], Result], folder: Path) -> DonePhase[Result] | Undone:
    """Do one phase in a slot; slots are free while an agent thinks. What a failed attempt left in `folder` stays there.

    Raises:
        Stopped: the user stopped the run.
        OutOfTime: the hour budget ended inside the phase.
        SandboxError: the engine runs not even an empty step.
    """
    pauses_s = place.session.retry_pauses_s
    repeats, code_ran = 0, False
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with place.session.slots.slot(place.waits) as slot:
                place.check_stop()
                return DonePhase(work(slot), repeats)
        except FilesTooLarge as error:
            return Undone(error.message, too_large=True, repeats=repeats, code_ran=code_ran)
        except SandboxError as error:
            if place.session.stop.is_set():
                raise Stopped from error
            failure = error
        code_ran = code_ran or isinstance(failure, StepLost)
        keep_attempt(folder, failure, besides=[SOLUTION])
        place.tell(f"infrastructure failed, attempt {attempt} of {ATTEMPTS}")
        if isinstance(failure, AskedInVain):  # it has tried again itself; all again would train anew
            repeats += failure.attempts - 1
            break
        if attempt < ATTEMPTS:
            repeats += 1
            place.waits.pause(pauses_s[attempt - 1], "engine")
    _check_engine(place, failure)
    return Undone(failure.message, too_large=False, repeats=repeats, code_ran=code_ran)


def _check_engine(place: StepPlace, failure: SandboxError) -> None:
    """Raise `failure` unless a container still runs an empty program: then the step itself is at fault."""
    with place.session.slots.slot(place.waits) as slot:
        if not slot.agent.runs_empty_step(place.folder.path):
            raise failure
