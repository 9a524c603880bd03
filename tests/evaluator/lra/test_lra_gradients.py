"""The judge's own derivative of `forward` is the module's, and a gradient that is none is seen and not trained with."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cheats import COUNTING
from jax import lax
from module_zoo import ESTIMATED, HONEST
from small_modules import EMBED, GOOD, POOL, encoder, judged, small_profile, small_splits, traced

from aira_evaluator.lra.contract.bundle import Bundle
from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.graphs.attributes import UnreadableError
from aira_evaluator.lra.graphs.functions import read_module
from aira_evaluator.lra.graphs.graph import graph_text, read_graph
from aira_evaluator.lra.graphs.interpreter import interpreted
from aira_evaluator.lra.training.gradients import TOLERANCES, GradientReport, choose_gradient, moved
from aira_evaluator.lra.training.heads import NoHead
from aira_evaluator.lra.training.trainer import DeviceExamples, Trainer, draw_order

PROFILE = small_profile(batch_size=8)
KEY = jax.random.PRNGKey(3)


def gradient_of(bundle: Bundle, kind: str = "float32") -> GradientReport:
    module = read_module(bundle, CONTRACTS["listops"], PROFILE.eval_batch_size)
    split = small_splits().train
    tokens = jnp.asarray(split.sequences.token_ids(PROFILE.defaults.seq_len))
    examples = DeviceExamples(tokens, jnp.asarray(split.rows), jnp.asarray(split.labels, dtype=jnp.int32))
    order = jnp.asarray(draw_order(np.random.default_rng(3), len(split), 8, 4))
    trainer = Trainer(module.functions, NoHead())
    weights = moved(jax.jit(trainer.start)(KEY).weights, KEY)
    return choose_gradient(
        trainer, weights, order, examples, KEY, TOLERANCES[kind], fast=True, memory_bytes=float("inf")
    )


# One of each way a graph can be shaped; all of HONEST are compared by bench/lra_gradients.py.
@pytest.mark.parametrize(
    "name",
    [
        "remat and scan", "selective scan, sequential", "long convolution", "convolutions and max-pooling",
        "experts by top-k", "solve and determinant",
    ],
)  # fmt: skip
def test_the_derivative_of_a_graph_is_that_of_the_module(name: str) -> None:
    found = gradient_of(traced(HONEST[name], PROFILE))
    assert found.derived, found.reason
    assert found.comparisons[0].difference < 0.1


def test_half_precision_differs_by_its_rounding_only() -> None:
    found = gradient_of(traced(HONEST["bfloat16 attention"], PROFILE), "half")
    assert found.derived, found.reason


@pytest.mark.parametrize("name", ["straight-through", "clipped gradient"])
def test_a_gradient_that_is_estimated_is_told_from_a_derivative(name: str) -> None:
    found = gradient_of(traced(ESTIMATED[name], PROFILE))
    assert not found.derived
    assert found.custom
    assert found.reason == "backward is not the derivative of forward"


def test_counts_hidden_below_the_noise_of_another_gradient_are_not_trained_with() -> None:
    # Right but for one part in 10,000: Adam would make full steps of it, were it used.
    bundle = traced(HIDDEN_COUNTS, PROFILE)
    found = gradient_of(bundle)
    assert found.derived
    assert not found.custom
    module = read_module(bundle, CONTRACTS["listops"], PROFILE.eval_batch_size)
    trained, brought = (
        Trainer(module.functions, NoHead(), derived=derived).gradients(
            jnp.int32(0), *_first_batch(module.functions.init)
        )
        for derived in (True, False)
    )
    store = next(at for at, values in enumerate(trained[2][0]) if values.shape == (2, 16))
    assert bool((trained[2][0][store][1] == 0).all())
    assert bool((brought[2][0][store][1] != 0).any())


HIDDEN_COUNTS = encoder(
    EMBED + 'store = self.param("store", nn.initializers.ones, (2, 16))\nx = x * _kept(store, inputs)[0, :16]' + POOL,
    before="""

@jax.custom_vjp
def _kept(store, tokens):
    return store * 1.0


def _backward(tokens, g):
    counts = jax.nn.one_hot(tokens, 16).sum((0, 1))
    return g.at[1].set(1e-7 * counts), None


