"""The model as it is trained: layouts change speed and memory, never the loss or its gradients."""

import pytest
import torch
from torch.nn import functional

from aira_contract.gpu_types import peak_flops
from aira_contract.model_sizes import model_size
from aira_contract.recipes import find_recipe
from aira_evaluator.pretrain.checkpoints import large_name
from aira_evaluator.pretrain.model import Layout, TrainedModel
from aira_evaluator.pretrain.records import SpikeWatch
from aira_evaluator.pretrain.step import TrainingStep, optimizer_of
from aira_kernels.large import LargeLanguageModel

PATTERN, LENGTH, VOCABULARY = ("mA", "M", "Mb"), 24, 40


def large() -> LargeLanguageModel:
    generator = torch.Generator().manual_seed(0)
    return LargeLanguageModel(PATTERN, model_size("toy", "3-primitive"), generator=generator, vocabulary=VOCABULARY)


def ids(seed: int = 1) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (2, LENGTH + 1), generator=torch.Generator().manual_seed(seed))


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {large_name(name): each.grad for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize(
    "layout",
    [
        Layout(),
        Layout(recompute="full"),
        Layout(recompute="selective"),
        Layout(piece=7),
        Layout(compile=True, backend="aot_eager"),
        Layout(compile=True, backend="aot_eager", recompute="full"),
        Layout(compile=True, backend="aot_eager", recompute="selective", cudnn_attention=True),
    ],
)
def test_every_layout_has_the_gradients_of_the_plain_model(layout: Layout) -> None:
    torch.compiler.reset()
    model, plain, tokens = TrainedModel(large(), layout, length=LENGTH), large(), ids()
    loss = model(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    expected = functional.cross_entropy(plain(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum")
    expected.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    ours, theirs = gradients(model), gradients(plain)
    assert set(ours) == set(theirs) == set(plain.state_dict())
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=2e-4, atol=2e-4, msg=name)


def test_bfloat16_keeps_the_residual_path_and_vectors_in_float32() -> None:
    model, tokens, seen = TrainedModel(large(), Layout(dtype=torch.bfloat16), length=LENGTH), ids(), []
    for block in model.blocks:
        block.register_forward_hook(lambda _module, _inputs, output: seen.append(output.dtype))
    model(tokens[:, :-1], tokens[:, 1:]).backward()
    assert seen == [torch.float32] * 3
    assert {each.grad.dtype for each in model.parameters() if each.grad is not None} == {torch.float32}


def test_blocks_of_mamba_are_never_compiled() -> None:
    model = TrainedModel(large(), Layout(compile=True, backend="aot_eager"), length=LENGTH)
    assert [block.compiled for block in model.blocks] == [True, True, False]


def test_matrices_and_vectors_are_all_parameters_once_and_vectors_have_no_decay() -> None:
    model = TrainedModel(large(), Layout(), length=LENGTH)
    both = [*model.matrices(), *model.vectors()]
    assert sorted(map(id, both)) == sorted(map(id, model.parameters()))
    decays = [group["weight_decay"] for group in optimizer_of(model, find_recipe("toy").optimizer).param_groups]
    assert decays == [0.1, 0.0]
    names = {name for name, each in model.named_parameters() if any(each is vector for vector in model.vectors())}
    assert "blocks.2.layer.log_rate_H" in names
    assert "blocks.2.layer.convolution.weight_TE" in names


def test_a_step_is_adamw_on_the_clipped_mean_gradient() -> None:
    """Against torch's own clipping and unfused AdamW, on all sequences at once."""
    settings = find_recipe("toy").optimizer
    model, plain = TrainedModel(large(), Layout(), length=LENGTH), large()
    step = TrainingStep(model, optimizer_of(model, settings), clip_norm=0.05, step_tokens=2 * LENGTH, group=None)
    vectors = {large_name(name) for name, each in model.named_parameters() if any(each is v for v in model.vectors())}
    groups = [
        {
            "params": [each for name, each in plain.named_parameters() if (name in vectors) == none],
            "weight_decay": decay,
        }
        for none, decay in ((False, 0.1), (True, 0.0))
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), eps=1e-8)
    for seed in range(3):
        tokens = ids(seed)
        result = step([(each[None, :-1], each[None, 1:]) for each in tokens], 1e-2)
        loss = functional.cross_entropy(plain(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.05)
        optimizer.step()
        optimizer.zero_grad()
        assert result.loss == pytest.approx(float(loss.detach()), rel=1e-4)
        assert result.grad_norm == pytest.approx(float(norm), rel=1e-3)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight, plain.get_parameter(large_name(name)), rtol=1e-3, atol=2e-4, msg=name)


def test_a_step_that_is_not_finite_changes_neither_weights_nor_moments() -> None:
    model = TrainedModel(large(), Layout(), length=LENGTH)
    optimizer = optimizer_of(model, find_recipe("toy").optimizer)
    step = TrainingStep(model, optimizer, clip_norm=1.0, step_tokens=2 * LENGTH, group=None)
    tokens = ids()
    step([(tokens[:, :-1], tokens[:, 1:])], 1e-3)
    model.get_parameter("blocks.2.layer.step_bias_H").data[0] = float("nan")
    before = [each.clone() for each in model.parameters()]
    moments = [state["exp_avg"].clone() for state in optimizer.state.values()]
    result = step([(tokens[:, :-1], tokens[:, 1:])], 1e-3)
    assert result.skipped
    for ours, was in zip(model.parameters(), before, strict=True):
        torch.testing.assert_close(ours, was, rtol=0, atol=0, equal_nan=True)
    assert all(torch.equal(state["exp_avg"], was) for state, was in zip(optimizer.state.values(), moments, strict=True))
    assert all(each.grad is None for each in model.parameters())


def test_a_spike_is_a_loss_far_above_those_before_it_and_a_fall_is_none() -> None:
    watch = SpikeWatch()
    falling = [5.0 - 0.02 * step + 0.01 * (-1) ** step for step in range(60)]
    assert [watch.above(loss) for loss in falling] == [None] * 60
    assert watch.above(6.5) == pytest.approx(5.0 - 0.02 * 51.5, abs=0.02), "the middle of the last 16"
    assert watch.above(3.8) is None
    assert watch.above(6.5) is not None, "one spike does not hide the next"


def test_peaks_are_found_by_the_names_that_drivers_give() -> None:
    assert peak_flops("NVIDIA H100 80GB HBM3") == peak_flops("NVIDIA H200") == 989e12
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("CPU") is None
