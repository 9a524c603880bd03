"""The judge's training loop: parameters, data, labels, loss, optimizer and schedule are all on this side.

AdamW (b1 0.9, b2 0.98, eps 1e-9, decoupled decay of every parameter), mean softmax cross-entropy, no clipping, as the
public LRA trainers. The schedule is ours (docs/lra.md): `c * min(1, t / w) * sqrt(w / max(t, w))` for steps t = 1, 2,
... with peak rate c and w warm-up steps.

All examples lie on the device; the steps between two evaluations are one compiled loop, so that neither the host nor
the transfer of batches is in the way. Everything is float32 unless the module computes otherwise inside.

Not covered: whether what was trained may be trusted (`checks`), and scores (`module_score`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from aira_evaluator.lra.contract.hyperparameters import Hyperparameters
from aira_evaluator.lra.graphs.functions import ModuleFunctions, Parameters, sealed
from aira_evaluator.lra.training.heads import Head, HeadParameters

Weights = tuple[Parameters, HeadParameters]
Scalar = jax.Array | float
BETA1, BETA2, EPSILON = 0.9, 0.98, 1e-9


class DeviceExamples(NamedTuple):
    """N labelled examples over M sequences, on the device."""

    tokens: jax.Array
    """Token ids of every sequence, unsigned integers, (M, L)."""
    rows: jax.Array
    """Which sequences an example has, int32 (N, D)."""
    labels: jax.Array
    """The class of each example, int32 (N,)."""


def learning_rate(step: jax.Array, peak: Scalar, warmup_steps: Scalar) -> jax.Array:
    """Return the rate of a step, counted from 1."""
    t, w = jnp.asarray(step, jnp.float32), jnp.asarray(warmup_steps, jnp.float32)
    # Linear warm-up, then the inverse square root of the step (Vaswani et al. 2017, 5.3), scaled to peak at step w.
    rate: jax.Array = peak * jnp.minimum(1.0, t / w) * jnp.sqrt(w / jnp.maximum(t, w))
    return rate


class Moments(NamedTuple):
    """Running means of gradients and of their squares, shaped as the weights."""

    first: Weights
    second: Weights

    @classmethod
    def of(cls, weights: Weights) -> Self:
        """Return moments of the shapes of `weights`, both means at zero."""
        return cls(jax.tree.map(jnp.zeros_like, weights), jax.tree.map(jnp.zeros_like, weights))


class AdamW(NamedTuple):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019) under the task's schedule.

    An argument of the compiled loop, so that modules which differ in these numbers alone share a program.
    """

    peak: Scalar
    warmup_steps: Scalar
    weight_decay: Scalar

    def update(
        self, step: jax.Array, weights: Weights, gradients: Weights, moments: Moments
    ) -> tuple[Weights, Moments]:
        """Weights and means after `step`, counted from 1."""
        first = jax.tree.map(lambda mean, g: BETA1 * mean + (1 - BETA1) * g, moments.first, gradients)
        second = jax.tree.map(lambda mean, g: BETA2 * mean + (1 - BETA2) * g * g, moments.second, gradients)
        count = jnp.asarray(step, jnp.float32)
        # Means that begin at zero are too small by 1 - beta^t (Kingma and Ba 2015, section 3).
        corrections = 1 - BETA1**count, 1 - BETA2**count
        rate = learning_rate(step, self.peak, self.warmup_steps)

        def moved(weight: jax.Array, mean: jax.Array, square: jax.Array) -> jax.Array:
            direction = (mean / corrections[0]) / (jnp.sqrt(square / corrections[1]) + EPSILON)
            # Decoupled: the decay acts on the weight and not through the moments (Loshchilov and Hutter 2019, eq. 12).
            return weight - rate * (direction + self.weight_decay * weight)

        updated: Weights = jax.tree.map(moved, weights, first, second)
        return updated, Moments(first, second)


def optimizer_of(wanted: Hyperparameters) -> AdamW:
    """Return the optimizer that a training's hyperparameters ask for."""
    return AdamW(*(jnp.float32(each) for each in (wanted.learning_rate, wanted.warmup_steps, wanted.weight_decay)))


class TrainingState(NamedTuple):
    """What one step of a training changes: weights, moments and the summed loss."""

    weights: Weights
    moments: Moments
    loss_sum: jax.Array
    """Of the losses since it was set to zero, float32 ()."""


