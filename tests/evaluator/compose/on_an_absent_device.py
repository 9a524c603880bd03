"""Training at paper size on a device that is not there: shapes, types and devices of every operation, no numbers.

torch's fake tensors carry a device and compute nothing. A torch without CUDA lets none be on a CUDA device, so the device
here is one of a name of its own; our Triton kernels are operators with shapes of their own, which the kernels' tests
compare with what the kernels really return. A tensor left on the host and a shape that does not fit fail here as they
would on a GPU.

`test_paper_sizes_on_a_device.py` runs this file in a process of its own: torch counts its devices at the first backward pass
of a process, and one that is named later than that has no queue.
"""

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from aira_contract.model_sizes import VOCABULARY, model_size, space_of
from aira_contract.patterns import read_pattern
from aira_evaluator.compose.mad import models
from aira_evaluator.compose.mad.fitting import Candidate
from aira_evaluator.compose.mad.models import start_prediction
from aira_evaluator.compose.mad.profiles import PAPER
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_kernels import backend
from aira_kernels.backend import Backend, Choice, Operation
from aira_kernels.large import LargeLanguageModel

pytest.importorskip("triton")
NAME = "absent"


@pytest.fixture(scope="module", autouse=True)
def _a_device_by_name() -> None:
    """For the rest of this process."""
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    before = torch.__future__.get_swap_module_params_on_conversion()
    _setup_privateuseone_for_python_backend(NAME)
    torch.__future__.set_swap_module_params_on_conversion(before)


def moved(model: nn.Module, device: torch.device) -> nn.Module:
    """Stand in for `nn.Module.to`, which exchanges the insides of tensors, and cannot with fake ones."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(parameter.detach().to(device)))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to(device))
    return model


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """The kernels that a GPU takes, without trying them: nothing computes here."""

    def ours(operation: Operation, asked: Backend, device_type: str, dtype: torch.dtype) -> Choice:
        assert device_type == NAME, f"{operation} of a tensor that stayed on the host"
        return Choice(operation, asked, device_type, dtype, "reference" if operation == "attention" else "triton", "")

    monkeypatch.setattr(backend, "choose", ours)
    monkeypatch.setitem(models._PREDICTION_BATCH, NAME, models._PREDICTION_BATCH["cuda"])
    monkeypatch.setattr(nn.Module, "to", moved)
    with FakeTensorMode():
        yield torch.device(NAME)


@pytest.mark.parametrize("name", list(PAPER.tasks))
def test_a_step_and_a_prediction_of_every_task(name: str, device: torch.device) -> None:
    corpus = draw_corpus(PAPER, "train", 1)
    training = Candidate(("mA", "M", "Mb", "M"), PAPER, corpus, 0, device).begin(name)
    for size in training.epochs.sizes():
        training.step(size)
    assert all(parameter.device.type == NAME for parameter in training.model.parameters())
    guesses = start_prediction(training.model, corpus[name].inputs[:5], device=device)
    assert guesses.tokens.shape == corpus[name].inputs[:5].shape
    assert guesses.tokens.device.type == guesses.finite.device.type == NAME


def test_what_stays_on_the_host_is_noticed(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    training = Candidate(("M",), PAPER, draw_corpus(PAPER, "train", 1), 0, device).begin("compression")
    monkeypatch.setattr(training, "_order", torch.zeros(8, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="same device"):
        training.step(8)


@pytest.mark.parametrize("pattern", ["A-M", "2Mb-M-A"])
@pytest.mark.parametrize("scale", ["350M", "1B", "3B"])
def test_a_full_size_step(scale: str, pattern: str, device: torch.device) -> None:
    layers = read_pattern(pattern)
    sizes = model_size(scale, space_of(layers))
    model = moved(LargeLanguageModel(layers, sizes, generator=torch.Generator(), vocabulary=VOCABULARY), device)
    ids = torch.zeros(1, 513, dtype=torch.int64, device=device)
    hidden = model.hidden(ids[:, :-1])[0]  # type: ignore[operator]
    assert hidden.shape == (512, sizes.width)
    loss = functional.cross_entropy(functional.linear(hidden, model.embed.weight), ids[0, 1:])
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None and parameter.grad.device.type == NAME for parameter in model.parameters())
