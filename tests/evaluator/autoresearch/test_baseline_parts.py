"""Parts of the baseline script: its model, its optimizers and its schedules, against values worked by hand or otherwise."""

import ast
import itertools
import math
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numbers_on_cuda import CUDA, OnDevice, computing
from torch import nn

from aira_contract.settings import TRAINING_SEED_VARIABLE
from autoresearch_folders import PLAIN


@pytest.fixture(scope="module")
def baseline(imported: ModuleType) -> SimpleNamespace:
    """Constants, classes and functions of the baseline, without the training below them."""
    tree = ast.parse((PLAIN / "train.py").read_text())
    kept = (ast.Import, ast.ImportFrom, ast.Try, ast.ClassDef, ast.FunctionDef)
    tree.body = [
        node for node in tree.body
        if isinstance(node, kept) or (isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call))
        if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple))
    ]  # fmt: skip
    tree.body = [node for node in tree.body if not _names(node) - _defined_before(tree, node)]
    found: dict[str, Any] = {"__name__": "baseline"}
    sys.modules["baseline"] = ModuleType("baseline")
    exec(compile(tree, "train.py", "exec"), found)
    return SimpleNamespace(**found)


def _names(node: ast.stmt) -> set[str]:
    return (
        {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
        if isinstance(node, ast.Assign)
        else set()
    )


def _defined_before(tree: ast.Module, node: ast.stmt) -> set[str]:
    before = tree.body[: tree.body.index(node)]
    return {
        target.id
        for other in before
        if isinstance(other, ast.Assign)
        for target in other.targets
        if isinstance(target, ast.Name)
    }


def test_a_confirmation_trains_the_baseline_from_the_seed_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a search trained from 42 is confirmed from others; only the clock would differ else."""
    tree = ast.parse((PLAIN / "train.py").read_text())
    (line,) = (node for node in tree.body if isinstance(node, ast.Expr) and "manual_seed" in ast.unparse(node))
    drawn = {}
    for told in (None, "7", str(2**31 - 1)):
        monkeypatch.delenv(TRAINING_SEED_VARIABLE, raising=False)
        if told is not None:
            monkeypatch.setenv(TRAINING_SEED_VARIABLE, told)
        exec(compile(ast.Module([line], []), "train.py", "exec"), {"os": os, "torch": torch})
        drawn[told] = torch.rand(3).tolist()
    expected = {
        told: torch.rand(3, generator=torch.Generator().manual_seed(int(told or 42))).tolist() for told in drawn
    }
    assert drawn == expected


def small(baseline: SimpleNamespace, **changes: object) -> nn.Module:
    sizes = {"vocab_size": 50, "sequence_len": 24, "n_layer": 4, "n_head": 2, "n_embd": 16, "window_pattern": "SSSL"}
    torch.manual_seed(0)
    model: nn.Module = baseline.GPT(baseline.GPTConfig(**{**sizes, **changes}))
    for parameter in model.parameters():  # zero matrices at the start would hide what flows through them
        nn.init.normal_(parameter, std=0.3)
    return model


def direct_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int) -> torch.Tensor:
    """Attention written out. All [B, T, H, D]."""
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(q.size(-1))
    length = q.size(1)
    for query, key in itertools.product(range(length), range(length)):
        if key > query or query - key > window:
            scores[:, :, query, key] = -math.inf
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v)


@pytest.mark.parametrize("window", [0, 1, 5, 11, 12, 100])
def test_attention_sees_itself_and_the_window_before_it(baseline: SimpleNamespace, window: int) -> None:
    torch.manual_seed(window)
    q, k, v = (torch.randn(2, 12, 3, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    ours, direct = baseline.attend(q, k, v, window), direct_attention(q, k, v, window)
    torch.testing.assert_close(ours, direct)
    weights = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad((ours * weights).sum(), (q, k, v), retain_graph=True),
        torch.autograd.grad((direct * weights).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="flash-attn needs a CUDA device")
@pytest.mark.parametrize("window", [1, 64, 256])
def test_flash_attention_has_the_same_mask(baseline: SimpleNamespace, window: int) -> None:
    if baseline.flash_attn_func is None:
        pytest.skip("flash-attn is not installed")
    q, k, v = (torch.randn(2, 256, 4, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    expected = direct_attention(*(part.float() for part in (q, k, v)), window)
    torch.testing.assert_close(baseline.attend(q, k, v, window).float(), expected, atol=3e-2, rtol=3e-2)


def test_logits_depend_on_earlier_tokens_alone_and_on_them_all(baseline: SimpleNamespace) -> None:
    model = small(baseline)
    tokens = torch.randint(0, 50, (1, 24))
    before = model(tokens)
    for changed in (0, 9, 23):
        other = tokens.clone()
        other[0, changed] = (other[0, changed] + 1) % 50
        moved = (model(other) - before).abs().amax(-1)[0] > 1e-6
        assert not moved[:changed].any()
        assert moved[changed:].all(), "the last layer sees all of the context"


def test_windows_follow_the_pattern_and_the_last_layer_sees_all(baseline: SimpleNamespace) -> None:
    assert baseline.window_sizes(small(baseline, n_layer=6).config) == [12, 12, 12, 24, 12, 24]


def test_a_prefix_alone_gives_the_logits_of_the_whole_row(baseline: SimpleNamespace) -> None:
    model, tokens = small(baseline), torch.randint(0, 50, (2, 24))
    whole = model(tokens)
    for length in (1, 7, 23):
        torch.testing.assert_close(model(tokens[:, :length]), whole[:, :length], atol=1e-5, rtol=1e-4)


def test_the_paper_profile_has_the_references_size(baseline: SimpleNamespace) -> None:
    """Depth 8, aspect 64, heads of 128 and 8,192 tokens: 50.3 million parameters in the reference's published output."""
    assert (baseline.DEPTH, baseline.ASPECT_RATIO, baseline.HEAD_DIM) == (8, 64, 128)
    with torch.device("meta"):
        model = baseline.GPT(baseline.GPTConfig(8192, 2048, 8, 4, 512, baseline.WINDOW_PATTERN))
    assert sum(parameter.numel() for parameter in model.parameters()) == pytest.approx(50.3e6, rel=2e-3)


def singular_values_after(
    values: np.ndarray, steps: int, quintics: tuple[tuple[float, float, float], ...]
) -> np.ndarray:
    """What the iteration makes of singular values: it changes nothing else of a matrix."""
    for step in range(steps):
        a, b, c = quintics[min(step, len(quintics) - 1)]
        values = a * values + b * values**3 + c * values**5
    return values


def test_five_quintics_bring_singular_values_as_near_to_one_from_above_as_from_below(baseline: SimpleNamespace) -> None:
    """As the best polynomials do: they are made for values from a thousandth to one, divided by the 1.02 of the norm."""
    values = np.geomspace(1e-3, 1 / 1.02, 20_001)
    reached = singular_values_after(values, 5, baseline.POLAR_EXPRESS)
    assert 1 - reached.min() == pytest.approx(reached.max() - 1, abs=1e-4) == pytest.approx(0.1411, abs=1e-4)
    # One set of coefficients for all steps, as Muon had first, leaves small values at half of the size of large ones.
    former = singular_values_after(values, 5, ((3.4445, -4.7750, 2.0315),))
    assert (former.min(), former.max()) == pytest.approx((0.47, 1.20), abs=0.01)


@pytest.mark.parametrize("steps", [1, 4, 5, 7])
@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 48, 16), (2, 16, 64), (1, 4, 1)])
def test_orthogonalizing_changes_singular_values_alone(
    baseline: SimpleNamespace, shape: tuple[int, int, int], steps: int
) -> None:
    gradient = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, values, right = np.linalg.svd(gradient.double().numpy(), full_matrices=False)
    scaled = values / (1.02 * np.sqrt((values**2).sum(-1, keepdims=True)))
    expected = left * singular_values_after(scaled, steps, baseline.POLAR_EXPRESS)[:, None] @ right
    found = baseline.orthogonalize(gradient, steps)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), atol=2e-4, rtol=1e-3)


