"""Which classes build a layer of each primitive, at the size of a search and at full size.

A new primitive is one row here, beside its row in `aira_contract.primitives`. Not covered: what the layers compute.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn

from aira_contract.primitives import ATTENTION, MAMBA, MLP
from aira_kernels.attention import CausalSelfAttention, GroupedQueryAttention
from aira_kernels.mamba2 import Mamba2
from aira_kernels.mlp import ReluMlp, SwigluMlp


@dataclass(frozen=True)
class LayerClasses:
    """The layers of one primitive."""

    searched: Callable[..., nn.Module]
    """Takes `BlockSizes`; of the models that a search trains."""
    large: Callable[..., nn.Module]
    """Takes `ModelSize`; of models at the paper's scales."""
    last: str
    """The attribute of the large layer whose linear weights end it; they start smaller, so that the residual path keeps
    its size with depth."""


LAYERS: Mapping[str, LayerClasses] = {
    MLP.symbol: LayerClasses(ReluMlp, SwigluMlp, "contract"),
    ATTENTION.symbol: LayerClasses(CausalSelfAttention, GroupedQueryAttention, "project_out"),
    MAMBA.symbol: LayerClasses(Mamba2, Mamba2, "project_out"),
}
"""By symbol."""
