"""Full-size language models: a pattern of layers at one of the paper's scales.

Pre-norm residual layers, x = x + layer(norm(x)), RMS norms, token embeddings tied to the output head, no biases but
that of Mamba-2's convolution. Parameters are those of the paper's appendix D to the last one (docs/scaling.md). The
paper gives no initial weights: linear weights and embeddings are drawn from N(0, 0.02), those that end a layer from
N(0, 0.02 / sqrt(2 layers)), so that the residual path keeps its size with depth; Mamba-2's A and dt as published.

Shape suffixes: B batch, L length, D width, V vocabulary. Not covered: sharding, recomputation, loss functions.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_contract.model_sizes import VOCABULARY, ModelSize, model_size, space_of
from aira_contract.patterns import Pattern
from aira_contract.presets import read_architecture
from aira_kernels.backend import Backend
from aira_kernels.initialization import embedding, redraw_linears
from aira_kernels.layers import LAYERS
from aira_kernels.norm import RmsNorm

WEIGHT_STD = 0.02


class LargeLanguageModel(nn.Module):
    """A stack of full-size primitives between tied embeddings.

    Args:
        architecture: canonical symbols, one a layer.
        sizes: sizes of the primitives.
        generator: source of the initial weights, on `device`.
        vocabulary: number of token ids V.
        device: where the weights are made; `meta` makes shapes alone, to count or to shard before drawing.
        backend: who computes attention, scan, convolution and norms (`aira_kernels.backend`).
    """

    def __init__(
        self,
        architecture: Sequence[str],
        sizes: ModelSize,
        *,
        generator: torch.Generator,
        vocabulary: int = VOCABULARY,
        device: torch.device | str = "cpu",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.architecture: Pattern = tuple(architecture)
        width = sizes.width
        self.embed = embedding(vocabulary, width, std=WEIGHT_STD, generator=generator, device=device)
        self.norms = nn.ModuleList(RmsNorm(width, device=device, backend=backend) for _ in self.architecture)
        self.layers = nn.ModuleList(
            LAYERS[symbol].large(sizes, generator=generator, device=device, backend=backend)
            for symbol in self.architecture
        )
        self.norm = RmsNorm(width, device=device, backend=backend)
        for symbol, layer in zip(self.architecture, self.layers, strict=True):
            redraw_linears(layer, std=WEIGHT_STD, generator=generator)
            last = getattr(layer, LAYERS[symbol].last)
            redraw_linears(last, std=WEIGHT_STD / math.sqrt(2 * len(self.layers)), generator=generator)

    def hidden(self, tokens_BL: Tensor) -> Tensor:
        """Map token ids (B, L) to the normed features (B, L, D) that the head reads.

        At 128,256 ids the logits of one step are larger than the model; a loss may take them in pieces from here.
        """
        x_BLD: Tensor = self.embed(tokens_BL)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x_BLD = x_BLD + layer(norm(x_BLD))
        out: Tensor = self.norm(x_BLD)
        return out

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Map token ids (B, L) to logits (B, L, V)."""
        return functional.linear(self.hidden(tokens_BL), self.embed.weight)


def build_large(
    pattern: str,
    scale: str,
    *,
    generator: torch.Generator,
    device: torch.device | str = "cpu",
    backend: Backend = "auto",
) -> LargeLanguageModel:
    """Return the model of a pattern such as `6A-3M` at scale `350M`, `1B` or `3B`.

    A name such as `airaformer-d-stretched` or `Llama 3.2` stands for the full-size pattern that the paper prints at
    that scale (`aira_contract.presets`).

    Raises:
        PatternError: the pattern cannot be read; or nothing is printed of that name at that scale.
        ValueError: no such scale.
    """
    architecture = read_architecture(pattern, scale)
    sizes = model_size(scale, space_of(architecture))
    return LargeLanguageModel(architecture, sizes, generator=generator, device=device, backend=backend)