def test_rows_are_evened_out_and_the_norm_stays(baseline: SimpleNamespace) -> None:
    """Worked by hand: mean squares 1 and 4, a twentieth of which is kept, make both rows equally large; norm root 10."""
    second = torch.zeros(1, 2, 1)
    first = baseline.evened(torch.tensor([[[1.0, 1.0], [2.0, 2.0]]]), second, 0.95)
    torch.testing.assert_close(second.flatten(), torch.tensor([0.05, 0.2]))
    torch.testing.assert_close(first, torch.full((1, 2, 2), 10**0.5 / 2))
    # 0.95 * 0.05 + 0.05 * 4 = 0.2475 and 0.95 * 0.2 + 0.05 * 1 = 0.24; 2 / root 0.2475 = 4.02015, 1 / root 0.24 = 2.04124.
    again = baseline.evened(torch.tensor([[[2.0, 2.0], [1.0, 1.0]]]), second, 0.95)
    torch.testing.assert_close(second.flatten(), torch.tensor([0.2475, 0.24]))
    torch.testing.assert_close(again, torch.tensor([[[1.99378, 1.99378], [1.01235, 1.01235]]]), atol=1e-4, rtol=0)


def test_wide_matrices_are_evened_out_by_columns(baseline: SimpleNamespace) -> None:
    columns = baseline.evened(torch.tensor([[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]]), torch.zeros(1, 1, 3), 0.95)
    torch.testing.assert_close(columns, torch.full((1, 2, 3), (28 / 6) ** 0.5))


