"""Checkpoints of model and optimizer, written while training goes on, and read by any number of ranks.

    checkpoints/step-00001000/     torch's distributed checkpoint: a file a rank, and `.metadata`, which comes last

A folder without `.metadata` was cut off and is not one. Names of weights are those of
`aira_kernels.large.LargeLanguageModel`. A step's number says which tokens come next and which learning rate, and no
random numbers are drawn in training: nothing else has to be kept. `.metadata` is a pickle: read checkpoints of your own
alone. Not covered: other formats (docs/pretraining.md).
"""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save, save

from aira_evaluator.split_manifest import DataError

_Found = TypeVar("_Found")
_FOLDER = re.compile(r"step-(\d{8})")
_COMPLETE = ".metadata"
_BLOCK = re.compile(r"blocks\.(\d+)\.(norm|layer)\.")


def whole_checkpoints(folder: Path) -> list[int]:
    """Return the steps of which there is a whole checkpoint, in order."""
    return [step for step, whole in _checkpoints(folder) if whole]


def half_checkpoints(folder: Path) -> list[int]:
    """Return the steps whose checkpoints are being written or were cut off, in order."""
    return [step for step, whole in _checkpoints(folder) if not whole]


def _checkpoints(folder: Path) -> list[tuple[int, bool]]:
    found = ((path, _FOLDER.fullmatch(path.name)) for path in folder.glob("step-*"))
    return sorted((int(match[1]), (path / _COMPLETE).is_file()) for path, match in found if match)


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step is."""
    return folder / f"step-{step:08}"


def large_name(name: str) -> str:
    """Return a weight's name in `LargeLanguageModel`: `blocks.3.norm.weight_D` is its `norms.3.weight_D`."""
    return _BLOCK.sub(lambda match: f"{match[2]}s.{match[1]}.", name)


def load_weights(folder: Path, step: int, model: nn.Module) -> None:
    """Fill a `LargeLanguageModel` in this one process with the weights of a checkpoint.

    Raises:
        DataError: the checkpoint's files are not those that its `.metadata` tells of, or of another model.
    """
    state, place = {"model": model.state_dict()}, checkpoint_folder(folder, step)
    try:
        load(state, checkpoint_id=place, no_dist=True)
    except (Exception, CheckpointException) as error:  # whatever a damaged pickle or a file that is gone raises
        raise DataError(f"{place} cannot be read: {_first_line(error)}") from None
    model.load_state_dict(state["model"])


def save_weights(folder: Path, step: int, model: nn.Module) -> None:
    """Write a checkpoint of weights alone: a model is read of it, and no training goes on from it."""
    save({"model": model.state_dict()}, checkpoint_id=checkpoint_folder(folder, step), no_dist=True)


def _keeps_optimizer(place: Path) -> bool:
    known = FileSystemReader(place).read_metadata().state_dict_metadata
    return any(name.startswith("optimizer.") for name in known)


def _first_line(error: BaseException) -> str:
    """What is at the bottom of an error: DCP tells of ranks and tracebacks around it."""
    failures = getattr(error, "failures", None)
    told = next(iter(failures.values()))[0] if failures else error
    return (str(told).strip().splitlines() or [type(told).__name__])[0][:300]


class Checkpoints:
    """The checkpoints of one training.

    Args:
        folder: of all of them, seen by every rank.
        model: sharded or whole.
        optimizer: of that model.
        group: of processes on CPUs, for nothing but checkpoints: they are written in a thread of their own, beside the
            messages of training.
        keep: how many of the newest are kept.
    """

    def __init__(
        self, folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, group: dist.ProcessGroup, keep: int = 2
    ) -> None:
        self._folder, self._model, self._optimizer = folder, model, optimizer
        self._group, self._keep = group, keep
        self._writing: Future[Any] | None = None
        self._unread: dict[int, str] = {}
        """Why checkpoints of steps could not be read; they stand for nothing until they are written anew."""

    def take_up(self) -> tuple[int, dict[int, str]]:
        """Take up model and optimizer as they were at the newest checkpoint that can be read, of however many ranks.

        Returns:
            The step of that checkpoint, 0 where there is none at all; and why newer ones could not be read, by step.

        Raises:
            DataError: there are checkpoints, and none can be read; or the newest has weights alone.
        """
        found = [whole_checkpoints(self._folder)]
        dist.broadcast_object_list(found, group=self._group, group_src=0)  # folders may show ranks different things
        for step in reversed(found[0]):
            if (why := self._load(step)) is None:
                return step, dict(self._unread)
            self._unread[step] = why
        if self._unread:
            said = "; ".join(f"step {step}: {why}" for step, why in self._unread.items())
            raise DataError(
                f"no checkpoint in {self._folder} can be read ({said}). To begin anew, choose another folder."
            )
        return 0, {}

    def _load(self, step: int) -> str | None:
        """Load one checkpoint; say why it could not be, alike on every rank."""
        place, state = checkpoint_folder(self._folder, step), self._state()
        keeps_optimizer, why = self._agreed(lambda: _keeps_optimizer(place))
        if why is None and not keeps_optimizer:
            raise DataError(f"{place} has weights and no optimizer: nothing can go on from it. Choose another folder.")
        if why is None:
            _, why = self._agreed(lambda: load(state, checkpoint_id=place, process_group=self._group))
        if why is None:
            back = {large_name(name): name for name in self._model.state_dict()}
            set_state_dict(
                self._model,
                self._optimizer,
                model_state_dict={back[name]: value for name, value in state["model"].items()},
                optim_state_dict=state["optimizer"],
            )
        return why

    def _agreed(self, attempt: Callable[[], _Found]) -> tuple[_Found | None, str | None]:
        """Attempt something on every rank: what this one found, and the first rank's reason where it failed on any,
        since all go on together.
        """
        found: _Found | None = None
        said: str | None = None
        try:
            found = attempt()
        except (Exception, CheckpointException) as error:  # whatever a damaged pickle or a file that is gone raises
            said = _first_line(error)
        told: list[str | None] = [None] * dist.get_world_size(self._group)
        dist.all_gather_object(told, said, group=self._group)
        return found, next(filter(None, told), None)

    def save(self, step: int) -> None:
        """Begin to write a checkpoint: copied now, written while training goes on."""
        self.finish()
        path = checkpoint_folder(self._folder, step)
        if dist.get_rank(self._group) == 0:
            shutil.rmtree(path, ignore_errors=True)  # what was cut off there
        dist.barrier(self._group)
        self._unread.pop(step, None)
        begun = async_save(self._state(), checkpoint_id=path, process_group=self._group)
        assert isinstance(begun, Future), "no other stager was asked for"
        self._writing = begun

    def finish(self) -> None:
        """Wait until what was begun is whole, and remove older ones."""
        if self._writing is None:
            return
        self._writing.result()
        self._writing = None
        if dist.get_rank(self._group) == 0:
            whole = whole_checkpoints(self._folder)
            kept = [step for step in whole if step not in self._unread][-self._keep :]
            for step in whole:
                if step < kept[0]:
                    shutil.rmtree(checkpoint_folder(self._folder, step))

    def _state(self) -> dict[str, Any]:
        model, optimizer = get_state_dict(self._model, self._optimizer)
        return {"model": {large_name(name): value for name, value in model.items()}, "optimizer": optimizer}
