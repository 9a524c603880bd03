"""The submitted class of Retrieval: the trunk and a projection that gives a document's embedding."""

import jax
from flax import linen as nn

from aira_evaluator.lra.agent.baselines.parts.trunk import Trunk


class CustomDualEncoder(nn.Module):
    """Token ids of one document (B, L) to its embedding (B, emb_dim)."""

    vocab_size: int
    emb_dim: int
    qkv_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    max_len: int
    dropout_rate: float

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        """Return one embedding for each document of token ids, 0 being padding."""
        trunk = Trunk(
            self.vocab_size, self.emb_dim, self.qkv_dim, self.mlp_dim, self.num_layers, self.num_heads, self.max_len,
            self.dropout_rate,
        )  # fmt: skip
        return nn.Dense(self.emb_dim)(trunk(inputs, train=train))