class Span(NamedTuple):
    """Which steps to train, and on which examples."""

    first: jax.Array | int
    stop: jax.Array | int
    """The step to stop before."""
    order: jax.Array
    """Examples of every step of the training, int32 (steps, B)."""


def draw_order(rng: np.random.Generator, examples: int, batch_size: int, steps: int) -> NDArray[np.int32]:
    """Return which examples each step trains on, (steps, batch_size): a new shuffle whenever all have been used."""
    needed = batch_size * steps
    passes = [rng.permutation(examples).astype(np.int32) for _ in range(-(-needed // examples))]
    return np.concatenate(passes)[:needed].reshape(steps, batch_size)


def mean_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean softmax cross-entropy in nats of logits (B, C) and labels (B,)."""
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


@dataclass(frozen=True)
class Trainer:
    """Trains one module. `order` (steps, B), `examples` and `key`, uint32 (2,), decide everything random."""

    functions: ModuleFunctions
    head: Head
    derived: bool = True
    """Whether gradients are the judge's derivative of `forward`, or those the submission's `backward` gives."""

    def start(self, key: jax.Array) -> TrainingState:
        """Return the state before the first step."""
        module_key, head_key = jax.random.split(key)
        return self.begin((self.functions.init(module_key), self.head.init(head_key)))

    def begin(self, weights: Weights) -> TrainingState:
        """Return the state before the first step from given weights."""
        return TrainingState(weights, Moments.of(weights), jnp.zeros((), jnp.float32))

    def gradients(
        self, step: jax.Array, weights: Weights, order: jax.Array, examples: DeviceExamples, key: jax.Array
    ) -> tuple[jax.Array, list[jax.Array], Weights]:
        """Loss, outputs by document, and gradients of the weights on the examples `order[step]`."""
        parameters, head_parameters = weights
        passing = self.functions.derived if self.derived else self.functions.submitted
        batch = order[step]
        documents, labels = examples.rows[batch], examples.labels[batch]
        step_key = jax.random.fold_in(key, step)
        passes = []
        for document in range(documents.shape[1]):
            inputs = examples.tokens[documents[:, document]].astype(jnp.int32)
            out, pullback = passing(*sealed((parameters, inputs, jax.random.fold_in(step_key, document))))
            passes.append((sealed(out), pullback))

        def loss_of(outputs: list[jax.Array], values: HeadParameters) -> jax.Array:
            return mean_loss(self.head.logits(values, outputs), labels)

        outputs = [out for out, _ in passes]
        # The chain rule cut at the submission's outputs: the judge derives loss and head, the pullback the module.
        loss, (cotangents, head_gradients) = jax.value_and_grad(loss_of, argnums=(0, 1))(outputs, head_parameters)
        by_document = [
            sealed(pullback(sealed(cotangent))) for (_, pullback), cotangent in zip(passes, cotangents, strict=True)
        ]
        gradients = tuple(sum(each[1:], start=each[0]) for each in zip(*by_document, strict=True))
        return loss, outputs, (gradients, head_gradients)

    def step(
        self,
        step: jax.Array,
        state: TrainingState,
        order: jax.Array,
        examples: DeviceExamples,
        key: jax.Array,
        optimizer: AdamW,
    ) -> TrainingState:
        """One optimizer step on the examples `order[step]`."""
        loss, _, gradients = self.gradients(step, state.weights, order, examples, key)
        weights, moments = optimizer.update(step + 1, state.weights, gradients, state.moments)
        return TrainingState(weights, moments, state.loss_sum + loss)

    def run(
        self, state: TrainingState, span: Span, examples: DeviceExamples, key: jax.Array, optimizer: AdamW
    ) -> TrainingState:
        """Return all steps of a span, as one loop to be compiled once: its bounds are arguments."""

        def step(index: jax.Array, carried: TrainingState) -> TrainingState:
            return self.step(index, carried, span.order, examples, key, optimizer)

        trained: TrainingState = jax.lax.fori_loop(span.first, span.stop, step, state)
        return trained


def stretches(steps: int, frequency: int) -> Iterator[tuple[int, int]]:
    """The steps from one evaluation to the next: `(first, stop)`, the last one possibly shorter."""
    for first in range(0, steps, frequency):
        yield first, min(first + frequency, steps)
