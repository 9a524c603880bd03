"""Linear attention with the feature map ELU + 1 (Katharopoulos et al. 2020), in its form without causality."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class LinearAttention(nn.Module):
    """Keys and values are summed into one matrix a head, which every query reads: linear in the length."""

    qkv_dim: int
    num_heads: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Mix all positions through one summary of them."""
        width = self.qkv_dim // self.num_heads
        q, k, v = (nn.DenseGeneral((self.num_heads, width), use_bias=False)(x) for _ in range(3))
        q = nn.elu(q) + 1.0
        k = (nn.elu(k) + 1.0) * mask[:, :, None, None]
        summary = jnp.einsum("blhe,blhf->bhef", k, v)
        total = jnp.einsum("blhe,bhe->blh", q, k.sum(axis=1))
        mixed = jnp.einsum("blhe,bhef->blhf", q, summary) / (total[..., None] + 1e-6)
        return nn.DenseGeneral(x.shape[-1], axis=(-2, -1), use_bias=False)(mixed)
