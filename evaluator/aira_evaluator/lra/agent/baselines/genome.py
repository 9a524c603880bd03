"""A genome: what a searcher may choose of a module, as plain data that a solution file can hold.

Mechanisms by layer, feed-forward, positions and pooling; and, where a task's hyperparameters may be set, a factor on
the default of each. Factors, because a searcher on the host knows no profile: the same genome is a small module in
`cpu` and a large one in `paper`. Not covered: how a genome becomes a `model.py` (`compose`), mutation (the host).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from aira_contract.genomes import CHOICES, MAX_MIXERS, MIXERS, SCALED
from aira_evaluator.lra.contract.hyperparameters import Hyperparameters
from aira_evaluator.lra.contract.profiles import LraProfile


class GenomeError(ValueError):
    """A genome names something unknown; one printable line."""


@dataclass(frozen=True)
class Genome:
    """The choices that a shipped module is put together from: mechanisms, feed-forward, positions, pooling, factors."""

    mixers: tuple[str, ...] = ("self_attention",)
    """Of the layers, from the first on; begun again where there are more layers."""
    feedforward: str = "gelu"
    positions: str = "sinusoidal"
    pooling: str = "mean"
    factors: Mapping[str, float] = field(default_factory=dict)
    """On the defaults of hyperparameters; results are rounded and kept within the admitted ranges."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.mixers) <= MAX_MIXERS:
            raise GenomeError(f"{len(self.mixers)} mixers, expected 1 to {MAX_MIXERS}")
        for mixer in self.mixers:
            _among("mixer", mixer, MIXERS)
        for name, choices in CHOICES.items():
            _among(name, getattr(self, name), choices)
        for name, factor in self.factors.items():
            _among("factor", name, SCALED)
            if not 0 < factor < 1e6:
                raise GenomeError(f"factor of {name} is {factor!r}, expected a positive number")

    def hyperparameters(self, profile: LraProfile) -> Hyperparameters:
        """Return the profile's defaults with the factors applied, such that every constant and the sum of work is
        admitted.
        """
        values: dict[str, Any] = {}
        for name, factor in self.factors.items():
            low, high = profile.ranges[name]
            default = getattr(profile.defaults, name)
            scaled = min(max(default * factor, low), high)
            values[name] = round(scaled) if isinstance(default, int) else float(f"{scaled:.4g}")
        chosen = replace(profile.defaults, **values)
        heads = chosen.num_heads
        low, high = profile.ranges["qkv_dim"]
        fitting = min(max(1, round(chosen.qkv_dim / heads)) * heads, int(high) // heads * heads)
        steps = min(chosen.train_steps, profile.max_train_tokens // (chosen.batch_size * chosen.seq_len))
        return replace(chosen, qkv_dim=max(fitting, -(-int(low) // heads) * heads), train_steps=max(1, steps))


def read_genome(plain: Mapping[str, Any]) -> Genome:
    """Return a genome from plain data, as a solution file holds it.

    Raises:
        GenomeError: an unknown key or value.
    """
    for key in plain:
        _among("key", key, tuple(Genome.__dataclass_fields__))
    return Genome(**{**plain, **({"mixers": tuple(plain["mixers"])} if "mixers" in plain else {})})


def _among(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise GenomeError(f"{what} {name!r}, expected one of {', '.join(known)}")


PRESETS: Mapping[str, Genome] = {
    "transformer": Genome(),
    "linear_attention": Genome(("linear_attention",)),
    "gated_recurrence": Genome(("gated_recurrence",), positions="none"),
    "cross_covariance": Genome(("cross_covariance",), feedforward="swiglu"),
    "local_global": Genome(("local_global",)),
    "gated_convolution": Genome(("gated_convolution",), feedforward="swiglu"),
}
"""The reference Transformer and a pure stack of each efficient mechanism."""
