"""Carries out trainings as processes: one after the other, or several at a time where they share no device.

The process of a training locks its folder, so that the folder stays its own after whoever began it was killed.
Whoever is stopped asks its trainings to stop, which they do with a checkpoint; none is killed. Not covered: several
machines, and what to train (`trainings`).
"""

import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from aira_bench.errors import AiraError
from aira_bench.scaling.evaluator_process import training_environment
from aira_bench.scaling.plan.trainings import SeedTraining, is_trained_elsewhere, prepare
from aira_contract.pretraining import DIVERGED_STATUS, STOPPED_STATUS

Begin = tuple[SeedTraining, list[str]]
"""A training and the command line that begins it or goes on with it."""
_LOOK_S = 0.2
_STOP_S = 3.0
"""For trainings to write a checkpoint while the command that began them ends; later they end by themselves."""


@dataclass(frozen=True)
class _Going:
    run: SeedTraining
    process: subprocess.Popen[bytes]

    def is_over(self) -> bool:
        """Whether it ended well.

        Raises:
            AiraError: it ended otherwise.
        """
        ended = self.process.poll()
        if ended:
            said = {STOPPED_STATUS: "was asked to stop and left a checkpoint", DIVERGED_STATUS: "diverged"}
            raise AiraError(
                f"The training {self.run.folder} {said.get(ended, f'ended with status {ended}')}.",
                hint="the same command goes on; its output is above",
            )
        return ended == 0


def carry_out(
    lines: Sequence[Begin], at_once: int, tell: Callable[[str], None], variables: Mapping[str, str] | None = None
) -> None:
    """Begin trainings and wait for their ends.

    Args:
        lines: in the order in which they begin.
        at_once: how many go on at a time.
        tell: told of each that begins.
        variables: of their environment, where that has none of the name; it holds no key (`evaluator_process`).

    Raises:
        AiraError: one did not end well, or is another process's; the others are asked to stop.
    """
    waiting, going = deque(enumerate(lines, start=1)), list[_Going]()
    try:
        while waiting or going:
            while waiting and len(going) < at_once:
                number, (run, line) = waiting.popleft()
                steps = run.planned.steps.steps
                tell(f"{number} of {len(lines)}: {run.folder.name}, step {run.steps_done:,} of {steps:,}")
                going.append(_begun(run, line, {**(variables or {}), **training_environment()}))
            with suppress(subprocess.TimeoutExpired):
                going[0].process.wait(_LOOK_S)
            going = [each for each in going if not each.is_over()]
    except BaseException:
        _ask_to_stop(going)
        raise


def _begun(run: SeedTraining, line: list[str], environment: Mapping[str, str]) -> _Going:
    if is_trained_elsewhere(run):
        raise AiraError(f"Another process trains {run.folder}.", hint="aira-bench scale status --help")
    prepare(run)
    try:
        # Its own session: Ctrl-C at a terminal would else end it before it has a checkpoint.
        process = subprocess.Popen(line, stdout=2, env=environment, start_new_session=True)
    except OSError as error:
        raise AiraError(f"{line[0]} cannot be started: {error.strerror}.", hint="--python PYTHON") from error
    return _Going(run, process)


def _ask_to_stop(going: Sequence[_Going]) -> None:
    for each in going:
        each.process.terminate()
    ends_s = time.monotonic() + _STOP_S
    for each in going:
        with suppress(subprocess.TimeoutExpired):
            each.process.wait(max(0.0, ends_s - time.monotonic()))
