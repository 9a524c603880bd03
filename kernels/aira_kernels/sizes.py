"""The sizes of the primitives, as one value, so that a profile can shrink them together.

Defaults are the paper profile's: width 128 with MAD-lab's MLP and attention, and our choice for Mamba-2 where
the paper's text gives no numbers (docs/mad.md). Not covered: anything about data or training.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class BlockSizes:
    """Sizes of M, mA and Mb at one model width. All counts are of features, heads or positions."""

    width: int = 128
    mlp_expansion: int = 4
    """The MLP's hidden size over the width."""
    attention_head_dim: int = 8
    """Features of one attention head, all of them rotated."""
    mamba_expansion: int = 2
    """Mamba-2's inner size over the width."""
    mamba_head_dim: int = 64
    mamba_state: int = 64
    mamba_convolution: int = 4
    """Taps of Mamba-2's causal depthwise convolution."""
    mamba_chunk: int = 64
    """Positions scanned at once. Changes rounding and speed, not the function computed."""

    def __post_init__(self) -> None:
        if self.width % self.attention_head_dim:
            raise ValueError(f"width {self.width} is not a multiple of head size {self.attention_head_dim}")
        if self.attention_head_dim % 2:
            raise ValueError(f"rotary embedding needs an even head size, got {self.attention_head_dim}")
        if self.mamba_inner % self.mamba_head_dim:
            raise ValueError(f"inner size {self.mamba_inner} is not a multiple of {self.mamba_head_dim}")

    @property
    def attention_heads(self) -> int:
        """The number of heads of the attention primitive mA."""
        return self.width // self.attention_head_dim

    @property
    def mlp_hidden(self) -> int:
        """The number of hidden features of the MLP primitive M."""
        return self.width * self.mlp_expansion

    @property
    def mamba_inner(self) -> int:
        """The number of inner features of the Mamba-2 primitive Mb."""
        return self.width * self.mamba_expansion

    @property
    def mamba_heads(self) -> int:
        """The number of heads of the Mamba-2 primitive Mb."""
        return self.mamba_inner // self.mamba_head_dim
