"""Trains artifacts of runs again: as many at a time as there are places, and once more where infrastructure fails.

Not covered: which are trained, on which hidden data, and what becomes of their scores: those that confirm a run
(`confirm`), and those that check somebody's record (`rescore`).
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from aira_bench.deadline import Deadline
from aira_bench.errors import AskedInVain, RunStateError, SandboxError
from aira_bench.evaluation.catalog import open_evaluator
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting, SubmissionEvaluator
from aira_bench.evaluation.verdict import Unexplained, Verdict
from aira_bench.files import Unacceptable, read_recorded
from aira_bench.record.attempts import keep_attempt
from aira_bench.record.folder import SeedFolder
from aira_bench.record.manifest import RunPlan
from aira_bench.runs.host import Host, Note, clean_up, place_limits, wanted_of
from aira_bench.runs.line import Line
from aira_bench.runs.places import places_of
from aira_bench.runs.retries import ATTEMPTS, Doubt
from aira_bench.runs.slots import SlotPool
from aira_bench.sandbox.patience import EnginePauses, away_words, is_away
from aira_bench.tasks.artifact_spec import ArtifactSpec
from aira_bench.waiting import Waits

Work = TypeVar("Work")


@dataclass(frozen=True)
class Retraining:
    """One training of what a seed submitted."""

    seed: int
    step: int
    folder: SeedFolder
    artifact_sha256: str
    number: int
    """Which of its trainings, counted from 0."""
    of: int
    """How many there are to be."""

    @property
    def where(self) -> str:
        """Seed, step and training, for messages."""
        return f"seed {self.seed} step {self.step}, training {self.number + 1} of {self.of}"


@dataclass(frozen=True)
class Retrainer:
    """What trains: evaluators in slots, each with what an evaluation of the task may use."""

    slots: SlotPool[SubmissionEvaluator]
    most: int
    """How many at a time."""
    artifact: ArtifactSpec
    timeout_s: float
    """Of one evaluation."""
    waits: Waits
    stop: threading.Event
    sweep: Callable[[], object]
    """Removes all containers."""
    note: Note

    def train(self, each: Retraining, destination: Path, begun: Callable[[], None] = lambda: None) -> Verdict:
        """Wait for a slot, and train there; an engine that is away is waited for.

        Args:
            each: what is trained.
            destination: where what the judge wrote is kept; what is there already is set aside.
            begun: called when there is a slot.

        Raises:
            RunStateError: the artifact is not the recorded one.
            SandboxError: infrastructure failed to the end.
            Stopped: the work is over.
        """
        with self.slots.slot(self.waits) as evaluator:
            begun()
            submission = _submission(each, self.artifact)
            if destination.is_dir() and any(destination.iterdir()):  # of work that was cut short
                keep_attempt(destination)
            return self._evaluated(evaluator, submission, destination)

    def do_all(self, work: Callable[[Work], None], wanted: Sequence[Work]) -> None:
        """Do all of something, as many at a time as there are slots; one that fails, or a signal, ends the others: they
        stop, and the containers that they wait for are removed.

        Args:
            work: does one, by `train`.
            wanted: what is to be done.
        """
        first: list[BaseException] = []

        def do(each: Work) -> None:
            try:
                self.waits.check_stop()
                work(each)
            except BaseException as error:
                first.append(error)
                self.stop.set()  # here: this thread takes the next one before anybody hears of it
                raise

        with ThreadPoolExecutor(self.most, thread_name_prefix="trainings") as pool:
            running = [pool.submit(do, each) for each in wanted]
            try:
                wait(running, return_when=FIRST_EXCEPTION)
                if first:
                    raise first[0]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.end()
                raise

    def end(self) -> None:
        """Have all that is done stop; whatever runs in a container is cut short."""
        self.stop.set()
        self.sweep()

    def _evaluated(self, evaluator: SubmissionEvaluator, submission: Submission, destination: Path) -> Verdict:
        """The verdict, tried again where infrastructure fails.

        Raises:
            Stopped: whatever failed did so because its container was swept away.
        """
        attempt, doubt, patience = 1, Doubt(), EnginePauses()
        while True:
            try:
                deadline = Deadline.after(self.timeout_s, "evaluation")
                return evaluator.evaluate(submission, deadline=deadline, destination=destination)
            except SandboxError as error:
                if isinstance(error, Unexplained) and not doubt.spend():
                    return error.verdict
                failure = error
            self.waits.check_stop()
            pause_s = patience.pause_s() if is_away(failure) else None
            if pause_s is not None:
                said = f"{away_words(failure)}, next try in {pause_s:.0f} s: {failure.message}"
                self.waits.pause(pause_s, "engine", said)
                continue
            self.note(f"infrastructure failed, attempt {attempt} of {ATTEMPTS}: {failure.message}")
            keep_attempt(destination, failure)
            if isinstance(failure, AskedInVain) or is_away(failure) or attempt == ATTEMPTS:
                raise failure
            attempt += 1


@contextlib.contextmanager
def retrainer(host: Host, plan: RunPlan, setting: EvaluationSetting, most: int, note: Note) -> Iterator[Retrainer]:
    """Open slots for evaluations, and remove their containers in the end.

    Args:
        host: the machine, with the devices that may be used.
        plan: says which cores, how many at a time, and how long an evaluation may take.
        setting: of all of them.
        most: how many there are to do.
        note: told what is done.
    """
    with contextlib.ExitStack() as closing, contextlib.ExitStack() as stack:  # leases go last, after all containers
        host.sandbox.sweep(setting.run_id)
        stack.callback(clean_up, host, setting.run_id, note)
        stop = threading.Event()
        waits = Waits(stop, tell=lambda _, text: note(text))
        wanted = wanted_of(host, plan, all_gpus=True)
        line = Line(places_of(wanted), most=min(wanted.most, most))
        closing.callback(line.close)
        limits = place_limits(plan, setting.task, line.places)
        slots = SlotPool(
            host.sandbox, line, lambda index, ahead: open_evaluator(setting, host.sandbox, limits[index], ahead)
        )
        stack.callback(slots.close)
        yield Retrainer(
            slots, line.most, setting.task.metadata.aira.artifact, plan.evaluation_timeout_s, waits, stop,
            partial(host.sandbox.sweep, setting.run_id), note,
        )  # fmt: skip


def _submission(each: Retraining, artifact: ArtifactSpec) -> Submission:
    """The bytes of a step's artifact, which are those that were scored."""
    where = f"Seed {each.seed} step {each.step}: {artifact.name}"
    try:
        name = f"nodes/{each.step:04d}/{artifact.name}"
        content = read_recorded(each.folder.path, name, artifact.max_kib * 1024, each.artifact_sha256)
    except Unacceptable as error:
        raise RunStateError(f"{where}: {error}.") from error
    return Submission.of(artifact, content, each.number)
