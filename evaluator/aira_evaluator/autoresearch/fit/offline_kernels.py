"""What `from kernels import get_kernel` finds in a train.py: attention kernels without a download.

The public reference fetches FlashAttention 3 from a model hub when it starts. Containers have no network, so this
answers in place of that package, with the attention functions alone: flash-attn where it is installed and the tensors
are on a GPU, else PyTorch's own attention with the same mask.

Not covered: other kernels, FlashAttention 3 itself, variable lengths, key-value caches, dropout, soft-caps.
"""

from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional

try:
    from flash_attn import flash_attn_func as _installed  # type: ignore[import-not-found]
except ImportError:
    _installed = None


def get_kernel(repo_id: str, *_: Any, **__: Any) -> SimpleNamespace:  # noqa: ANN401
    """Return the attention functions, under the names that repositories of FlashAttention give them.

    Args:
        repo_id: whose kernels; revisions and versions may follow and are not looked at.

    Raises:
        RuntimeError: it is no repository of FlashAttention.
    """
    if "flash" not in repo_id.lower():
        raise RuntimeError(
            f"there is no network here to fetch {repo_id} from; only flash attention is at hand, as "
            'get_kernel("kernels-community/flash-attn3").flash_attn_func'
        )
    return SimpleNamespace(
        flash_attn_func=flash_attn_func, flash_attn_interface=SimpleNamespace(flash_attn_func=flash_attn_func)
    )


def flash_attn_func(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
) -> torch.Tensor:
    """Attention of q [B, T, H, D] to k and v [B, S, G, D], where G divides H; [B, T, H, D] of v's type.

    Args:
        q: queries; the last is aligned with the last key.
        k: keys.
        v: values.
        softmax_scale: of the scores; 1 / sqrt(D) if None.
        causal: whether queries see no later keys.
        window_size: how many keys before and after its own a query sees; negative for all.
    """
    q, k = q.to(v.dtype), k.to(v.dtype)
    if _installed is not None and q.is_cuda and v.dtype in (torch.float16, torch.bfloat16):
        return _installed(  # type: ignore[no-any-return]
            q, k, v, softmax_scale=softmax_scale, causal=causal, window_size=window_size
        )
    whole = window_size[0] < 0 or window_size[0] >= k.size(1) - 1
    exact = causal and whole and q.size(1) == k.size(1)  # what fused kernels know without a mask
    return functional.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=None if exact else _mask(q, k, causal, window_size),
        is_causal=exact,
        scale=softmax_scale,
        enable_gqa=k.size(2) != q.size(2),
    ).transpose(1, 2)


def _mask(q: torch.Tensor, k: torch.Tensor, causal: bool, window_size: tuple[int, int]) -> torch.Tensor:
    """Which keys each query sees, [T, S]."""
    queries = torch.arange(k.size(1) - q.size(1), k.size(1), device=q.device)[:, None]
    distances = queries - torch.arange(k.size(1), device=q.device)[None, :]
    before, after = window_size[0], 0 if causal else window_size[1]
    seen = torch.ones_like(distances, dtype=torch.bool)
    if before >= 0:
        seen &= distances <= before
    if after >= 0:
        seen &= distances >= -after
    return seen
