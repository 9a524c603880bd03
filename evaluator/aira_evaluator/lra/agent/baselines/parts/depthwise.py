"""Depthwise convolution along the sequence, as a sum of shifted products."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class DepthwiseConvolution(nn.Module):
    """Every channel with a centred filter of its own.

    Compilers for CPUs run grouped convolutions, and their gradients above all, many times slower than this sum.
    """

    taps: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Mix each position with its neighbours; padding counts as zero."""
        scale = nn.initializers.normal(self.taps**-0.5)
        filters = self.param("filters", scale, (self.taps, x.shape[-1]))
        reach = self.taps // 2
        padded = jnp.pad(x * mask[:, :, None], ((0, 0), (reach, self.taps - 1 - reach), (0, 0)))
        mixed = padded[:, : x.shape[1]] * filters[0]
        for tap in range(1, self.taps):
            mixed = mixed + padded[:, tap : tap + x.shape[1]] * filters[tap]
        return mixed
