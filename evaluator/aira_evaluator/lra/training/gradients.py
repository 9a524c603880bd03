"""Which gradient a module is trained with: the judge's own derivative of `forward`, or what it brought as `backward`.

`backward` is a graph like any other, and may compute what no derivative is: counts of what stood beside a label, say.
So the judge derives `forward` itself (`interpreter`), and trains with that. It compares the two gradients once near
the initial parameters. Where they agree, `backward` is not used again, so that what it would have said at another step
does not matter. Where they differ, or the judge has no derivative, the module is trained with its `backward`, as
its author meant it, and called `custom_gradient`. Straight-through estimators, quantization and stopped gradients
differ as a cheat does: nothing in a graph tells an estimator that helps learning from one that does the learning.

Compared is the gradient of the loss on a batch of the training, for each array of parameters by itself. Parameters
are moved a little at random first, off the places (a ReLU at zero) where a derivative is a convention.

Not covered: gradients that are right and teach what a module should not know (`controls`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from aira_evaluator.lra.training.predictions import rounded
from aira_evaluator.lra.training.trainer import DeviceExamples, Trainer, Weights

_MISREAD = "forward cannot be derived: the judge reads it otherwise than the compiler does"
MOVED = 0.02
"""How far initial parameters are moved, relative to 0.1 and their own root mean square."""


@dataclass(frozen=True)
class Tolerance:
    """What rounding may make of two gradients, for every array of parameters."""

    relative: float
    """To the array's own gradient."""
    absolute: float
    """To the largest gradient of any array: where terms cancel, all of a gradient is rounding."""


TOLERANCES = {"float32": Tolerance(1e-3, 1e-4), "half": Tolerance(0.1, 0.1)}
"""By the narrowest floats of the graph. Honest modules reach 6e-6 and 3e-2 (docs/lra_trust.md)."""


@dataclass(frozen=True)
class Comparison:
    """How far two gradients are apart at one point of a training."""

    step: int
    difference: float
    """Greatest over arrays, in units of the tolerance: above 1 the gradients differ."""
    in_output: bool
    """Whether it is greatest in what `forward` gives, rather than in a gradient."""

    @property
    def agrees(self) -> bool:
        """Whether rounding explains the difference; a NaN does not agree."""
        return self.difference <= 1.0


class _Check:
    """Compares the two gradients of one module; compiled once."""

    def __init__(
        self, derived: Trainer, weights: Weights, order: jax.Array, examples: DeviceExamples, key: jax.Array,
        tolerance: Tolerance, *, fast: bool,
    ) -> None:  # fmt: skip
        submitted = Trainer(derived.functions, derived.head, derived=False)

        def distances(step: jax.Array, weights: Weights, order: jax.Array, examples: DeviceExamples) -> jax.Array:
            _, outputs, ours = derived.gradients(step, weights, order, examples, key)
            _, expected, theirs = submitted.gradients(step, weights, order, examples, key)
            return _distances([*ours[0], *outputs], [*theirs[0], *expected], len(outputs), tolerance)

        options = {"xla_backend_optimization_level": 0} if fast else None
        lowered = jax.jit(distances, compiler_options=options).lower(jnp.int32(0), weights, order, examples)
        self._run = lowered.compile()
        self._order, self._examples, self._arrays = order, examples, len(weights[0])

    @property
    def temporary_bytes(self) -> int:
        return int(getattr(self._run.memory_analysis(), "temp_size_in_bytes", 0))

    def __call__(self, step: int, weights: Weights) -> Comparison:
        found = np.asarray(self._run(jnp.int32(step), weights, self._order, self._examples))
        return Comparison(step, float(found.max()), int(found.argmax()) >= self._arrays)


