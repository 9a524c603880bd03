"""Attention within chunks, gated by a summary of the whole sequence.

Local attention in blocks (Parmar et al. 2018) sees no further than its chunk; a gate and an offset computed from the
mean over all positions (as in squeeze-and-excitation, Hu et al. 2018) tell every position about the rest.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn


class LocalGlobal(nn.Module):
    """Softmax attention in chunks of fixed length: linear in the length of the sequence."""

    qkv_dim: int
    num_heads: int
    chunk: int = 32

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Mix within chunks, then gate by the mean over all positions."""
        batch, length, features = x.shape
        width, fill = self.qkv_dim // self.num_heads, -length % self.chunk
        chunked = jnp.pad(x, ((0, 0), (0, fill), (0, 0))).reshape(batch, -1, self.chunk, features)
        seen = jnp.pad(mask, ((0, 0), (0, fill))).reshape(batch, -1, self.chunk)
        q, k, v = (nn.DenseGeneral((self.num_heads, width), use_bias=False)(chunked) for _ in range(3))
        scores = jnp.einsum("bclhe,bcmhe->bchlm", q, k) / jnp.sqrt(width)
        weights = nn.softmax(jnp.where(seen[:, :, None, None, :], scores, -1e9))
        mixed = jnp.einsum("bchlm,bcmhe->bclhe", weights, v).reshape(batch, length + fill, self.qkv_dim)[:, :length]
        mean = (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1)[:, None]
        summary = nn.gelu(nn.Dense(self.qkv_dim)(mean))[:, None]
        gate = nn.sigmoid(nn.Dense(self.qkv_dim)(x) + nn.Dense(self.qkv_dim)(summary))
        return nn.Dense(features, use_bias=False)(mixed * gate + nn.Dense(self.qkv_dim)(summary))
