"""Which mechanisms are called quadratic: what they compute decides, not how a compiler lays out what it keeps."""

from types import SimpleNamespace
from typing import Any

import pytest
from growing_modules import LINEAR, QUADRATIC
from small_modules import small_profile, traced

from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.graphs.cost import Work, work_of
from aira_evaluator.lra.graphs.functions import read_module
from aira_evaluator.lra.training.growth import Growth, ScaledModule

PROFILE = small_profile()


def growth(source: str) -> Growth:
    """As the judge counts it, nothing compiled."""
    read = read_module(traced(source, PROFILE), CONTRACTS["listops"], PROFILE.eval_batch_size)
    return Growth([ScaledModule(each.scale, work_of(each.graphs), ((), {}), None, None) for each in read.scaled])


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_mechanism_is_not_called_quadratic(name: str) -> None:
    found = growth(LINEAR[name])
    assert found.measured
    assert not found.quadratic, found.details()


@pytest.mark.parametrize("name", QUADRATIC)
def test_quadratic_work_is_called_so_wherever_it_hides(name: str) -> None:
    assert growth(QUADRATIC[name]).quadratic


def compiled(memory_mib: list[float], unknown_loops: int) -> Growth:
    """Linear work, and this much intermediate memory at one, two and four times the length."""
    sizes: list[Any] = [SimpleNamespace(temporary_bytes=int(each * 2**20)) for each in memory_mib]
    return Growth(
        [
            ScaledModule(scale, Work({("dot",): 100.0 * scale}, unknown_loops), ((), {}), size, None)
            for scale, size in zip((1, 2, 4), sizes, strict=True)
        ]
    )


def test_memory_alone_does_not_decide() -> None:
    """A public Linformer had work that doubles with the length, and memory that grew 9.3-fold."""
    assert not compiled([1.5, 5.0, 14.0], unknown_loops=0).quadratic
    assert not compiled([1.5, 5.0, 1400.0], unknown_loops=0).quadratic


def test_memory_counts_where_work_does_not_tell_all() -> None:
    """A loop whose trips nobody knows is counted once, whatever it computes."""
    assert compiled([1.5, 5.0, 14.0], unknown_loops=1).quadratic
    assert not compiled([1.5, 3.0, 6.0], unknown_loops=1).quadratic