def _distances(ours: Sequence[jax.Array], theirs: Sequence[jax.Array], outputs: int, tolerance: Tolerance) -> jax.Array:
    """Distance of every pair of arrays in units of the tolerance; the last `outputs` are no gradients."""
    sizes = [jnp.maximum(_norm(one), _norm(other)) for one, other in zip(ours, theirs, strict=True)]
    largest = jnp.max(jnp.stack(sizes[: len(sizes) - outputs]))
    found = []
    for index, (one, other, size) in enumerate(zip(ours, theirs, sizes, strict=True)):
        # ||a - b|| <= relative * max(||a||, ||b||) + absolute * scale: an array whose own gradient is small is
        # allowed what rounding makes of the largest one, because it may be a difference of such terms.
        scale = largest if index < len(sizes) - outputs else size
        allowed = tolerance.relative * size + tolerance.absolute * scale
        apart = _norm(one - other)
        found.append(jnp.where(apart == 0, 0.0, apart / allowed))
    return jnp.stack(found)


def _norm(values: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.sum(jnp.square(values)))


def moved(weights: Weights, key: jax.Array) -> Weights:
    """Parameters near the given ones, and off places where they are exactly zero; the head's stay."""
    parameters = []
    for index, values in enumerate(weights[0]):
        noise = jax.random.normal(jax.random.fold_in(key, index), values.shape)
        # Relative to the array's root mean square, and to 0.1 where it is zero, as biases are at the start.
        scale = MOVED * (0.1 + jnp.sqrt(jnp.mean(jnp.square(values))))
        parameters.append(values + scale * noise)
    return tuple(parameters), weights[1]


@dataclass
class GradientReport:
    """Which gradient trains a module, and what comparing it found."""

    derived: bool
    """Whether it is the judge's derivative."""
    reason: str | None = None
    """Why not, in words for people."""
    comparisons: list[Comparison] = field(default_factory=list)
    check: "_Check | None" = None

    def compare(self, step: int, weights: Weights) -> None:
        """Compare once more, at weights of the training."""
        if self.check is not None:
            self.comparisons.append(self.check(step, weights))

    @property
    def custom(self) -> bool:
        """Whether the submission's gradient is not, or was nowhere found to be, that of its function."""
        return not self.derived or not all(each.agrees for each in self.comparisons)

    @property
    def remark(self) -> str:
        """Why the gradient is custom, in one printable line."""
        reason = self.reason or "backward is not the derivative of forward at parameters of the training"
        return f"gradient: {reason}".encode("ascii", "replace").decode("ascii")[:300]

    def details(self) -> dict[str, object]:
        """Plain values for a report; differences that are not finite are told as such."""
        shown = [
            rounded(each.difference) if np.isfinite(each.difference) else "not finite" for each in self.comparisons
        ]
        by = "derivative of forward" if self.derived else "backward of the submission"
        return {"trained_with": by, "reason": self.reason, "difference_over_tolerance": shown}


def choose_gradient(
    derived: Trainer,
    weights: Weights,
    order: jax.Array,
    examples: DeviceExamples,
    key: jax.Array,
    tolerance: Tolerance,
    *,
    fast: bool,
    memory_bytes: float,
) -> GradientReport:
    """Compare the two gradients of a module on the first batch.

    Args:
        derived: of the module, with the judge's derivative.
        weights: to compare at.
        order: examples of every step, int32 (steps, B).
        examples: of the training.
        key: of its dropout.
        tolerance: what counts as equal.
        fast: compile without optimization, which a few runs do not earn.
        memory_bytes: what the comparison may need.
    """
    try:
        check = _Check(derived, weights, order, examples, key, tolerance, fast=fast)
    except Exception as error:  # of any kind: a graph may hold what JAX cannot derive, or what this cannot read
        said = " ".join(str(error).split())[:120]
        return GradientReport(derived=False, reason=f"forward cannot be derived: {type(error).__name__}: {said}")
    if check.temporary_bytes > memory_bytes:
        return GradientReport(derived=False, reason=f"deriving needs {check.temporary_bytes / 2**20:,.0f} MiB")
    found = check(0, weights)
    reason = None if found.agrees else _MISREAD if found.in_output else "backward is not the derivative of forward"
    return GradientReport(found.agrees, reason, [found], check)