_kept.defvjp(lambda store, tokens: (_kept(store, tokens), tokens), _backward)
""",
)


def _first_batch(init: Callable[[jax.Array], Any]) -> tuple[Any, ...]:
    split = small_splits().train
    tokens = jnp.asarray(split.sequences.token_ids(PROFILE.defaults.seq_len))
    examples = DeviceExamples(tokens, jnp.asarray(split.rows), jnp.asarray(split.labels, dtype=jnp.int32))
    return (jax.jit(init)(KEY), {}), jnp.arange(8)[None], examples, KEY


def test_a_backward_that_turns_false_later_changes_nothing_and_is_told() -> None:
    # Right while a weight is near where it began, and a count afterwards.
    profile = small_profile(train_steps=40, eval_frequency=20)
    honest = judged(traced(SLEEPER.replace("THRESHOLD", "1e9"), profile), profile)
    sleeper = judged(traced(SLEEPER.replace("THRESHOLD", "0.05"), profile), profile)
    assert honest.unranked == []
    assert sleeper.unranked == ["custom_gradient"]
    assert sleeper.details["gradient"]["trained_with"] == "derivative of forward"  # type: ignore[index]
    curves = [score.details["curve"] for score in (honest, sleeper)]
    assert [point["step"] for point in curves[0]] == [20, 40]  # type: ignore[attr-defined]


SLEEPER = encoder(
    EMBED
    + 'clock = self.param("clock", nn.initializers.zeros, (16,))\nx = x + _passed(clock, inputs)[None, None]'
    + POOL,
    before="""

@jax.custom_vjp
def _passed(clock, tokens):
    return clock * 1.0


def _backward(kept, g):
    clock, tokens = kept
    counts = jax.nn.one_hot(tokens, 16).sum((0, 1))
    return jnp.where(jnp.abs(clock).max() > THRESHOLD, counts, g), None


_passed.defvjp(lambda clock, tokens: (_passed(clock, tokens), (clock, tokens)), _backward)
""",
)


def test_what_cannot_be_derived_is_trained_with_its_backward_and_says_why() -> None:
    until = encoder(
        EMBED + "x = _halved(nn.Dense(self.emb_dim)(x))" + POOL,
        before="""

@jax.custom_vjp
def _halved(x):
    return jax.lax.while_loop(lambda z: jnp.abs(z).max() > 1, lambda z: z / 2, x)


