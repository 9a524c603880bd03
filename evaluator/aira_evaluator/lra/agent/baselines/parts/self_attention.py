"""Softmax attention over all positions (Vaswani et al. 2017): the reference, quadratic in the length."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class SelfAttention(nn.Module):
    """Multi-head attention without biases."""

    qkv_dim: int
    num_heads: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Mix all positions with all."""
        width = self.qkv_dim // self.num_heads
        q, k, v = (nn.DenseGeneral((self.num_heads, width), use_bias=False)(x) for _ in range(3))
        scores = jnp.einsum("blhe,bmhe->bhlm", q, k) / jnp.sqrt(width)
        weights = nn.softmax(jnp.where(mask[:, None, None, :], scores, -1e9))
        mixed = jnp.einsum("bhlm,bmhe->blhe", weights, v)
        return nn.DenseGeneral(x.shape[-1], axis=(-2, -1), use_bias=False)(mixed)
