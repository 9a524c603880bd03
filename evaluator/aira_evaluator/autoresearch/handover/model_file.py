"""Hands a trained model from the script that made it to the containers that serve it.

A model is a torch module, or any other callable: a function over averaged weights, say. `hand_over` runs in the fit
container, inside the submission's own process; `load` runs in predict containers only. The file is a pickle, so whoever
loads it executes it: the host copies it as bytes and the judge never sees it. Classes of the script and of files beside
it travel by value (`by_value`), so nobody needs to import the script to serve its model.

Not covered: optimizers, data loaders and anything else a model does not reach by itself.
"""

import contextlib
import io
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import torch
from torch import nn

from aira_contract.files import HANDOVER_FILE
from aira_evaluator.autoresearch.handover.by_value import Pickler

_SCHEMA = 1


class HandoverError(Exception):
    """The model cannot be handed over, or the file holds no model."""


@dataclass(frozen=True)
class Ambience:
    """The settings of a process that change what a model computes."""

    autocast: bool
    autocast_dtype: torch.dtype
    matmul_precision: str
    default_dtype: torch.dtype = torch.float32
    default_device: str = "cpu"

    def settle(self) -> None:
        """Take over what holds for the whole process."""
        torch.set_float32_matmul_precision(self.matmul_precision)
        torch.set_default_dtype(self.default_dtype)

    @contextlib.contextmanager
    def entered(self, device: torch.device) -> Iterator[None]:
        """Take over the rest while a model computes on `device`, without gradients.

        As in the script there are none, not as in `torch.inference_mode`: a model may switch them on for itself.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.autocast(device.type, dtype=self.autocast_dtype, enabled=self.autocast))
            if torch.device(self.default_device).type == device.type != "cpu":
                stack.enter_context(torch.device(self.default_device))
            yield


@dataclass(frozen=True)
class Handed:
    """A loaded model and the settings it was evaluated under."""

    model: nn.Module
    ambience: Ambience


def hand_over(model: Callable[..., Any], folder: Path = Path()) -> Path:
    """Write `model` to `folder`/handover.bin, whole or not at all; a later call replaces an earlier one's file.

    Wrappers of `torch.compile` are left out: predict containers run the plain model. Autocast, the precision of matrix
    products and the default type and device of new tensors go along as they stand at the call, since scripts evaluate
    inside an autocast block.

    Raises:
        HandoverError: something the model reaches cannot be pickled. The message names it where it can be found.
        OSError: the file cannot be written.
    """
    target = folder / HANDOVER_FILE
    temporary = folder / f".{HANDOVER_FILE}.{os.getpid()}.tmp"
    module = model if isinstance(model, nn.Module) else _Called(model)
    try:
        with temporary.open("wb") as file, _modules_by_value(folder):
            try:
                Pickler(file).dump({"schema": _SCHEMA, "model": module, "ambience": _ambience(module)})
            except OSError:
                raise
            except Exception as error:  # whatever the reduction of any object of the script raises
                raise HandoverError(
                    f"the model cannot be pickled: {error}{_culprit(module)}. Keep generators, locks, open files, "
                    "streams and loggers out of what the model reaches"
                ) from error
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


class _Called(nn.Module):
    """A callable that is no module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401
        return self.function(*arguments, **keywords)


def _culprit(model: nn.Module) -> str:
    """Where the model holds what cannot be pickled; empty if it is nowhere in its attributes."""
    for path, part in model.named_modules():
        kept = {name: value for name, value in vars(part).items() if name not in ("_modules", "_parameters")}
        for name, value in kept.items():
            try:
                Pickler(io.BytesIO()).dump(value)
            except Exception:  # the reason has been given; the search is for the place
                return f" (in attribute {f'{path}.{name}'.lstrip('.')} of the model)"
    return ""


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


def _ambience(model: nn.Module) -> Ambience:
    usual = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device_type = next((parameter.device for parameter in model.parameters()), usual).type
    return Ambience(
        autocast=torch.is_autocast_enabled(device_type),
        autocast_dtype=torch.get_autocast_dtype(device_type),
        matmul_precision=torch.get_float32_matmul_precision(),
        default_dtype=torch.get_default_dtype(),
        default_device=str(torch.get_default_device()),
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
