"""Primitives on the Triton backend against the reference backend: values, gradients, tracing, selection."""

import pytest
import torch
from kernel_devices import kernel_device
from torch import nn

DEVICE = kernel_device()

from aira_contract.model_sizes import ModelSize  # noqa: E402
from aira_kernels.backbone import LanguageModel  # noqa: E402
from aira_kernels.backend import OPERATIONS, Backend, BackendError, choices, choose  # noqa: E402
from aira_kernels.large import LargeLanguageModel  # noqa: E402
from aira_kernels.sizes import BlockSizes  # noqa: E402

pytestmark = pytest.mark.gpu
VOCABULARY = 11
SMALL = BlockSizes(width=32, attention_head_dim=8, mamba_head_dim=32, mamba_state=8, mamba_chunk=4)
LARGE = ModelSize("tiny", "2-primitive", 0, 64, 4, 16, 2, 96, 16, mamba_head_dim=32, mamba_chunk=16)
TOKENS = torch.randint(0, VOCABULARY, (1, 11), generator=torch.Generator().manual_seed(3)).to(DEVICE)


def _model(size: str, backend: Backend) -> nn.Module:
    generator = torch.Generator().manual_seed(7)
    if size == "small":
        return LanguageModel(("Mb", "mA", "M"), VOCABULARY, SMALL, generator=generator, backend=backend).to(DEVICE)
    model = LargeLanguageModel(("Mb", "mA", "M"), LARGE, generator=generator, vocabulary=VOCABULARY, backend=backend)
    return model.to(DEVICE)


@pytest.mark.parametrize("size", ["small", "large"])
def test_a_model_is_the_same_function_on_both_backends(size: str) -> None:
    outputs, gradients = [], []
    for backend in ("reference", "triton"):
        model = _model(size, backend)
        outputs.append(model(TOKENS))
        gradients.append(torch.autograd.grad(outputs[-1].square().sum(), list(model.parameters())))
    torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-4, atol=1e-5)
    for ours, reference in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(ours, reference, rtol=1e-3, atol=1e-4 * float(reference.abs().max()))


def test_a_text_in_pieces_has_the_logits_of_the_whole_on_our_kernels() -> None:
    """The state that the scan hands out is what the next piece begins with: pieces within a chunk and beyond it."""
    model = _model("large", "triton")
    tokens = torch.randint(0, VOCABULARY, (2, 40), generator=torch.Generator().manual_seed(5)).to(DEVICE)
    with torch.no_grad():
        state = model.empty_state(2, 40)
        pieces = [model.extend(piece, state) for piece in tokens.split([19, 1, 3, 17], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(tokens), rtol=1e-4, atol=1e-5)


def test_a_model_that_never_ran_traces_into_one_graph() -> None:
    """Of the reference backend's blocks, tests/evaluator/compose/test_compiled_blocks.py says the same."""
    model = _model("large", "triton")
    actual = torch.compile(model, backend="aot_eager", fullgraph=True)(TOKENS)
    expected = model(TOKENS)
    torch.testing.assert_close(actual, expected)
    parameters = list(model.parameters())
    eager = torch.autograd.grad(expected.square().sum(), parameters)
    traced = torch.autograd.grad(actual.square().sum(), parameters)
    for ours, same in zip(traced, eager, strict=True):
        torch.testing.assert_close(ours, same, rtol=1e-4, atol=1e-5 * float(same.abs().max()))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_choices_are_kept_with_their_reasons(operation: str) -> None:
    made = choose(operation, "triton", DEVICE.type, torch.float32)  # type: ignore[arg-type]
    assert made in choices()
    if operation == "attention":
        assert (made.taken, made.why) == ("reference", "torch's own: there is none of ours")
    else:
        assert (made.taken, made.why) == ("triton", "asked for")
    assert str(made).startswith(f"{operation} ({DEVICE.type}, float32): {made.taken}, ")


def test_a_kernel_that_differs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aira_kernels.fused.norm.rms_norm", lambda x, weight, epsilon, gate: x * weight * gate)
    monkeypatch.setattr("aira_kernels.backend._made", {})
    with pytest.raises(BackendError, match=r"cannot compute norm on \w+: it differs from the reference by"):
        choose("norm", "triton", DEVICE.type, torch.float32)


def test_a_kernel_that_gives_no_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "aira_kernels.fused.norm.rms_norm", lambda x, weight, epsilon, gate: x * weight * gate * torch.nan
    )
    monkeypatch.setattr("aira_kernels.backend._made", {})
    with pytest.raises(BackendError, match="differs from the reference by nan"):
        choose("norm", "triton", DEVICE.type, torch.float32)


def test_a_kernel_that_fails_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise RuntimeError("no such instruction\nand a long trace")

    monkeypatch.setattr("aira_kernels.fused.norm.rms_norm", broken)
    monkeypatch.setattr("aira_kernels.backend._made", {})
    with pytest.raises(BackendError, match="it fails with RuntimeError: no such instruction; use backend 'auto'"):
        choose("norm", "triton", DEVICE.type, torch.float32)
