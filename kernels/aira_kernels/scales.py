"""Sizes of the full-size models at 350M, 1B and 3B, from the paper's appendix D.

The hidden size of the MLP differs between the two search spaces: a pattern with a Mamba layer belongs to the
three-primitive space. docs/scaling.md has the table and where it comes from. Not covered: sizes between these three.
"""

from collections.abc import Iterable
from dataclasses import dataclass

VOCABULARY = 128_256
SEQUENCE_TOKENS = 8192


@dataclass(frozen=True)
class ScaleSizes:
    """Sizes of one scale in one search space. All counts are of features, heads or positions."""

    scale: str
    width: int
    query_heads: int
    head_dim: int
    mlp_hidden: int
    mamba_state: int
    kv_heads: int = 8
    mamba_head_dim: int = 64
    mamba_convolution: int = 4
    """Taps of Mamba-2's causal depthwise convolution."""
    mamba_chunk: int = 128
    """Positions the reference scans at once. Changes rounding and speed, not the function computed."""

    def __post_init__(self) -> None:
        if self.query_heads * self.head_dim != self.width:
            raise ValueError(f"{self.query_heads} heads of {self.head_dim} do not make width {self.width}")
        if self.query_heads % self.kv_heads:
            raise ValueError(f"{self.query_heads} query heads do not divide among {self.kv_heads} key-value heads")
        if self.mamba_inner % self.mamba_head_dim:
            raise ValueError(f"inner size {self.mamba_inner} is not a multiple of {self.mamba_head_dim}")

    @property
    def kv_width(self) -> int:
        """Features of all key heads together; values have as many."""
        return self.kv_heads * self.head_dim

    @property
    def mamba_inner(self) -> int:
        """Inner features of Mamba-2, twice the width."""
        return 2 * self.width

    @property
    def mamba_heads(self) -> int:
        """Heads of Mamba-2."""
        return self.mamba_inner // self.mamba_head_dim


_TWO_PRIMITIVES = {
    "350M": ScaleSizes("350M", 1536, 24, 64, 4096, 128),
    "1B": ScaleSizes("1B", 2048, 32, 64, 8192, 128),
    "3B": ScaleSizes("3B", 3072, 24, 128, 8192, 256),
}
_THREE_PRIMITIVES = {
    "350M": ScaleSizes("350M", 1536, 24, 64, 6144, 128),
    "1B": ScaleSizes("1B", 2048, 32, 64, 8192, 128),
    "3B": ScaleSizes("3B", 3072, 24, 128, 12288, 256),
}
SCALES = tuple(_TWO_PRIMITIVES)


def scale_sizes(scale: str, symbols: Iterable[str]) -> ScaleSizes:
    """The sizes of a scale for a model of these symbols.

    Raises:
        ValueError: no such scale.
    """
    if scale not in SCALES:
        raise ValueError(f"unknown scale {scale!r}, expected one of {', '.join(SCALES)}")
    return (_THREE_PRIMITIVES if "Mb" in symbols else _TWO_PRIMITIVES)[scale]
