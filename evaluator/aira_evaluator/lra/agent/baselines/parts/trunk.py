"""The part all modules share: embedding, pre-norm residual layers, pooling over the tokens there are."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from aira_evaluator.lra.agent.baselines.parts.settings import FEEDFORWARD, MIXERS, POOLING, POSITIONS


class Trunk(nn.Module):
    """Token ids (B, L) to one vector a sequence, (B, D)."""

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
        """Encode token ids, 0 being padding, layer by layer, and pool them to one vector a sequence."""
        mask = inputs > 0
        x = nn.Embed(self.vocab_size, self.emb_dim, embedding_init=nn.initializers.normal(1.0))(inputs)
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x + self.positions(inputs.shape[1]))
        for layer in range(self.num_layers):
            mixer = MIXERS[layer % len(MIXERS)](qkv_dim=self.qkv_dim, num_heads=self.num_heads)
            y = mixer(nn.LayerNorm()(x), mask)
            x = x + nn.Dropout(self.dropout_rate, deterministic=not train)(y)
            y = self.feedforward(nn.LayerNorm()(x))
            x = x + nn.Dropout(self.dropout_rate, deterministic=not train)(y)
        return self.pool(nn.LayerNorm()(x), mask)

    def positions(self, length: int) -> jax.Array:
        """What is added to the embeddings, (L, D) or a scalar 0."""
        if POSITIONS == "learned":
            return self.param("positions", nn.initializers.normal(0.02), (self.max_len, self.emb_dim))[:length]
        if POSITIONS == "none":
            return jnp.zeros(())
        angles = jnp.arange(length)[:, None] * 1e4 ** (-jnp.arange(0, self.emb_dim, 2) / self.emb_dim)
        waves = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
        return waves.reshape(length, -1)[:, : self.emb_dim]

    def feedforward(self, x: jax.Array) -> jax.Array:
        """Act on each position alone: an MLP with GELU, or gated by SiLU (Shazeer 2020)."""
        hidden = nn.Dense(self.mlp_dim)(x)
        gated = FEEDFORWARD == "swiglu"
        hidden = nn.silu(hidden) * nn.Dense(self.mlp_dim)(x) if gated else nn.gelu(hidden)
        return nn.Dense(self.emb_dim)(hidden)

    def pool(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """One vector of all tokens: mean, maximum, or the mean weighted by a learned score."""
        if POOLING == "max":
            return jnp.where(mask[:, :, None], x, -1e9).max(axis=1)
        scores = nn.Dense(1)(x)[..., 0] if POOLING == "attention" else jnp.zeros(mask.shape)
        weights = nn.softmax(jnp.where(mask, scores, -1e9))
        return jnp.einsum("bl,bld->bd", weights, x)
