"""The judge's loop: the same numbers from graphs as from Python, the schedule, the optimizer, the order."""

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_modules import EMBED, POOL, encoder, small_profile, small_splits, traced

from aira_evaluator.lra.agent.baselines.compose import compose
from aira_evaluator.lra.agent.baselines.genome import PRESETS
from aira_evaluator.lra.contract.hyperparameters import Hyperparameters
from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.graphs.functions import ModuleFunctions, Parameters, Pullback, read_module, sealed
from aira_evaluator.lra.training.checks import check_chance, check_company, other_company
from aira_evaluator.lra.training.controls import secret_ids
from aira_evaluator.lra.training.heads import NoHead, PairHead
from aira_evaluator.lra.training.predictions import Logits, accuracy, predictions
from aira_evaluator.lra.training.trainer import (
    AdamW,
    DeviceExamples,
    Moments,
    Span,
    Trainer,
    TrainingState,
    Weights,
    draw_order,
    learning_rate,
    mean_loss,
    optimizer_of,
    stretches,
)

CONTRACT = CONTRACTS["listops"]
DROPPING = encoder(
    EMBED
    + "x = nn.Dropout(0.5, deterministic=not train)(nn.gelu(nn.Dense(self.mlp_dim)(x)))\nx = nn.LayerNorm()(x)"
    + POOL
)


def direct_functions(source: str, wanted: Hyperparameters) -> ModuleFunctions:
    """The module itself, with JAX's own pass backwards: nothing is exported."""
    module: Any = ModuleType("direct_module")
    sys.modules["direct_module"] = module
    exec(compile(source, "direct_module", "exec"), module.__dict__)
    instance = module.CustomEncoder(**CONTRACT.constructor_arguments(wanted, max_len=wanted.seq_len))
    tokens = jnp.ones((wanted.batch_size, wanted.seq_len), jnp.int32)

    def variables(key: jax.Array) -> Mapping[str, Any]:
        return dict(instance.init({"params": key}, tokens, train=False))

    tree: Any = jax.tree.structure(jax.eval_shape(variables, jax.random.PRNGKey(0))["params"])

    def passing(parameters: Parameters, inputs: jax.Array, key: jax.Array) -> tuple[jax.Array, Pullback]:
        def apply(values: Parameters) -> jax.Array:
            out = instance.apply({"params": tree.unflatten(values)}, inputs, train=True, rngs={"dropout": key})
            assert isinstance(out, jax.Array)
            return out

        out, pullback = jax.vjp(apply, parameters)
        residuals, structure = jax.tree.flatten(pullback)
        out, *residuals = sealed((out, *residuals))

        def back(cotangent: jax.Array) -> Parameters:
            *kept, g = sealed((*residuals, cotangent))
            pull: Any = structure.unflatten(kept)
            return tuple(pull(g)[0])

        return out, back

    def evaluate(parameters: Parameters, inputs: jax.Array) -> jax.Array:
        out = instance.apply({"params": tree.unflatten(parameters)}, inputs, train=False)
        assert isinstance(out, jax.Array)
        return out

    return ModuleFunctions(lambda key: tuple(jax.tree.leaves(variables(key)["params"])), passing, passing, evaluate)


def train_50_steps(
    functions: ModuleFunctions, wanted: Hyperparameters, parameters: Parameters, *, derived: bool = False
) -> TrainingState:
    split = small_splits().train
    tokens = split.sequences.token_ids(wanted.seq_len)
    examples = DeviceExamples(jnp.asarray(tokens), jnp.asarray(split.rows), jnp.asarray(split.labels, dtype=jnp.int32))
    order = jnp.asarray(draw_order(np.random.default_rng(3), len(split), wanted.batch_size, 50))
    trainer = Trainer(functions, NoHead(), derived=derived)
    state, span, key = trainer.begin((parameters, {})), Span(0, 50, order), jax.random.PRNGKey(5)
    trained: TrainingState = jax.jit(trainer.run)(state, span, examples, key, optimizer_of(wanted))
    return trained


@pytest.mark.parametrize("name", ["transformer", "dropping"])
def test_graphs_train_to_the_last_digit_as_the_module_itself(name: str) -> None:
    profile = small_profile(batch_size=8, warmup_steps=10)
    source = DROPPING if name == "dropping" else compose(PRESETS["transformer"], CONTRACT, profile, configurable=False)
    wanted = profile.defaults
    exported = read_module(traced(source, profile), CONTRACT, profile.eval_batch_size).functions
    start = jax.jit(exported.init, compiler_options={"xla_backend_optimization_level": 0})(jax.random.PRNGKey(4))
    of_graphs = train_50_steps(exported, wanted, start)
    of_module = train_50_steps(direct_functions(source, wanted), wanted, start)
    for first, one, other in zip(start, of_graphs.weights[0], of_module.weights[0], strict=True):
        np.testing.assert_array_equal(one, other)
        assert first.size < 20 or bool((first != one).any())
    assert float(of_graphs.loss_sum) == float(of_module.loss_sum)
    # The judge's own derivative adds in another order.
    of_judge = train_50_steps(exported, wanted, start, derived=True)
    assert float(of_judge.loss_sum) == pytest.approx(float(of_module.loss_sum), rel=1e-4)
    for one, other in zip(of_judge.weights[0], of_module.weights[0], strict=True):
        np.testing.assert_allclose(one, other, atol=0.02 * float(jnp.abs(other).max() + 0.01))


def test_the_rate_rises_to_its_peak_and_falls_with_the_root_of_time() -> None:
    rates = np.array([learning_rate(jnp.asarray(step), 0.002, 100) for step in (1, 50, 100, 400, 10_000)])
    np.testing.assert_allclose(rates, 0.002 * np.array([0.01, 0.5, 1.0, 0.5, 0.1]), rtol=1e-6)


