"""Which mechanisms are called quadratic: what they compute decides, not how a compiler lays out what it keeps."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from growing_modules import LINEAR, LINEAR_BESIDE_LOOPS, QUADRATIC, QUADRATIC_IN_LOOPS
from small_modules import small_profile, traced

from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.graphs.cost import Work, work_of
from aira_evaluator.lra.graphs.functions import read_module
from aira_evaluator.lra.training.growth import Growth, ScaledModule, measure_growth
from aira_evaluator.lra.training.heads import head_of
from aira_evaluator.lra.training.trainer import Trainer

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


@pytest.mark.parametrize("name", [*LINEAR_BESIDE_LOOPS, *QUADRATIC_IN_LOOPS])
def test_what_loops_of_unknown_length_hide_is_measured(name: str) -> None:
    """As the judge does it: compiled, and run at one, two and four times 512 tokens."""
    profile = small_profile("listops", seq_len=512, batch_size=8, emb_dim=32)
    profile = replace(profile, eval_batch_size=8)
    read = read_module(traced((LINEAR_BESIDE_LOOPS | QUADRATIC_IN_LOOPS)[name], profile), CONTRACTS["listops"], 8)
    head = head_of(CONTRACTS["listops"], profile.defaults)
    weights = Trainer(read.functions, head).start(jnp.asarray([1, 2], jnp.uint32)).weights
    found = measure_growth(
        read.scaled, weights, head, batch=(8, 1, 512), vocab_size=CONTRACTS["listops"].vocab_size,
        memory_bytes=float("inf"), rng=np.random.default_rng(0),
    )  # fmt: skip
    assert found.modules[-1].work.unknown_loops > 0
    assert found.quadratic == (name in QUADRATIC_IN_LOOPS), found.details()


def ran(memory_mib: list[float], milliseconds: list[float], unknown_loops: int) -> Growth:
    """Linear work that took this much time and intermediate memory, up to the longest length that was run."""
    took: list[Any] = [
        (SimpleNamespace(temporary_bytes=int(mib * 2**20)), ms / 1e3)
        for mib, ms in zip(memory_mib, milliseconds, strict=True)
    ]
    took += [(None, None)] * (3 - len(took))
    return Growth(
        [
            ScaledModule(scale, Work({("dot",): 100.0 * scale}, unknown_loops), ((), {}), evaluator, seconds)
            for scale, (evaluator, seconds) in zip((1, 2, 4), took, strict=True)
        ]
    )


@pytest.mark.parametrize("unknown_loops", [0, 1])
@pytest.mark.parametrize("memory_mib", [[1.5, 5.0, 14.0], [1.5, 5.0, 1400.0]])
def test_memory_alone_does_not_decide(memory_mib: list[float], unknown_loops: int) -> None:
    """A public Linformer had work that doubles with the length, and memory that grew 9.3-fold."""
    assert not ran(memory_mib, [10.0, 20.0, 40.0], unknown_loops).quadratic
    assert not ran(memory_mib, [10.0, 22.0, 48.0], unknown_loops).quadratic, "as L log L"
    assert not ran(memory_mib, [0.1, 0.5, 2.5], unknown_loops).quadratic, "too short to tell"


@pytest.mark.parametrize(
    ("memory_growth", "time_growth", "unknown_loops", "quadratic"),
    [
        (16.0, 6.0, 1, True),
        (16.0, 5.6, 1, False),  # 4 ** 1.25 is 5.66
        (7.9, 6.0, 1, False),  # 4 ** 1.5 is 8
        (16.0, 6.0, 0, False),  # work tells all
        (4.0, 7.9, 1, False),
        (4.0, 8.0, 0, True),
    ],
)
def test_memory_bears_out_time_where_work_does_not_tell_all(
    memory_growth: float, time_growth: float, unknown_loops: int, quadratic: bool
) -> None:
    found = ran([2.0, 4.0, 2.0 * memory_growth], [10.0, 20.0, 10.0 * time_growth], unknown_loops)
    assert found.quadratic == quadratic


def test_what_cannot_be_run_at_four_times_the_length_is_judged_at_twice() -> None:
    """Else a module could hide what it takes by needing more memory than there is."""
    assert ran([2.0, 8.0], [100.0, 400.0], 0).quadratic
    assert ran([2.0, 8.0], [100.0, 250.0], 1).quadratic
    assert not ran([2.0, 4.0], [100.0, 250.0], 1).quadratic
    assert not ran([2.0, 8.0], [100.0, 200.0], 1).quadratic
    assert not ran([2.0], [100.0], 1).quadratic
    assert not ran([], [], 1).quadratic
