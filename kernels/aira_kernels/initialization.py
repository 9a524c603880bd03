"""Layers whose initial weights come from a generator that the caller passes.

`torch.nn` draws from the process's global generator; here nothing does, so that two models built in one process
do not depend on each other. Not covered: initial values that belong to one primitive (see `mamba2`).
"""

import math

import torch
from torch import nn


class _UndrawnLinear(nn.Linear):
    """A linear layer without initial values.

    Making it on the `meta` device and moving it, as `torch.nn.utils.skip_init` does, would load torch's compiler: over
    a second for every process that builds a model.
    """

    def reset_parameters(self) -> None:
        """Leave the weights to whoever asked for the layer."""


def linear(
    in_features: int,
    out_features: int,
    *,
    bias: bool,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
) -> nn.Linear:
    """Make a linear layer as MAD-lab initializes its own: weights uniform in +-1/sqrt(in_features), biases zero.

    The weights' distribution is torch's default (He et al. 2015 with a = sqrt(5)); here from `generator`, on `device`.
    Torch would draw the biases from it as well, and MAD-lab zeroes them after that.
    """
    layer = _UndrawnLinear(in_features, out_features, bias=bias, device=device)
    bound = 1 / math.sqrt(in_features)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        if bias:
            layer.bias.zero_()
    return layer


def embedding(
    vocabulary: int, width: int, *, std: float, generator: torch.Generator, device: torch.device | str = "cpu"
) -> nn.Embedding:
    """Make an embedding table drawn from a normal distribution of mean 0.

    Args:
        vocabulary: number of token ids V.
        width: features D of an embedding.
        std: standard deviation of the distribution.
        generator: source of the weights, on `device`.
        device: where the table is made; `meta` makes its shape alone.
    """
    table = nn.Embedding(vocabulary, width, _weight=torch.empty(vocabulary, width, device=device))
    with torch.no_grad():
        table.weight.normal_(0.0, std, generator=generator)
    return table


def redraw_linears(module: nn.Module, *, std: float, generator: torch.Generator) -> None:
    """Redraw every linear weight inside `module` from a normal distribution and zero the biases."""
    with torch.no_grad():
        for child in module.modules():
            if isinstance(child, nn.Linear):
                child.weight.normal_(0.0, std, generator=generator)
                if child.bias is not None:
                    child.bias.zero_()
