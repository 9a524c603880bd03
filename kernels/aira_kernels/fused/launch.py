"""What the launches share: accumulator types, dot precision, tile sizes.

Tiles are a function of shapes and types alone. Timing candidates while running, as `triton.autotune` does, would let a
stopwatch choose the order of sums, and with it the last digits of a score; `bench/kernels.py --tune` times a bounded
list of them, by hand.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NAMES = {torch.float16: tl.float16, torch.bfloat16: tl.bfloat16, torch.float32: tl.float32, torch.float64: tl.float64}


@triton.jit  # type: ignore[untyped-decorator]
def operand(x: tl.tensor, DOT: tl.constexpr, PRODUCT: tl.constexpr) -> tl.tensor:
    """`x` as an operand of a product: rounded to DOT, held as PRODUCT."""
    return x.to(DOT).to(PRODUCT)


_TILE_NUMBERS = 2048
"""Numbers in a tile of short rows: 16 a thread of four warps, so that loads of several rows are on their way."""
SMALLEST_DOT = 16
"""Triton's tensor-core products take no axis shorter than this."""


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """Float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def triton_type(dtype: torch.dtype) -> tl.dtype:
    """Triton's name of a floating-point type.

    Raises:
        TypeError: not one of the four types the kernels take.
    """
    if dtype not in _NAMES:
        raise TypeError(f"the kernels take {', '.join(map(str, FLOATS))}, got {dtype}")
    return _NAMES[dtype]


def interpreted() -> bool:
    """Whether the kernels run in Triton's interpreter on a CPU (TRITON_INTERPRET=1 when triton was imported)."""
    return not isinstance(operand, triton.JITFunction)


def product_types(dtype: torch.dtype) -> dict[str, Any]:
    """Return the constants of every kernel with products: accumulator, operands, and how float32 is multiplied."""
    # The interpreter holds bfloat16 as integers and would multiply those.
    held = torch.float32 if dtype == torch.bfloat16 and interpreted() else dtype
    return {
        "ACC": triton_type(accumulator(dtype)),
        "DOT": triton_type(dtype),
        "PRODUCT": triton_type(held),
        "PRECISION": dot_precision(),
    }


def dot_precision() -> str:
    """Return how float32 products are taken, following `torch.set_float32_matmul_precision`."""
    return "ieee" if torch.get_float32_matmul_precision() == "highest" else "tf32"


def power_of_two(size: int, at_least: int = SMALLEST_DOT, at_most: int | None = None) -> int:
    """Return the smallest power of two that is not below `size`, within bounds."""
    rounded = max(int(triton.next_power_of_2(size)), at_least)
    return rounded if at_most is None else min(rounded, at_most)


def rows_of_a_tile(width: int) -> int:
    """Return how many rows of `width` features, a power of two, one program of a norm takes at once."""
    return max(1, _TILE_NUMBERS // width)


def last_axis_dense(x: Tensor) -> Tensor:
    """`x` itself where neighbouring features are neighbours in memory, else a contiguous copy."""
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()
