"""Widths and block sizes of the full-size models at 350M, 1B and 3B, from the paper's appendix D.

The hidden size of the MLP differs between the two search spaces; a pattern with a Mamba layer belongs to the
three-primitive one. docs/scaling.md has the table and where it comes from.

Read by the host, which counts parameters and training FLOPs from them (`aira_contract.training_arithmetic`), and by the
kernels, which build the models (`aira_kernels.large`). Not covered: sizes between these, and models at search
size (`aira_kernels.sizes`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from aira_contract.primitives import MAMBA

Space = Literal["2-primitive", "3-primitive"]

VOCABULARY = 128_256
"""Token ids of the full-size models."""
SEQUENCE_TOKENS = 8192
"""Tokens of a training sequence."""
MAMBA_GROUPS = 1
"""Groups of heads in a Mamba-2 block; all heads of a group share their input and output maps."""


@dataclass(frozen=True)
class ModelSize:
    """Sizes of one scale in one search space. All counts are of features, heads or positions."""

    scale: str
    space: Space
    nominal_parameters: int
    """What the scale is called after: 1,000,000,000 for `1B`."""
    width: int
    query_heads: int
    head_dim: int
    kv_heads: int
    mlp_hidden: int
    mamba_state: int
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
        """The number of heads of a Mamba-2 block: its inner features over those of a head."""
        return self.mamba_inner // self.mamba_head_dim

    @property
    def mamba_convolved(self) -> int:
        """Channels under Mamba-2's convolution: x, and the maps B and C."""
        return self.mamba_inner + 2 * MAMBA_GROUPS * self.mamba_state

    @property
    def mamba_projection(self) -> int:
        """Outputs of Mamba-2's input projection: gate, convolved channels and one time step a head."""
        return self.mamba_inner + self.mamba_convolved + self.mamba_heads


def _sizes(space: Space, hidden: tuple[int, int, int]) -> tuple[ModelSize, ...]:
    return (
        ModelSize("350M", space, 350_000_000, 1536, 24, 64, 8, hidden[0], 128),
        ModelSize("1B", space, 1_000_000_000, 2048, 32, 64, 8, hidden[1], 128),
        ModelSize("3B", space, 3_000_000_000, 3072, 24, 128, 8, hidden[2], 256),
    )


# SwiGLU's hidden size is (8/3) x width x expansion; expansion 1.0, 1.5, 1.0 with two primitives and 1.5 with three.
MODEL_SIZES = _sizes("2-primitive", (4096, 8192, 8192)) + _sizes("3-primitive", (6144, 8192, 12288))
SCALES = tuple(dict.fromkeys(size.scale for size in MODEL_SIZES))
TOY_SCALE = "toy"
TOY_SIZES = tuple(
    ModelSize(TOY_SCALE, space, 500_000, 64, 4, 16, 2, 192, 16, mamba_head_dim=32, mamba_chunk=16)
    for space in get_args(Space)
)
"""Of no published model: what a laptop's processor trains in a minute, through the same code. A pattern of 16 layers
grows to this size by a factor of 1.2 to 1.6, as it does to 350M."""


def space_of(pattern: Iterable[str]) -> Space:
    """Return the three-primitive space where the pattern has a Mamba layer, else the two-primitive one."""
    return "3-primitive" if MAMBA.symbol in pattern else "2-primitive"


def model_size(scale: str, space: Space) -> ModelSize:
    """Return the sizes of one scale in one search space.

    Raises:
        ValueError: there is no such scale; `toy` is one.
    """
    for size in MODEL_SIZES + TOY_SIZES:
        if (size.scale, size.space) == (scale, space):
            return size
    raise ValueError(f"unknown scale {scale!r}, expected one of {', '.join(SCALES)}")