def test_the_optimizer_is_adam_with_decoupled_decay() -> None:
    optimizer = AdamW(peak=0.1, warmup_steps=1, weight_decay=0.5)
    weights: Weights = ((jnp.array([2.0, -3.0]),), {})
    gradients: Weights = ((jnp.array([0.25, -4.0]),), {})
    moved, moments = optimizer.update(jnp.asarray(1), weights, gradients, Moments.of(weights))
    # The first step of Adam has length one in every coordinate; the decay comes on top.
    np.testing.assert_allclose(moved[0][0], [2.0 - 0.1 * (1 + 1.0), -3.0 - 0.1 * (-1 - 1.5)], rtol=1e-6)
    moved, _ = optimizer.update(jnp.asarray(2), moved, ((jnp.zeros(2),), {}), moments)
    mean, square = 0.9 * 0.1 * 0.25 / (1 - 0.9**2), 0.98 * 0.02 * 0.25**2 / (1 - 0.98**2)
    expected = 1.8 - 0.1 * 2**-0.5 * (mean / square**0.5 + 0.5 * 1.8)
    assert float(moved[0][0][0]) == pytest.approx(expected, rel=1e-6)


def test_the_loss_is_the_cross_entropy_in_nats() -> None:
    logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    assert float(mean_loss(logits, jnp.array([0, 1]))) == pytest.approx(-(np.log(0.5) + np.log(0.1)) / 2)


def test_the_pair_head_is_what_lra_calls_nli() -> None:
    head = PairHead(width=3, hidden=8, classes=2)
    parameters = head.init(jax.random.PRNGKey(0))
    first, second = jnp.arange(6.0).reshape(2, 3), jnp.ones((2, 3))
    hidden = np.concatenate([first, second, first * second, first - second], axis=1)
    for layer in range(3):
        hidden = hidden @ parameters[f"weight{layer}"] + parameters[f"bias{layer}"]
        hidden = np.maximum(hidden, 0) if layer < 2 else hidden
    np.testing.assert_allclose(head.logits(parameters, [first, second]), hidden, rtol=1e-5)
    assert [parameters[f"weight{layer}"].shape for layer in range(3)] == [(12, 8), (8, 4), (4, 2)]


@settings(deadline=None)
@given(st.integers(1, 50), st.integers(1, 20), st.integers(1, 30))
def test_every_pass_over_the_data_uses_every_example_once(examples: int, batch_size: int, steps: int) -> None:
    order = draw_order(np.random.default_rng(0), examples, batch_size, steps)
    assert order.shape == (steps, batch_size)
    flat = order.reshape(-1)
    for start in range(0, len(flat), examples):
        part = flat[start : start + examples]
        assert len(set(part.tolist())) == len(part)


@given(st.integers(1, 500), st.integers(1, 600))
def test_stretches_cover_every_step_once(steps: int, frequency: int) -> None:
    spans = list(stretches(steps, frequency))
    assert [step for first, stop in spans for step in range(first, stop)] == list(range(steps))
    assert all(stop - first == frequency for first, stop in spans[:-1])


@given(st.integers(0, 2**32))
def test_secret_ids_permute_all_but_the_padding(seed: int) -> None:
    ids = secret_ids(16, np.random.default_rng(seed))
    assert ids[0] == 0
    assert sorted(ids.tolist()) == list(range(16))


def test_ties_are_wrong() -> None:
    logits = np.array([[1.0, 1.0], [2.0, 1.0], [0.0, 3.0]], dtype=np.float32)
    assert predictions(logits).tolist() == [-1, 0, 1]
    assert accuracy(logits, np.array([0, 0, 0])) == pytest.approx(1 / 3)


def _answers(classes: NDArray[np.int64]) -> Logits:
    logits: Logits = np.eye(4, dtype=np.float32)[classes]
    return logits


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_untrained_modules_that_know_nothing_or_know_by_chance_are_not_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(4, 256, p=[0.7, 0.1, 0.1, 0.1])
    constant = [_answers(np.full(256, rng.integers(4))) for _ in range(8)]
    assert check_chance(constant, labels).mean == pytest.approx(0.0)
    # A feature that tells the label, in front of a head that maps it to classes at random.
    accidental = check_chance([_answers(rng.permutation(4)[labels]) for _ in range(8)], labels)
    if min(accidental.excess) < 0:
        accidental.refuse_knowledge()


def test_knowledge_that_every_draw_has_is_refused_and_its_absence_is_chance() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 256)
    half_right = [_answers(np.where(rng.random(256) < 0.4, labels, rng.integers(0, 4, 256))) for _ in range(8)]
    with pytest.raises(Exception, match="must learn the task"):
        check_chance(half_right, labels).refuse_knowledge()
    assert not check_chance([_answers(rng.integers(0, 4, 256)) for _ in range(8)], labels).off_chance


def test_company_keeps_half_of_the_batch_and_adds_others() -> None:
    inputs = np.arange(100, dtype=np.uint16).reshape(100, 1, 1)
    mixed, rows = other_company(inputs, 32, np.random.default_rng(0))
    assert mixed.shape == (32, 1, 1)
    np.testing.assert_array_equal(mixed[:, 0, 0], rows)
    assert len(set(rows.tolist()) & set(range(32))) >= 16
    assert rows.max() >= 32


def test_company_is_refused_for_answers_and_flagged_for_values() -> None:
    together = np.array([[1.0, 0.9], [5.0, 0.0]], dtype=np.float32)
    assert not check_company(together, together + 1e-6)
    assert check_company(together, together + np.array([[0.05, 0.0], [0.0, 0.0]], dtype=np.float32))
    with pytest.raises(Exception, match="other examples"):
        check_company(together, together[:, ::-1])
