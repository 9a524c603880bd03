"""What is timed: chains of blocks of one kind, the embedding, the head, and whole models, in every phase.

A block's figure is the mean over a chain of blocks, one feeding the next, each with its own weights and its own state.
There are so many that, of what one call reads, little is left in the processor's cache when the next call comes, as in
a large model ("cold"). Where decoding is measured, a chain of one block, which finds its weights in the cache if they
fit, is measured too ("hot").

Shape suffixes: B batch, L length, D width. Not covered: trained weights; times do not depend on them, but for the power
that numbers take, so none of them are zeros.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from aira_contract.latency import Case
from aira_contract.model_sizes import ModelSize
from aira_kernels.attention import KeyValueCache
from aira_kernels.large import DecodingState, LargeLanguageModel, LayerState

_LEAST_COPIES, _MOST_COPIES = 2, 16
_CACHES_OF_A_CHAIN = 4
"""A chain's weights and states are so many times the cache: with fewer, a part of them could stay."""
_COLD_FROM = 2
"""Caches' worth, from which a chain is called cold."""


@dataclass(frozen=True)
class Placement:
    """Where and with what types all workloads of a measurement are."""

    device: torch.device
    dtype: torch.dtype
    cache_bytes: int
    """Of the processor's last cache."""
    vocabulary: int

    def normal(self, *shape: int) -> Tensor:
        """Return a tensor of random numbers, always the same ones."""
        generator = torch.Generator(self.device).manual_seed(0)
        return torch.randn(shape, generator=generator, device=self.device).to(self.dtype)

    def tokens(self, batch: int, length: int) -> Tensor:
        """Return random token ids (B, L), always the same ones."""
        generator = torch.Generator(self.device).manual_seed(0)
        return torch.randint(0, self.vocabulary, (batch, length), generator=generator, device=self.device)

    def model(self, pattern: tuple[str, ...], sizes: ModelSize, vocabulary: int) -> LargeLanguageModel:
        """Return a model for inference; of no layers too."""
        generator = torch.Generator(self.device).manual_seed(0)
        made = LargeLanguageModel(pattern, sizes, generator=generator, vocabulary=vocabulary, device=self.device)
        return made.to(self.dtype).requires_grad_(False).eval()


@dataclass(frozen=True)
class Workload:
    """What a stopwatch calls again and again."""

    work: Callable[[], object]
    copies: int
    """Blocks that one call computes."""
    cold: bool


def block_chains(symbol: str, sizes: ModelSize, case: Case, placement: Placement) -> Iterator[Workload]:
    """Yield a chain of blocks that is cold where it can be, and for decoding a single block."""
    single = placement.model((symbol,), sizes, 1)
    one = _bytes(single, _state(single, case))
    wanted = math.ceil(_CACHES_OF_A_CHAIN * placement.cache_bytes / one)
    copies = min(_MOST_COPIES, max(_LEAST_COPIES, wanted))
    for count in (copies, 1) if case.phase == "decode" else (copies,):
        model = placement.model((symbol,) * count, sizes, 1)
        cold = count > 1 and count * one >= _COLD_FROM * placement.cache_bytes
        x_BLD = placement.normal(case.batch, case.length, sizes.width)
        state = _state(model, case)
        if state is None:
            yield Workload(partial(model.blocks, x_BLD), count, cold)
        else:
            yield Workload(partial(model.extend_blocks, x_BLD, state), count, cold)


def embedding(sizes: ModelSize, case: Case, placement: Placement) -> Iterator[Workload]:
    """Yield the look-up of a case's tokens."""
    model, tokens_BL = placement.model((), sizes, placement.vocabulary), placement.tokens(case.batch, case.length)
    yield Workload(lambda: model.embed(tokens_BL), 1, cold=False)


def head(sizes: ModelSize, case: Case, placement: Placement) -> Iterator[Workload]:
    """Yield the last norm and the logits: of all positions in a forward pass, else of the last one."""
    model = placement.model((), sizes, placement.vocabulary)
    x_BLD = placement.normal(case.batch, case.length, sizes.width)
    weight = model.embed.weight

    def work() -> Tensor:
        return functional.linear(_last(model.norm(x_BLD), case), weight)

    yield Workload(work, 1, cold=weight.nbytes >= _COLD_FROM * placement.cache_bytes)


def whole(model: LargeLanguageModel, case: Case, placement: Placement) -> Workload:
    """Return a model's own pass, from tokens to logits."""
    tokens_BL, state = placement.tokens(case.batch, case.length), _state(model, case)
    cold = _bytes(model, state) >= _COLD_FROM * placement.cache_bytes
    if state is None:
        return Workload(partial(model, tokens_BL), 1, cold)

    def work() -> Tensor:
        state.filled = case.context
        return functional.linear(_last(model.extend_hidden(tokens_BL, state), case), model.embed.weight)

    return Workload(work, 1, cold)


def _last(x_BLD: Tensor, case: Case) -> Tensor:
    """What logits are computed of."""
    return x_BLD if case.phase == "forward" else x_BLD[:, -1:]


def _state(model: LargeLanguageModel, case: Case) -> DecodingState | None:
    """A state after the case's context, of random numbers; every call writes the same place. None in a forward pass."""
    if case.phase == "forward":
        return None
    state = model.empty_state(case.batch, case.context + case.length)
    state.filled = case.context
    for kept in state.layers if case.context else ():
        for part in _tensors(kept):
            part.normal_(generator=torch.Generator(part.device).manual_seed(0))
    return state


def _tensors(kept: LayerState) -> tuple[Tensor, ...]:
    if isinstance(kept, KeyValueCache):
        return kept.key_BGSP, kept.value_BGSP
    return () if kept is None else (kept.window_BTE, kept.state_BHPN)


def _bytes(model: LargeLanguageModel, state: DecodingState | None) -> int:
    """Of a model's weights, and of a state that is read."""
    found = sum(parameter.nbytes for parameter in model.parameters())
    if state is not None and state.filled:
        found += sum(part.nbytes for kept in state.layers for part in _tensors(kept))
    return found
