"""The vocabulary of modules that agents without a language model compose for the Long Range Arena tasks.

The host draws, mutates and crosses genomes (`aira_bench.agents`) and writes them into solutions as literals; in the
agent's container the evaluator makes a `model.py` of one (`aira_evaluator.lra.baselines`). A genome is a mapping with
`MIXERS_KEY` (a list of mixers, one a layer, begun again where there are more layers), one entry for each of `CHOICES`,
and `FACTORS_KEY` (a mapping from names of `SCALED` to positive numbers).

Not covered: the code of the mechanisms and the sizes that factors scale.
"""

from collections.abc import Mapping

MIXERS_KEY, FACTORS_KEY = "mixers", "factors"

MIXERS = (
    "self_attention", "linear_attention", "gated_recurrence", "cross_covariance", "local_global", "gated_convolution",
)  # fmt: skip
MAX_MIXERS = 12

CHOICES: Mapping[str, tuple[str, ...]] = {
    "feedforward": ("gelu", "swiglu"),
    "positions": ("sinusoidal", "learned", "none"),
    "pooling": ("mean", "max", "attention"),
}
"""What else a module has one of. The first of each is the reference Transformer's, as is the first mixer."""

SCALED = (
    "seq_len", "learning_rate", "batch_size", "train_steps", "num_layers", "num_heads", "emb_dim", "qkv_dim", "mlp_dim",
    "weight_decay", "warmup_steps",
)  # fmt: skip
"""Hyperparameters that a genome may scale, in tasks whose modules set their own."""