@pytest.mark.parametrize("shape", [(4, 4), (8, 2), (3, 6)])
def test_a_step_of_muon_is_the_one_of_its_description(baseline: SimpleNamespace, shape: tuple[int, int]) -> None:
    """Two steps of two matrices, against numpy in float64."""
    rng = np.random.default_rng(3)
    weights = [rng.normal(size=shape) for _ in range(2)]
    parameters = [nn.Parameter(torch.tensor(weight)) for weight in weights]
    settings = {"lr": 0.1, "momentum": 0.9, "beta2": 0.95, "weight_decay": 0.2, "ns_steps": 5}
    muon = baseline.Muon(parameters, **settings)
    tall = shape[0] >= shape[1]
    buffers, seconds = [np.zeros(shape) for _ in range(2)], [np.zeros(()) for _ in range(2)]
    for _ in range(2):
        for index, parameter in enumerate(parameters):
            gradient = rng.normal(size=shape)
            parameter.grad = torch.tensor(gradient)
            buffers[index] = 0.9 * buffers[index] + 0.1 * gradient
            left, values, right = np.linalg.svd(0.1 * gradient + 0.9 * buffers[index], full_matrices=False)
            scaled = values / (1.02 * np.linalg.norm(values) + 1e-6)
            update = left * singular_values_after(scaled, 5, baseline.POLAR_EXPRESS) @ right
            mean_square = (update**2).mean(axis=1 if tall else 0, keepdims=True)
            seconds[index] = 0.95 * seconds[index] + 0.05 * mean_square
            evened = update / np.sqrt(seconds[index])
            evened *= np.linalg.norm(update) / np.linalg.norm(evened)
            rate = 0.1 * max(1, shape[0] / shape[1]) ** 0.5
            shrinking = evened * weights[index] >= 0
            weights[index] = weights[index] - rate * evened - rate * 0.2 * weights[index] * shrinking
        muon.step()
    for parameter, weight in zip(parameters, weights, strict=True):
        torch.testing.assert_close(parameter.detach(), torch.tensor(weight))


def test_decay_acts_where_the_update_shrinks_a_weight_and_is_scaled_as_the_update(baseline: SimpleNamespace) -> None:
    weight, gradient = torch.tensor([[2.0], [-2.0], [2.0], [-2.0]]), torch.tensor([[1.0], [1.0], [1.0], [1.0]])
    after = []
    for weight_decay in (0.0, 0.5):
        parameter = nn.Parameter(weight.clone())
        parameter.grad = gradient.clone()
        baseline.Muon([parameter], lr=0.1, momentum=0.9, beta2=0.95, weight_decay=weight_decay, ns_steps=5).step()
        after.append(parameter.detach())
    # The rate is 0.1 * root(4 / 1) = 0.2; of 2 that is 0.2 * 0.5 * 2 = 0.2, and only of those that the update shrinks.
    torch.testing.assert_close(after[0] - after[1], torch.tensor([[0.2], [0.0], [0.2], [0.0]]))


def test_scalars_and_tables_have_rates_and_betas_of_their_own(baseline: SimpleNamespace) -> None:
    model = small(baseline, n_embd=192)
    adam, muon = baseline.make_optimizers(model)
    said = [(group["lr"], group["betas"], sum(map(torch.numel, group["params"]))) for group in adam.param_groups]
    # Rates of tables and head are those of width 768, so at 192 they are twice as large. Two of four layers have tables.
    assert said == [
        (pytest.approx(1.2), (0.8, 0.95), 3 * 50 * 192),
        (pytest.approx(0.008), (0.8, 0.95), 50 * 192),
        (pytest.approx(0.005), (0.8, 0.95), 4),
        (pytest.approx(0.5), (0.96, 0.95), 4),
    ]
    optimized = [parameter for group in (*adam.param_groups, *muon.param_groups) for parameter in group["params"]]
    assert {id(parameter) for parameter in optimized} == {id(parameter) for parameter in model.parameters()}
    assert len(optimized) == len(list(model.parameters()))


