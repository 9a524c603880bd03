"""A gated linear recurrence in both directions, by associative scan.

The recurrence h_t = f_t h_{t-1} + (1 - f_t) v_t with gates that depend on the input alone (Martin and Cundy 2018; Qin
et al. 2023) is a composition of affine maps, so all h_t follow from a parallel scan (Blelloch 1990).
"""

import jax
import jax.numpy as jnp
from flax import linen as nn


class GatedRecurrence(nn.Module):
    """Two recurrences of `qkv_dim` channels, one in each direction: linear in the length."""

    qkv_dim: int
    num_heads: int  # unused: every channel is a recurrence of its own

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> jax.Array:
        """Carry information along the sequence, forwards and backwards."""
        both = [self.scan(x, mask, reverse=reverse) for reverse in (False, True)]
        gate = nn.silu(nn.Dense(2 * self.qkv_dim, name="gate")(x))
        return nn.Dense(x.shape[-1], use_bias=False, name="out")(jnp.concatenate(both, axis=-1) * gate)

    def scan(self, x: jax.Array, mask: jax.Array, *, reverse: bool) -> jax.Array:
        """The states of one direction, (B, L, qkv_dim); padding leaves a state as it is."""
        side = "backward" if reverse else "forward"
        value = nn.silu(nn.Dense(self.qkv_dim, name=f"{side}_value")(x))
        forget = nn.sigmoid(nn.Dense(self.qkv_dim, bias_init=_memories, name=f"{side}_forget")(x))
        forget = jnp.where(mask[:, :, None], forget, 1.0)

        state: jax.Array
        _, state = jax.lax.associative_scan(_compose, (forget, (1.0 - forget) * value), reverse=reverse, axis=1)
        return state


def _memories(key: jax.Array, shape: tuple[int, ...], dtype: jax.typing.DTypeLike = jnp.float32) -> jax.Array:
    """Biases with which channels start to remember over 2 to some 150 positions."""
    return jnp.linspace(0.0, 5.0, shape[0], dtype=dtype)


def _compose(early: tuple[jax.Array, jax.Array], late: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Two affine maps h -> f h + v, the early one applied first, as one."""
    return early[0] * late[0], early[1] * late[0] + late[1]
