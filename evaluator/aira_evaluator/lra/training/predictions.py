"""Logits and accuracy of a trained module on labelled examples.

An example counts as right where the logit of its label is greater than every other: ties are wrong, so that answering
the same for all classes earns nothing.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from aira_evaluator.lra.contract.refusal import RefusedError
from aira_evaluator.lra.graphs.functions import Parameters
from aira_evaluator.lra.graphs.graph import ArrayType
from aira_evaluator.lra.training.heads import Head, HeadParameters
from aira_evaluator.lra.training.trainer import Weights

Inputs = NDArray[np.uint16]
"""Token ids of N examples, (N, D, L)."""
Logits = NDArray[np.float32]
"""Logits of N examples over C classes, (N, C)."""


class NotFiniteError(RefusedError):
    """A loss or an output is infinite or no number."""


class Evaluator:
    """A module's pass for evaluation with the head on top, compiled once."""

    def __init__(
        self,
        evaluate: Callable[[Parameters, jax.Array], jax.Array],
        head: Head,
        weights: Weights,
        batch: tuple[int, int, int],
    ) -> None:
        """Compile for weights of these shapes and a batch of (examples, documents, tokens)."""

        def logits(parameters: Parameters, values: HeadParameters, inputs: jax.Array) -> jax.Array:
            ids = inputs.astype(jnp.int32)
            return head.logits(values, [evaluate(parameters, ids[:, document]) for document in range(batch[1])])

        self._batch = batch[0]
        inputs = ArrayType(batch, "uint16").abstract
        self._run = jax.jit(logits).lower(*weights, inputs).compile()

    @property
    def temporary_bytes(self) -> int:
        """Memory of intermediate results, as the compiler plans it; 0 where it does not say."""
        return int(getattr(self._run.memory_analysis(), "temp_size_in_bytes", 0))

    def logits(self, weights: Weights, inputs: Inputs) -> Logits:
        """Logits of any number of examples; a last batch is filled up with copies of the first example."""
        batches = []
        for start in range(0, len(inputs), self._batch):
            part = inputs[start : start + self._batch]
            filled = np.concatenate([part, np.repeat(inputs[:1], self._batch - len(part), axis=0)])
            batches.append(self._run(*weights, filled))
        return np.concatenate([np.asarray(batch) for batch in batches])[: len(inputs)]


def require_finite(logits: Logits) -> Logits:
    """Return the logits, if all are finite.

    Raises:
        NotFiniteError: some are not.
    """
    if not np.isfinite(logits).all():
        raise NotFiniteError("the module's output is not finite")
    return logits


def predictions(logits: Logits) -> NDArray[np.int64]:
    """Return the class of the greatest logit, -1 where several are greatest."""
    greatest = logits.max(axis=1, keepdims=True)
    # Ties are no answer: a module that gives one value to all classes would else be right about the first.
    tied = (logits == greatest).sum(axis=1) > 1
    return np.where(tied, -1, logits.argmax(axis=1))


def accuracy(logits: Logits, labels: NDArray[np.integer]) -> float:
    """Return the share of examples whose label has the one greatest logit."""
    return float((predictions(logits) == labels).mean())


rounded = partial(round, ndigits=6)
"""How figures stand in reports."""
