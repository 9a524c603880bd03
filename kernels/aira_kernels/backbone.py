"""The models that an architecture becomes: a language model and the compression task's autoencoder.

Both are pre-norm residual stacks after MAD-lab (Poli et al. 2024): x = x + layer(norm(x)), token embeddings
drawn from N(0, 0.02), linear biases that begin at zero, no positional embedding. The norm is LayerNorm; MAD-lab's two
entry points disagree between it and RMSNorm (docs/mad.md).

Shape suffixes: B batch, L length, D width, V vocabulary. Not covered: dropout, weight tying, loss functions.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from aira_kernels.backend import Backend
from aira_kernels.initialization import embedding, linear, redraw_linears
from aira_kernels.layers import LAYERS
from aira_kernels.norm import LayerNorm
from aira_kernels.sizes import BlockSizes

EMBEDDING_STD = 0.02
AUTOENCODER_STD = 0.02
SINUSOID_BASE = 10_000.0


class ResidualStack(nn.Module):
    """The architecture's layers, each behind a LayerNorm and beside a residual path."""

    def __init__(
        self, architecture: Sequence[str], sizes: BlockSizes, *, generator: torch.Generator, backend: Backend = "auto"
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(LayerNorm(sizes.width, backend=backend) for _ in architecture)
        self.layers = nn.ModuleList(
            LAYERS[symbol].searched(sizes, generator=generator, backend=backend) for symbol in architecture
        )

    def forward(self, x_BLD: Tensor) -> Tensor:
        """Map (B, L, D) to (B, L, D)."""
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x_BLD = x_BLD + layer(norm(x_BLD))
        return x_BLD


class LanguageModel(nn.Module):
    """Embedding, stack, norm and an untied head with bias.

    Args:
        architecture: canonical symbols, one a layer.
        vocabulary: number of token ids V.
        sizes: sizes of the primitives.
        generator: source of all initial weights, on the CPU.
        backend: who computes attention, scan, convolution and norm inside the primitives (`aira_kernels.backend`).
    """

    def __init__(
        self,
        architecture: Sequence[str],
        vocabulary: int,
        sizes: BlockSizes,
        *,
        generator: torch.Generator,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        self.embed = embedding(vocabulary, sizes.width, std=EMBEDDING_STD, generator=generator)
        self.stack = ResidualStack(architecture, sizes, generator=generator, backend=backend)
        self.norm = LayerNorm(sizes.width, backend=backend)
        self.head = linear(sizes.width, vocabulary, bias=True, generator=generator)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Map token ids (B, L) to logits (B, L, V)."""
        logits: Tensor = self.head(self.norm(self.stack(self.embed(tokens_BL))))
        return logits


class AutoEncoder(nn.Module):
    """Squeezes a sequence into the encoding of its last position, then decodes every position from it.

    The encoder is the architecture's stack. The decoder adds sinusoidal positions to the single encoding and is an
    MLP of two layers at the model's width. All linear weights are drawn from N(0, 0.02) with zero biases.

    Args:
        architecture: canonical symbols, one a layer.
        vocabulary: number of token ids V.
        length: the exact number of positions L.
        sizes: sizes of the primitives.
        generator: source of all initial weights, on the CPU.
        backend: who computes attention, scan, convolution and norm inside the primitives (`aira_kernels.backend`).
    """

    def __init__(
        self,
        architecture: Sequence[str],
        vocabulary: int,
        length: int,
        sizes: BlockSizes,
        *,
        generator: torch.Generator,
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        width = sizes.width
        self.embed = embedding(vocabulary, width, std=EMBEDDING_STD, generator=generator)
        self.stack = ResidualStack(architecture, sizes, generator=generator, backend=backend)
        hidden: list[nn.Module] = []
        for _ in range(2):
            hidden += [
                LayerNorm(width, backend=backend),
                linear(width, width, bias=True, generator=generator),
                nn.GELU(),
            ]
        self.decoder = nn.Sequential(*hidden)
        self.norm = LayerNorm(width, backend=backend)
        self.head = linear(width, vocabulary, bias=True, generator=generator)
        self.positions_LD: Tensor
        self.register_buffer("positions_LD", sinusoids(length, width), persistent=False)
        redraw_linears(self, std=AUTOENCODER_STD, generator=generator)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Map token ids (B, L) to logits (B, L, V)."""
        encoding_BD = self.stack(self.embed(tokens_BL))[:, -1]
        logits: Tensor = self.head(self.norm(self.decoder(encoding_BD[:, None] + self.positions_LD)))
        return logits


def sinusoids(length: int, width: int) -> Tensor:
    """Return MAD-lab's table of positions (L, D): sines in the first half of the features, cosines in the second.

    With h = D // 2, feature i of each half turns by position * base**(-i / (h - 1)): its periods end at 2 pi base
    exactly, where those of Vaswani et al. (2017), interleaved and over h, stop short of it. An odd width's last
    feature is zero.
    """
    half = width // 2
    # A half of one feature has the first frequency alone, which is 1.
    exponent = torch.arange(half, dtype=torch.float32) / max(half - 1, 1)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * torch.exp(exponent * -math.log(SINUSOID_BASE))
    return torch.cat((angle.sin(), angle.cos(), torch.zeros(length, width % 2)), dim=1)
