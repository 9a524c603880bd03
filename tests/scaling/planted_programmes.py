"""Programmes of trainings whose frontiers are known, with noise as seeds of one recipe show it.

Table 2 of the paper prints what three seeds of nine models scatter: 0.001 to 0.003 in eight of them, 0.021 in one.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SIZES = (3.5e8, 1e9, 3e9)
BUDGETS = (2e19, 4e19, 8e19, 2e20, 4e20)
MIDDLE = math.exp(sum(map(math.log, BUDGETS)) / len(BUDGETS))
SEED_DEVIATION = 0.002


def loss(slope: float, parameters: float, budget: float, *, exponent: float = 0.5, curvature: float = 0.1) -> float:
    """A power law of minima, 2.9 at the middle of the budgets, and a parabola around each."""
    log_compute = math.log(budget / MIDDLE)
    away = math.log(parameters / 9.6e8) - exponent * log_compute
    return 2.9 * math.exp(slope * log_compute) + curvature / 2 * away**2


def table(
    slopes: dict[str, float], noise: np.random.Generator | None = None, *, deviation: float = SEED_DEVIATION,
    sizes: Sequence[float] = SIZES, budgets: Sequence[float] = BUDGETS, seeds: int = 1,
) -> str:  # fmt: skip
    """A CSV of one run for each architecture, budget, size and seed."""
    lines = ["architecture,parameters,budget_flops,loss,seed"]
    for name, slope in slopes.items():
        for budget in budgets:
            for size in sizes:
                for seed in range(seeds):
                    off = 0.0 if noise is None else deviation * noise.standard_normal()
                    lines.append(f"{name},{size:.12g},{budget:.12g},{loss(slope, size, budget) + off:.12g},{seed}")
    return "\n".join(lines) + "\n"


def written(folder: Path, text: str, name: str = "runs.csv") -> Path:
    """The table as a file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path
