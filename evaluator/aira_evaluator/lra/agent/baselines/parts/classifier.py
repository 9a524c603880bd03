"""The submitted class of Text and ListOps: the trunk and a head that gives logits."""

import jax
from flax import linen as nn

from aira_evaluator.lra.agent.baselines.parts.trunk import Trunk


class CustomEncoder(nn.Module):
    """Token ids (B, L) to logits (B, num_classes)."""

    vocab_size: int
    num_classes: int
    emb_dim: int
    qkv_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    max_len: int
    dropout_rate: float

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        """Return the logits of each class for token ids, 0 being padding."""
        trunk = Trunk(
            self.vocab_size, self.emb_dim, self.qkv_dim, self.mlp_dim, self.num_layers, self.num_heads, self.max_len,
            self.dropout_rate,
        )  # fmt: skip
        hidden = nn.relu(nn.Dense(self.mlp_dim)(trunk(inputs, train=train)))
        return nn.Dense(self.num_classes)(hidden)
