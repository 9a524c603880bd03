"""Hands a trained model from the script that made it to the containers that serve it.

`hand_over` runs in the fit container, inside the submission's own process; `load` runs in predict containers only. The
file is a pickle, so whoever loads it executes it: the host copies it as bytes and the judge never sees it. Classes of
the script and of files beside it travel by value, so nobody needs to import the script to serve its model.

Not covered: optimizers, data loaders and anything else a model does not reach by itself.
"""

import contextlib
import os
import pickle
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import cloudpickle  # type: ignore[import-untyped]
import torch
from torch import nn

HANDOVER_FILE = "handover.bin"
_SCHEMA = 1


class HandoverError(Exception):
    """The model cannot be handed over, or the file holds no model."""


@dataclass(frozen=True)
class Ambience:
    """The settings of a process that change what a model computes."""

    autocast: bool
    autocast_dtype: torch.dtype
    matmul_precision: str


@dataclass(frozen=True)
class Handed:
    """A loaded model and the settings it was evaluated under."""

    model: nn.Module
    ambience: Ambience


def hand_over(model: nn.Module, folder: Path = Path()) -> Path:
    """Write `model` to `folder`/handover.bin, whole or not at all; a later call replaces an earlier one's file.

    Wrappers of `torch.compile` are left out: predict containers run the plain model. Autocast and the precision of
    matrix products, as they stand at the call, go along, since scripts evaluate inside an autocast block.

    Raises:
        HandoverError: something the model reaches cannot be pickled.
        OSError: the file cannot be written.
    """
    target = folder / HANDOVER_FILE
    temporary = folder / f".{HANDOVER_FILE}.{os.getpid()}.tmp"
    try:
        with temporary.open("wb") as file, _modules_by_value(folder):
            payload = {"schema": _SCHEMA, "model": model, "ambience": _ambience(model)}
            try:
                _Pickler(file).dump(payload)
            except (pickle.PicklingError, TypeError, AttributeError, NotImplementedError, RecursionError) as error:
                raise HandoverError(f"the model cannot be pickled: {error}") from error
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def load(path: Path, device: torch.device) -> Handed:
    """Load a model. This executes code from the file: call it in a predict container and nowhere else.

    Raises:
        HandoverError: the file is not one of `hand_over`'s.
    """
    with path.open("rb") as file:
        payload = pickle.load(file)
    if not isinstance(payload, dict) or payload.get("schema") != _SCHEMA:
        raise HandoverError(f"{path.name} was not written by hand_over")
    model, ambience = payload["model"], payload["ambience"]
    if not isinstance(model, nn.Module) or not isinstance(ambience, Ambience):
        raise HandoverError(f"{path.name} holds a {type(model).__name__}, expected a torch module")
    return Handed(model.to(device).eval(), ambience)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Leaves out what `torch.compile` wraps around modules and functions."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)

    def reducer_override(self, obj: Any) -> Any:  # noqa: ANN401
        # Asked of loaded modules: importing the compiler takes seconds of a script's budget, which may not use it.
        compiler = sys.modules.get("torch._dynamo.eval_frame")
        if compiler is not None and isinstance(obj, compiler.OptimizedModule):
            return _same, (obj._orig_mod,)
        if isinstance(obj, types.FunctionType) and hasattr(obj, "_torchdynamo_orig_callable"):
            return _same, (obj._torchdynamo_orig_callable,)
        return super().reducer_override(obj)


def _same(wrapped: Any) -> Any:  # noqa: ANN401
    return wrapped


def _ambience(model: nn.Module) -> Ambience:
    first = next(model.parameters(), None)
    device_type = first.device.type if first is not None else "cpu"
    return Ambience(
        autocast=torch.is_autocast_enabled(device_type),
        autocast_dtype=torch.get_autocast_dtype(device_type),
        matmul_precision=torch.get_float32_matmul_precision(),
    )


@contextlib.contextmanager
def _modules_by_value(folder: Path) -> Iterator[None]:
    """Pickle what comes from files of the working folder by value: predict containers do not have them."""
    root = folder.resolve()
    local = [
        module
        for module in list(sys.modules.values())
        if isinstance(file := getattr(module, "__file__", None), str)
        and module.__name__ != "__main__"
        and Path(file).resolve().parent == root
        and module.__name__ not in cloudpickle.list_registry_pickle_by_value()
    ]
    for module in local:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in local:
            cloudpickle.unregister_pickle_by_value(module)
