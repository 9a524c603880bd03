"""Attention kernels without a download compute what FlashAttention computes."""

import itertools
import math

import pytest
import torch

from aira_evaluator.autoresearch.fit.offline_kernels import get_kernel

FLASH = get_kernel("varunneal/flash-attention-3", revision="0123").flash_attn_interface


def written_out(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool, window: tuple[int, int], scale: float
) -> torch.Tensor:
    """q [B, T, H, D], k and v [B, S, G, D]; one score at a time."""
    k, v = (part.repeat_interleave(q.size(2) // k.size(2), dim=2) for part in (k, v))
    scores = torch.einsum("bqhd,bkhd->bhqk", q, k) * scale
    shift = k.size(1) - q.size(1)
    for query, key in itertools.product(range(q.size(1)), range(k.size(1))):
        behind = query + shift - key
        if (
            (causal and behind < 0)
            or (window[0] >= 0 and behind > window[0])
            or (window[1] >= 0 and -behind > window[1])
        ):
            scores[:, :, query, key] = -math.inf
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), v)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [(-1, -1), (9, 0), (4, 0), (4, 2), (0, 0), (100, 0)])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("queries", [10, 7])
def test_windows_grouped_heads_and_scales_are_those_of_flash_attention(
    causal: bool, window: tuple[int, int], groups: int, queries: int
) -> None:
    generator = torch.Generator().manual_seed(queries)
    q, k, v = (
        torch.randn(2, length, heads, 8, generator=generator, dtype=torch.float64)
        for length, heads in ((queries, 4), (10, groups), (10, groups))
    )
    found = FLASH.flash_attn_func(q, k, v, causal=causal, window_size=window)
    torch.testing.assert_close(found, written_out(q, k, v, causal, window, 8**-0.5))
    scaled = FLASH.flash_attn_func(q, k, v, softmax_scale=0.1, causal=causal, window_size=window)
    torch.testing.assert_close(scaled, written_out(q, k, v, causal, window, 0.1))


def test_queries_in_float32_meet_values_in_bfloat16() -> None:
    """Autocast leaves normed queries wider than values; the kernels take one type."""
    q = torch.ones(1, 4, 1, 8)
    assert FLASH.flash_attn_func(q, q, q.bfloat16(), causal=True).dtype is torch.bfloat16


def test_a_compiler_can_follow_a_call_to_its_end() -> None:
    def attend(q: torch.Tensor) -> torch.Tensor:
        return FLASH.flash_attn_func(q, q, q, causal=True, window_size=(3, 0))

    q = torch.randn(1, 8, 2, 4)
    compiled = torch.compile(attend, backend="eager", fullgraph=True)
    assert torch.equal(compiled(q), attend(q))


def test_other_kernels_cannot_be_had() -> None:
    with pytest.raises(RuntimeError, match="no network here to fetch kernels-community/activation from; only flash"):
        get_kernel("kernels-community/activation")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="flash-attn needs a CUDA device")
@pytest.mark.parametrize("window", [(-1, -1), (64, 0)])
def test_the_installed_kernel_has_the_same_mask(window: tuple[int, int]) -> None:
    pytest.importorskip("flash_attn")
    q, k, v = (torch.randn(2, 256, 4, 64, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    expected = written_out(q.double(), k.double(), v.double(), True, window, 64**-0.5)
    found = FLASH.flash_attn_func(q, k, v, causal=True, window_size=window)
    torch.testing.assert_close(found.double(), expected, atol=3e-2, rtol=3e-2)
