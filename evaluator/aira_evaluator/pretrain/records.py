"""What a training leaves for people and for the host: the files of `aira_contract.pretraining`.

Written by rank 0 alone; on the others nothing happens, so that nobody need ask who it is. Lines are written as they
come; a line that a kill cut off is dropped at the next start. Not covered: what the figures mean.
"""

import fcntl
import importlib.util
import json
import math
import os
import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from aira_contract.pretraining import (
    EVENTS,
    LOCK,
    METRICS,
    RECORD,
    TENSORBOARD,
    TOKENIZER,
    TOKENS,
    VALIDATION,
    PretrainIdentity,
    PretrainRecord,
    StepMetrics,
)
from aira_evaluator.split_manifest import MANIFEST, DataError


class Records:
    """The files of one training in its folder.

    Args:
        folder: of the training.
        leads: whether this is the rank that writes; on any other nothing is done.
        tensorboard: whether to write TensorBoard's files too.
    """

    def __init__(self, folder: Path, *, leads: bool = True, tensorboard: bool = False) -> None:
        """Open the folder.

        Raises:
            DataError: TensorBoard was asked for and is not installed.
        """
        self.folder, self._leads = folder, leads
        self._board: Any = None
        self._wants_board = leads and tensorboard
        if leads:
            folder.mkdir(parents=True, exist_ok=True)
        if self._wants_board and importlib.util.find_spec("tensorboard") is None:
            raise DataError("TensorBoard is not installed: pip install 'aira-bench[tensorboard]'")

    def took_up(self, step: int) -> list[StepMetrics]:
        """Drop lines of steps after `step`, which will be done again, and return those that stay.

        What was dropped is an event.
        """
        if not self._leads:
            return []
        lost = 0
        for name in (METRICS, VALIDATION):
            lines = list(_lines(self.folder / name))
            kept = [line for line in lines if line["step"] <= step]
            lost = max(lost, max((line["step"] for line in lines), default=0) - step)
            if (self.folder / name).exists():
                _write_whole(self.folder / name, "".join(json.dumps(line) + "\n" for line in kept))
        if lost > 0:
            self.event("steps lost", step=step, lost=lost)
        if self._wants_board:
            from torch.utils.tensorboard import SummaryWriter

            # What earlier starts wrote of steps from there on is not shown any more.
            self._board = SummaryWriter(str(self.folder / TENSORBOARD), purge_step=step + 1)
        return [StepMetrics(**line) for line in _lines(self.folder / METRICS)]

    def metrics(self, line: StepMetrics) -> None:
        """Append the line of a step."""
        self._append(METRICS, asdict(line))
        if self._board is not None:
            for name in ("loss", "grad_norm", "lr", "tokens_per_s", "mfu"):
                if (value := getattr(line, name)) is not None:
                    self._board.add_scalar(name, value, line.step)

    def validation(self, step: int, tokens: int, loss: float) -> None:
        """Append the line of a validation."""
        self._append(VALIDATION, {"step": step, "tokens": tokens, "loss": loss})
        if self._board is not None:
            self._board.add_scalar("validation_loss", loss, step)

    def event(self, event: str, **about: object) -> None:
        """Append what else happened."""
        self._append(EVENTS, {"event": event, **about})

    def copy_of_tokens(self, data: Path) -> None:
        """Keep what a model is read with: the manifest of its tokens, and their tokenizer if it lies beside them."""
        for source, name in ((data / MANIFEST, TOKENS), (data / TOKENIZER, TOKENIZER)):
            if self._leads and source.is_file():
                _write_whole(self.folder / name, source.read_text(encoding="utf-8"))

    def write(self, record: PretrainRecord) -> None:
        """Replace the training's own record."""
        if self._leads:
            _write_whole(self.folder / RECORD, json.dumps(asdict(record), indent=2) + "\n")

    def close(self) -> None:
        """Have TensorBoard's last lines written; the others are already."""
        if self._board is not None:
            self._board.close()

    def _append(self, name: str, line: Mapping[str, object]) -> None:
        if self._leads:
            with (self.folder / name).open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def check_identity(folder: Path, identity: PretrainIdentity) -> None:
    """Compare what is to be trained with what the folder has begun, if it has.

    Raises:
        DataError: the folder has begun something else; it says what differs.
    """
    path = folder / RECORD
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["identity"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    wanted = json.loads(json.dumps(asdict(identity)))
    differ = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
    if differ:
        said = "; ".join(f"{key} {_short(found.get(key))}, asked for {_short(wanted.get(key))}" for key in differ)
        raise DataError(f"{folder} holds another training: {said}. Choose another folder.")


def hold_folder(folder: Path) -> BinaryIO:
    """Take the folder for this process, until the file that is returned is closed.

    Ranks outlive a launcher that is killed: without this, what is started in its place would train beside them.

    Raises:
        DataError: another process trains there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = (folder / LOCK).open("wb")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        held.close()
        raise DataError(f"another process trains in {folder}") from None
    return held


class SpikeWatch:
    """Notices losses far above those just before.

    Far is six deviations and at least a tenth of a nat above the median of the last 16 losses. The deviation comes from
    how losses differ from the ones before them, over 128 steps: a fall of the whole curve is no deviation, and one
    spike does not hide the next.
    """

    WINDOW, RECENT, DEVIATIONS, NATS = 128, 16, 6.0, 0.1

    def __init__(self) -> None:
        self._losses: deque[float] = deque(maxlen=self.WINDOW)

    def above(self, loss: float) -> float | None:
        """Take a step's loss, and return the usual one if this is a spike."""
        found, before = None, list(self._losses)
        if len(before) >= self.RECENT:
            usual = statistics.median(before[-self.RECENT :])
            # 1.4826 times the median distance is the deviation of a normal distribution; a difference has two of them.
            changes = [abs(later - earlier) for earlier, later in pairwise(before)]
            deviation = 1.4826 * statistics.median(changes) / math.sqrt(2)
            if loss > usual + max(self.DEVIATIONS * deviation, self.NATS):
                found = usual
        self._losses.append(loss)
        return found


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # cut off by a kill
    return found


def _write_whole(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