def test_momentum_rises_over_the_first_300_steps(baseline: SimpleNamespace) -> None:
    assert [baseline.muon_momentum(step) for step in (0, 150, 300, 10**6)] == pytest.approx([0.85, 0.9, 0.95, 0.95])
    assert baseline.UNCOUNTED_STEPS == 11


def test_each_layer_is_given_a_share_of_the_stream_and_of_the_embedding(baseline: SimpleNamespace) -> None:
    torch.manual_seed(0)
    model = baseline.GPT(baseline.GPTConfig(50, 24, 2, 2, 16, "L"))  # layers begin as the identity
    assert model.residual_share.tolist() == [1, 1]
    assert model.embedding_share.tolist() == pytest.approx([0.1, 0.1])
    with torch.no_grad():
        model.residual_share.copy_(torch.tensor([2.0, 3.0]))
        model.embedding_share.copy_(torch.tensor([0.5, 0.25]))
    given: list[torch.Tensor] = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    tokens = torch.randint(0, 50, (1, 7))
    model(tokens)
    embedded = baseline.norm(model.embedding(tokens).float())
    torch.testing.assert_close(given[0], 2.5 * embedded)  # 2 + 0.5
    torch.testing.assert_close(given[1], 7.75 * embedded)  # 3 * 2.5 + 0.25


def test_gates_look_at_the_first_32_features_and_begin_at_one(baseline: SimpleNamespace) -> None:
    attention = baseline.Attention(baseline.GPTConfig(50, 24, 1, 2, 64, "L"), 0)
    assert attention.gate.weight.shape == (2, 32)
    x, value = torch.randn(1, 5, 64), torch.randn(1, 5, 64)
    cos, sin = torch.ones(5, 16), torch.zeros(5, 16)
    with torch.no_grad():
        nn.init.zeros_(attention.gate.weight)
        values = attention.value(x) + value
        expected = direct_attention(*(baseline.norm(part(x).view(1, 5, 2, 32)) for part in (attention.query, attention.key)),
                                    values.view(1, 5, 2, 32), 24)  # fmt: skip
        torch.testing.assert_close(attention(x, value, cos, sin, 24), attention.proj(expected.reshape(1, 5, 64)))
        nn.init.normal_(attention.gate.weight)
        other = x.clone()
        other[..., 32:] = 0
        assert torch.equal(attention.gate(x[..., :32]), attention.gate(other[..., : attention.gate_channels]))
        assert attention.gate_channels == 32


def test_tables_alone_are_bfloat16_and_are_trained(baseline: SimpleNamespace) -> None:
    model = small(baseline)
    types = {name: parameter.dtype for name, parameter in model.named_parameters()}
    tables = {"embedding.weight", "value_embeddings.1.weight", "value_embeddings.3.weight"}
    assert {name for name, dtype in types.items() if dtype is torch.bfloat16} == tables
    assert set(types.values()) == {torch.bfloat16, torch.float32}
    adam, _ = baseline.make_optimizers(model)
    tokens = torch.randint(0, 50, (2, 24))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    model(tokens, tokens.roll(-1, 1)).backward()
    adam.step()
    for name in (*tables, "head.weight", "residual_share", "embedding_share"):
        assert not torch.equal(model.get_parameter(name), before[name]), name
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())


def test_the_rate_rises_stays_and_falls_with_the_share_of_the_budget(baseline: SimpleNamespace) -> None:
    rates = [baseline.lr_multiplier(progress) for progress in np.linspace(0, 1, 101)]
    assert rates[0] == rates[50] == 1.0
    assert rates[75] == pytest.approx(0.5)
    assert rates[100] == 0.0
    assert rates == sorted(rates, reverse=True)


@torch.no_grad()
def test_on_a_cuda_device_it_computes_in_bfloat16_what_it_computes_on_the_host(baseline: SimpleNamespace) -> None:
    """Under autocast, with a residual stream of bfloat16, and with every mask and table where the tokens are."""
    model = small(baseline).eval().requires_grad_(False)
    ids = torch.randint(0, 50, (3, 24), generator=torch.Generator().manual_seed(1))
    expected = model(ids)
    with computing():
        logits = model.to(CUDA)(ids.to(CUDA))
    assert isinstance(logits, OnDevice)
    assert logits.dtype == torch.float32
    error = (logits.numbers - expected).std() / expected.std()
    assert 1e-4 < error < 0.05, "eight bits of mantissa, in four layers"
