"""A large depthwise filter with a gate, then linear attention: near and far in one mixer.

Large filters: Ding et al. 2022, Romero et al. 2021. The pair with linear attention is the best configurable ListOps
module of the AIRA paper (Table 14), by its description.
"""

import jax
from flax import linen as nn

from aira_evaluator.lra.agent.baselines.parts.depthwise import DepthwiseConvolution
from aira_evaluator.lra.agent.baselines.parts.linear_attention import LinearAttention


class GatedConvolution(nn.Module):
    """Linear in the length; the filter reaches 7 positions to either side."""

    qkv_dim: int
    num_heads: int
    taps: int = 15

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Mix neighbours by the gated filter, and all positions by linear attention on top."""
        near = DepthwiseConvolution(self.taps)(nn.Dense(x.shape[-1])(x), mask)
        near = nn.Dense(x.shape[-1])(near * nn.sigmoid(nn.Dense(x.shape[-1])(x)))
        far = LinearAttention(self.qkv_dim, self.num_heads)(nn.LayerNorm()(x + near), mask)
        return near + far
