"""Tile sizes and types of the Triton kernels' launches: what a GPU is asked for follows from shapes and types alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("triton")

from aira_kernels.fused.launch import (
    FLOATS,
    SMALLEST_DOT,
    accumulator,
    dot_precision,
    last_axis_dense,
    power_of_two,
    triton_type,
)
from aira_kernels.fused.scan import ssd_scan
from aira_kernels.fused.scan_launch import LARGEST_CHUNK, ScanTiles, scan_tiles


@given(st.integers(1, 5000), st.integers(0, 6), st.none() | st.integers(6, 13))
def test_a_power_of_two_is_the_smallest_that_holds_the_size(size: int, low: int, high: int | None) -> None:
    least, most = 2**low, None if high is None else 2**high
    found = power_of_two(size, least, most)
    assert found & (found - 1) == 0
    assert found >= least
    if most is None or size <= most:
        assert found >= size
        assert found == least or found < 2 * size
    else:
        assert found == most


@given(st.integers(1, 9000), st.integers(1, 400), st.sampled_from(FLOATS), st.integers(1, 500))
def test_every_shape_has_tiles_that_a_launch_takes(length: int, state: int, dtype: torch.dtype, chunk: int) -> None:
    tiles = scan_tiles(length, state, dtype, chunk)
    assert SMALLEST_DOT <= tiles.block_q <= tiles.chunk <= LARGEST_CHUNK
    assert tiles.chunk % tiles.block_q == 0
    assert tiles.chunk < 2 * max(min(chunk, length), SMALLEST_DOT)
    assert max(tiles.block_q, tiles.block_n) * dtype.itemsize <= 256, "wide numbers have smaller blocks"


@pytest.mark.parametrize(("chunk", "block_q", "block_n"), [(8, 8, 16), (48, 16, 16), (32, 16, 24), (16, 32, 16)])
def test_tiles_that_no_kernel_takes_are_refused(chunk: int, block_q: int, block_n: int) -> None:
    with pytest.raises(ValueError, match=r"powers of two from 16|whole number of blocks"):
        ScanTiles(chunk, block_q, block_n)


@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_are_taken_in_float32_or_wider(dtype: torch.dtype) -> None:
    assert accumulator(dtype).itemsize == max(4, dtype.itemsize)
    assert str(triton_type(dtype))


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.complex64])
def test_other_types_are_refused_by_name(dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"the kernels take .*torch.float64, got {dtype}"):
        triton_type(dtype)


def test_products_follow_the_processs_precision() -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("highest")
        assert dot_precision() == "ieee"
        torch.set_float32_matmul_precision("high")
        assert dot_precision() == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)


def test_a_tensor_is_copied_only_where_neighbours_lie_apart() -> None:
    x = torch.arange(24.0).view(2, 3, 4)
    assert last_axis_dense(x) is x
    cut = x[..., :2]
    assert last_axis_dense(cut) is cut
    single = x[..., :1]
    assert last_axis_dense(single) is single
    turned = last_axis_dense(x.transpose(1, 2))
    assert turned.is_contiguous()
    assert torch.equal(turned, x.transpose(1, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": (1, 4, 2)}, r"expected x of shape \(B, L, H, P\)"),
        ({"dt": (1, 5, 2)}, r"dt has shape \[1, 5, 2\], expected \[1, 4, 2\]"),
        ({"a": (3,)}, r"a has shape \[3\], expected \[2\]"),
        ({"c": (1, 4, 1, 9)}, "c has shape"),
        ({"b": (1, 4, 3, 8), "c": (1, 4, 3, 8)}, "2 heads of 8 features in 3 groups"),
        ({"x": (1, 4, 2, 257)}, "at most 256 features a head"),
        ({"x": (1, 0, 2, 8), "dt": (1, 0, 2), "b": (1, 0, 1, 8), "c": (1, 0, 1, 8)}, "expected none empty"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_before_any_launch(change: dict[str, tuple[int, ...]], message: str) -> None:
    shapes = {"x": (1, 4, 2, 8), "dt": (1, 4, 2), "a": (2,), "b": (1, 4, 1, 8), "c": (1, 4, 1, 8), "skip": (2,)}
    with pytest.raises(ValueError, match=message):
        ssd_scan(*(torch.ones(shape) for shape in (shapes | change).values()))
