"""Fixtures of the kernel tests."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture
def fresh_memory_is_no_number() -> Iterator[None]:
    """Fill what `torch.empty` gives with NaN, so that a kernel which reads what it never wrote shows."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)