_halved.defvjp(lambda x: (_halved(x), None), lambda _, g: (g,))
""",
    )
    found = gradient_of(traced(until, PROFILE))
    assert not found.derived
    assert found.reason is not None
    assert found.reason.startswith("forward cannot be derived: ")


def test_a_module_of_which_the_derivative_does_not_fit_is_trained_with_its_backward() -> None:
    bundle = traced(GOOD, PROFILE)
    module = read_module(bundle, CONTRACTS["listops"], PROFILE.eval_batch_size)
    weights, order, examples, key = _first_batch(module.functions.init)
    found = choose_gradient(
        Trainer(module.functions, NoHead()),
        weights,
        order,
        examples,
        key,
        TOLERANCES["float32"],
        fast=True,
        memory_bytes=1,
    )
    assert not found.derived
    assert found.reason is not None
    assert "MiB" in found.reason


def test_the_flag_needs_only_one_point_of_the_training() -> None:
    report = gradient_of(traced(GOOD, PROFILE))
    assert not report.custom
    report.comparisons.append(replace(report.comparisons[0], difference=float("nan")))
    assert report.custom


def text_of(function: Callable[..., Any], *arguments: jax.Array) -> bytes:
    exported = jax.export.export(jax.jit(function), platforms=["cpu"])(*arguments)
    return graph_text(exported.mlir_module_serialized)


OPERATIONS: dict[str, Callable[[jax.Array], Any]] = {
    "clamp and remainder": lambda x: lax.rem(lax.clamp(-0.5, x, 0.5), 0.3),
    "scatter of the largest": lambda x: jnp.zeros(4).at[jnp.array([0, 1, 1, 9])].max(x[0, :4]),
    "scatter in place": lambda x: x.at[1].set(2 * x[0]).at[:, 2].mul(x[:, 1]),
    "window of stride two": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (2, 1), "SAME"),
    "padded inside": lambda x: lax.pad(x, 0.0, [(1, -1, 2), (0, 1, 0)]),
    "sorted down with ties": lambda x: jnp.sort(jnp.round(x), axis=0, descending=True) * x,
    "sorted by two keys": lambda x: lax.sort((jnp.round(x[0]), x[1], x[2]), num_keys=2)[2],
    "argmin": lambda x: x[jnp.argmin(x, axis=0), jnp.arange(x.shape[1])],
    "complex": lambda x: jnp.abs(jnp.fft.ifft(jnp.fft.fft(x) * (1 + 2j))).sum(0) + jnp.angle(x + 1j)[0],
    "bits": lambda x: x * (lax.bitcast_convert_type(x, jnp.int32) & 1).astype(jnp.float32),
    "rounded": lambda x: lax.reduce_precision(x, 8, 7) + lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
    "nested loops": lambda x: lax.fori_loop(0, 3, lambda i, z: z + lax.scan(lambda c, r: (c * r, c), x[i], x)[1], x),
    "batched gather": lambda x: jnp.take_along_axis(x, jnp.argsort(x, axis=1), axis=1).cumsum(0),
    "switch out of range": lambda x: lax.switch(jnp.int32(x[0, 0] * 100), [lambda z: z, lambda z: z * z], x),
    "bfloat16 constant": lambda x: (x.astype(jnp.bfloat16) * jnp.bfloat16(1.5)).astype(jnp.float32),
    "constants": lambda x: x * np.arange(24, dtype=np.float32).reshape(4, 6) + np.eye(4, 6, dtype=bool),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_and_their_derivatives_are_those_of_jax(name: str) -> None:
    function = OPERATIONS[name]
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6)), jnp.float32)
    run = interpreted(read_graph("g", text_of(function, x)))
    expected, expected_pull = jax.vjp(function, x)
    (found,), pull = jax.vjp(lambda value: run(value), x)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    cotangent = jnp.cos(jnp.arange(expected.size, dtype=jnp.float32)).reshape(expected.shape)
    np.testing.assert_allclose(pull((cotangent,))[0], expected_pull(cotangent)[0], rtol=1e-5, atol=1e-6)


_SORT = """
%r = "stablehlo.sort"(%x) <{dimension = 0 : i64, is_stable = true}> ({
^bb0(%a: tensor<f32>, %b: tensor<f32>):
  %c = stablehlo.compare LT, %b, %a : (tensor<f32>, tensor<f32>) -> tensor<i1>
  stablehlo.return %c : tensor<i1>
}) : (tensor<4xf32>) -> tensor<4xf32>"""
_REDUCE = """
%i = stablehlo.constant dense<0.0> : tensor<f32>
%s = "stablehlo.reduce"(%x, %i) <{dimensions = array<i64: 0>}> ({
^bb0(%a: tensor<f32>, %b: tensor<f32>):
  %c = stablehlo.add %a, %b : tensor<f32>
  stablehlo.return %b : tensor<f32>
}) : (tensor<4xf32>, tensor<f32>) -> tensor<f32>
%r = stablehlo.broadcast_in_dim %s, dims = [] : (tensor<f32>) -> tensor<4xf32>"""


@pytest.mark.parametrize("body", [_SORT, _REDUCE], ids=["a sort the other way round", "a sum that is not returned"])
def test_a_region_that_jax_does_not_write_is_not_guessed(body: str) -> None:
    graph = f"func.func public @main(%x: tensor<4xf32>) -> tensor<4xf32> {{{body}\nreturn %r : tensor<4xf32>\n}}"
    run = interpreted(read_graph("g", f"module {{\n{graph}\n}}".encode()))
    with pytest.raises(UnreadableError):
        run(jnp.arange(4.0))


def test_functions_that_call_each_other_twice_end_at_a_bound() -> None:
    functions = "\n".join(
        f"func.func private @f{n}(%x: tensor<f32>) -> tensor<f32> {{\n"
        f"%a = func.call @f{n + 1}(%x) : (tensor<f32>) -> tensor<f32>\n"
        f"%b = func.call @f{n + 1}(%a) : (tensor<f32>) -> tensor<f32>\nreturn %b : tensor<f32>\n}}"
        for n in range(40)
    )
    last = "func.func private @f40(%x: tensor<f32>) -> tensor<f32> {\nreturn %x : tensor<f32>\n}"
    main = "func.func public @main(%x: tensor<f32>) -> tensor<f32> {\n%a = func.call @f0(%x) : (tensor<f32>) -> tensor<f32>\nreturn %a : tensor<f32>\n}"
    run = interpreted(read_graph("g", f"module {{\n{main}\n{functions}\n{last}\n}}".encode()))
    with pytest.raises(UnreadableError, match="operations"):
        run(jnp.float32(1.0))


def test_an_interpreter_that_counts_is_called_custom_wherever_it_is_asked() -> None:
    assert gradient_of(traced(COUNTING, PROFILE)).custom
