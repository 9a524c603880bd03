"""What stands between a module's output and the classes. It is the evaluator's, not the submission's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import jax
import jax.numpy as jnp

from aira_evaluator.lra.contract.hyperparameters import Hyperparameters
from aira_evaluator.lra.contract.submission import ModuleContract

HeadParameters = Mapping[str, jax.Array]


class Head(Protocol):
    """From the outputs (B, W) of an example's documents to logits (B, C)."""

    def init(self, key: jax.Array) -> HeadParameters:
        """Draw the head's parameters before training."""
        ...

    def logits(self, parameters: HeadParameters, outputs: Sequence[jax.Array]) -> jax.Array:
        """Return logits (B, C) from the outputs (B, W) of each document."""
        ...


class NoHead:
    """Modules of Text and ListOps give logits themselves."""

    def init(self, key: jax.Array) -> HeadParameters:
        """Return no parameters: this head has none."""
        return {}

    def logits(self, parameters: HeadParameters, outputs: Sequence[jax.Array]) -> jax.Array:
        """Return the module's output (B, C) as it is."""
        return outputs[0]


@dataclass(frozen=True)
class PairHead:
    """Dense(H)-relu-Dense(H // 2)-relu-Dense(C) over `[e1, e2, e1 * e2, e1 - e2]`, the "NLI" interaction of LRA."""

    width: int
    hidden: int
    classes: int

    def _sizes(self) -> list[int]:
        return [4 * self.width, self.hidden, self.hidden // 2, self.classes]

    def init(self, key: jax.Array) -> HeadParameters:
        """Weights of variance 1 / inputs, as flax draws them, and zero biases."""
        draw = jax.nn.initializers.lecun_normal()
        parameters: dict[str, jax.Array] = {}
        sizes = self._sizes()
        for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
            parameters[f"weight{layer}"] = draw(jax.random.fold_in(key, layer), (inputs, outputs), jnp.float32)
            parameters[f"bias{layer}"] = jnp.zeros(outputs, jnp.float32)
        return parameters

    def logits(self, parameters: HeadParameters, outputs: Sequence[jax.Array]) -> jax.Array:
        """Logits of B pairs from their two embeddings (B, W)."""
        first, second = outputs
        hidden = jnp.concatenate([first, second, first * second, first - second], axis=-1)
        last = len(self._sizes()) - 2
        for layer in range(last + 1):
            hidden = hidden @ parameters[f"weight{layer}"] + parameters[f"bias{layer}"]
            hidden = jax.nn.relu(hidden) if layer < last else hidden
        return hidden


def head_of(contract: ModuleContract, hyperparameters: Hyperparameters) -> Head:
    """Return the head of a task: none for single documents, a classifier of pairs for Retrieval."""
    if contract.documents == 1:
        return NoHead()
    return PairHead(hyperparameters.emb_dim, hyperparameters.mlp_dim, contract.num_classes)
