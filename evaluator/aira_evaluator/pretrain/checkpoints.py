"""Checkpoints of model and optimizer, written while training goes on, and read by any number of ranks.

    checkpoints/step-00001000/     torch's distributed checkpoint: a file a rank, and `.metadata`, which comes last

A folder without `.metadata` was cut off and is not one. Names of weights are those of
`aira_kernels.large.LargeLanguageModel`. A step's number says which tokens come next and which learning rate, and no
random numbers are drawn in training: nothing else has to be kept. `.metadata` is a pickle: read checkpoints of your own
alone. Not covered: other formats (docs/pretraining.md).
"""

import re
import shutil
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

_FOLDER = re.compile(r"step-(\d{8})")
_COMPLETE = ".metadata"
_BLOCK = re.compile(r"blocks\.(\d+)\.(norm|layer)\.")


def whole_checkpoints(folder: Path) -> list[int]:
    """Return the steps of which there is a whole checkpoint, in order."""
    found = ((path, _FOLDER.fullmatch(path.name)) for path in folder.glob("step-*"))
    return sorted(int(match[1]) for path, match in found if match and (path / _COMPLETE).is_file())


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Return where the checkpoint of a step is."""
    return folder / f"step-{step:08}"


def large_name(name: str) -> str:
    """Return a weight's name in `LargeLanguageModel`: `blocks.3.norm.weight_D` is its `norms.3.weight_D`."""
    return _BLOCK.sub(lambda match: f"{match[2]}s.{match[1]}.", name)


def load_weights(folder: Path, step: int, model: nn.Module) -> None:
    """Fill a `LargeLanguageModel` in this one process with the weights of a checkpoint."""
    state = {"model": model.state_dict()}
    load(state, checkpoint_id=checkpoint_folder(folder, step), no_dist=True)
    model.load_state_dict(state["model"])


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

    def newest(self) -> int:
        """Return the step of the newest whole checkpoint, 0 where there is none."""
        steps = whole_checkpoints(self._folder)
        return steps[-1] if steps else 0

    def load(self, step: int) -> None:
        """Take up model and optimizer as they were after a step, whatever the number of ranks was then."""
        state = self._state()
        load(state, checkpoint_id=checkpoint_folder(self._folder, step), process_group=self._group)
        back = {large_name(name): name for name in self._model.state_dict()}
        set_state_dict(
            self._model,
            self._optimizer,
            model_state_dict={back[name]: value for name, value in state["model"].items()},
            optim_state_dict=state["optimizer"],
        )

    def save(self, step: int) -> None:
        """Begin to write a checkpoint: copied now, written while training goes on."""
        self.finish()
        path = checkpoint_folder(self._folder, step)
        if dist.get_rank(self._group) == 0:
            shutil.rmtree(path, ignore_errors=True)  # what was cut off there
        dist.barrier(self._group)
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
            for step in whole_checkpoints(self._folder)[: -self._keep]:
                shutil.rmtree(checkpoint_folder(self._folder, step))

    def _state(self) -> dict[str, Any]:
        model, optimizer = get_state_dict(self._model, self._optimizer)
        return {"model": {large_name(name): value for name, value in model.items()}, "optimizer": optimizer}
