"""Full-size language models: a pattern of layers at one of the paper's scales.

Pre-norm residual layers, x = x + layer(norm(x)), RMS norms, token embeddings tied to the output head, no biases but
that of Mamba-2's convolution. Parameters are those of the paper's appendix D to the last one (docs/scaling.md). The
paper gives no initial weights: linear weights and embeddings are drawn from N(0, 0.02), those that end a layer from
N(0, 0.02 / sqrt(2 layers)), so that the residual path keeps its size with depth; Mamba-2's A and dt as published.

A model reads a text at once (`forward`) or in pieces that follow each other (`extend`), down to one token, and keeps
what attention and Mamba-2 need of the earlier ones.

Shape suffixes: B batch, L length, D width, V vocabulary. Not covered: sharding, recomputation, loss functions, drawing
tokens from logits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from aira_contract.model_sizes import VOCABULARY, ModelSize, model_size, space_of
from aira_contract.patterns import Pattern
from aira_contract.presets import read_architecture
from aira_kernels.attention import KeyValueCache
from aira_kernels.backend import Backend
from aira_kernels.initialization import embedding, redraw_linears
from aira_kernels.layers import LAYERS
from aira_kernels.mamba2 import MambaState
from aira_kernels.norm import RmsNorm

WEIGHT_STD = 0.02


LayerState = KeyValueCache | MambaState | None


class Extending(Protocol):
    """What goes on from a kept state: every full-size layer."""

    def empty_state(self, batch: int, capacity: int) -> LayerState:
        """Return the state before the first position."""

    def extend(self, x_BLD: Tensor, cache: LayerState, filled: int) -> Tensor:
        """Map the positions behind `filled` ones, and keep what is needed of them."""


@dataclass
class DecodingState:
    """What a model keeps of the texts so far, all of one length; `LargeLanguageModel.extend` fills it in place."""

    layers: tuple[LayerState, ...]
    """Of each layer; None of those that read each position alone."""
    batch: int
    capacity: int
    """Positions there is room for."""
    filled: int = 0
    """Positions so far."""


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
        self.sizes = sizes
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
        out: Tensor = self.norm(self.blocks(self.embed(tokens_BL)))
        return out

    def blocks(self, x_BLD: Tensor) -> Tensor:
        """Apply all layers with their norms and residual sums, between the embedding and the last norm."""
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x_BLD = x_BLD + layer(norm(x_BLD))
        return x_BLD

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Map token ids (B, L) to logits (B, L, V)."""
        return functional.linear(self.hidden(tokens_BL), self.embed.weight)

    def empty_state(self, batch: int, capacity: int) -> DecodingState:
        """Return the state before the first token of `batch` texts that may become `capacity` tokens long."""
        states = tuple(cast(Extending, layer).empty_state(batch, capacity) for layer in self.layers)
        return DecodingState(states, batch, capacity)

    def extend_hidden(self, tokens_BL: Tensor, state: DecodingState) -> Tensor:
        """Map the next tokens (B, L) to what `hidden` makes of them behind the earlier ones, and take them in.

        Raises:
            ValueError: the state is of another number of texts, or has no room for them.
        """
        batch, length = tokens_BL.shape
        if batch != state.batch or state.filled + length > state.capacity:
            raise ValueError(
                f"{batch} texts go on by {length} tokens, expected {state.batch} texts and at most "
                f"{state.capacity - state.filled} tokens"
            )
        out: Tensor = self.norm(self.extend_blocks(self.embed(tokens_BL), state))
        state.filled += length
        return out

    def extend_blocks(self, x_BLD: Tensor, state: DecodingState) -> Tensor:
        """Apply all layers to the next positions as `blocks` does; the caller counts them."""
        for norm, layer, kept in zip(self.norms, self.layers, state.layers, strict=True):
            x_BLD = x_BLD + cast(Extending, layer).extend(norm(x_BLD), kept, state.filled)
        return x_BLD

    def extend(self, tokens_BL: Tensor, state: DecodingState) -> Tensor:
        """Map the next tokens (B, L) to their logits (B, L, V) and take them in; raises as `extend_hidden`."""
        return functional.linear(self.extend_hidden(tokens_BL, state), self.embed.weight)


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
