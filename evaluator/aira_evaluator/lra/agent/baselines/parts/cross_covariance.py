"""Cross-covariance attention (El-Nouby et al. 2021, XCiT): attention between channels, with a local convolution."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from aira_evaluator.lra.agent.baselines.parts.depthwise import DepthwiseConvolution


class CrossCovariance(nn.Module):
    """Each head mixes its channels by the covariance of keys and queries over the sequence: linear in the length."""

    qkv_dim: int
    num_heads: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Mix channels by what the whole sequence holds, then neighbours by a convolution."""
        width = self.qkv_dim // self.num_heads
        q, k, v = (nn.DenseGeneral((self.num_heads, width), use_bias=False)(x) for _ in range(3))
        q, k = (part * mask[:, :, None, None] for part in (q, k))
        q, k = (part / jnp.sqrt((part**2).sum(axis=1, keepdims=True) + 1e-6) for part in (q, k))
        temperature = self.param("temperature", nn.initializers.ones, (self.num_heads, 1, 1))
        weights = nn.softmax(jnp.einsum("blhe,blhf->bhef", k, q) * temperature, axis=-2)
        mixed = jnp.einsum("blhe,bhef->blhf", v, weights).reshape(*x.shape[:2], -1)
        mixed = nn.Dense(x.shape[-1], use_bias=False)(mixed)
        return mixed + DepthwiseConvolution(taps=5)(nn.silu(mixed), mask)
