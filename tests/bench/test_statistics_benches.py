"""The benches of boards and of their tests measure what they say."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from aira_bench.boards.board import Table
from aira_bench.boards.rows import row_of
from aira_bench.tasks.measured_noise import MeasuredNoise
from boards.made_boards import ENTRY, MAD
from boards.test_order import seed

BENCH = Path(__file__).resolve().parents[2] / "bench"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_whole_board_is_that_of_the_papers_runs() -> None:
    """12 * 10 * 6 greedy runs and 8 * 20 * 6 one-shot runs; the first hundred are of first seeds."""
    plans = load("full_board").plans
    every = plans(1680)
    assert (len(every), len({each[1:] for each in every})) == (1680, 1680)
    assert sum(scaffold == "greedy" for _, _, scaffold, _, _ in every) == 720
    assert {seed for *_, seed in plans(100)} == {0}


def test_the_command_is_timed_on_folders_that_it_can_read(tmp_path: Path) -> None:
    bench = load("full_board")
    assert bench.generate(tmp_path / "runs", tmp_path / "home", 3, 5) in range(3, 16)
    wall_s, cpu_s, peak_mib = bench.timed(tmp_path / "runs", tmp_path / "home")
    assert 0 < cpu_s <= 4 * wall_s
    assert 30 < peak_mib < 1000


def test_a_placebo_of_one_value_is_never_ordered() -> None:
    shares = load("placebo").measured(lambda draws, shape: np.full(shape, 0.5), 3, 6, 5, np.random.default_rng(0))
    assert shares == "0.000 | 0.000 | 0.000 | 0.000"


def test_names_of_equal_luck_are_ordered_as_boards_do_it_and_a_planted_one_is_found() -> None:
    """Luck of the size of the noise floor; where the floor is a hundred times that, boards order nothing at all."""
    draws = np.random.default_rng(0)
    seeds = {n: [seed(n, trainings=tuple(draws.normal(0.5, 0.02, 3)))] for n in range(10)}
    noise = MeasuredNoise(deviation=0.02, artifacts=41, trainings=82, measured="2026-01-01", hardware="a processor")
    table = Table(MAD, (row_of(ENTRY, seeds, dict.fromkeys(seeds, 1)),), noise)
    on_board = load("placebo").on_board
    wrong, found = on_board(table, "random", 10, 10, 40, np.random.default_rng(1))
    assert wrong <= 2
    assert found >= 36
    wide = replace(table, noise=noise.model_copy(update={"deviation": 2.0}))
    assert on_board(replace(wide), "random", 4, 10, 5, np.random.default_rng(1))[0] == 0
    for broken in (replace(table, noise=None), replace(table, rows=())):
        with pytest.raises(ValueError, match="no confirmed seed of random on mad-2p, or no noise floor"):
            on_board(broken, "random", 4, 10, 1, np.random.default_rng(1))
