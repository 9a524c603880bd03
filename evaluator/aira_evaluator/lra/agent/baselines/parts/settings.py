"""The choices a `model.py` is put together with; here those of the reference Transformer."""

from flax import linen as nn

from aira_evaluator.lra.agent.baselines.parts.self_attention import SelfAttention

# Mixers of the layers, from the first on; begun again where there are more layers.
MIXERS: tuple[type[nn.Module], ...] = (SelfAttention,)
FEEDFORWARD = "gelu"
POSITIONS = "sinusoidal"
POOLING = "mean"
