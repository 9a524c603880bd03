"""Grows a searched pattern to a full-size model.

Both rules start from s = target / size of the base pattern at the target's width, embeddings left out:

- stretch: each run of h equal layers becomes ceil(s h) layers;
- stack: floor(s) copies of the pattern, and what is left of s as one more copy, stretched down.

They are Composer's, as the paper's section 3 applies them. Rounding every run up overshoots the target where runs are
short (5(2A-M)-A at 1B has 1.10 B parameters), and most published patterns were trimmed by hand. `fit` does that by
rule: starting from the rounded-up runs, it takes a layer from the run that was rounded up most (of equals, the
last one) as long as that brings the parameters nearer to the target. `ceil` leaves the rule as it is.

Not covered: whether the grown model is any good, and what it takes to train it (`plan.planned.plan_grown`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from aira_bench.errors import UsageError
from aira_bench.scaling.notation import runs_of
from aira_contract.model_sizes import MODEL_SIZES, ModelSize, Space, space_of
from aira_contract.patterns import MAX_LAYERS, Pattern
from aira_contract.presets import Growth
from aira_contract.training_arithmetic import (
    FLOP_BUDGETS,
    LayerCounts,
    count_layers,
    flops_per_token,
    isoflop_steps,
    layer_parameters,
    parameters,
    parameters_with_embedding,
)

Method = Literal["stretch", "stack", "published"]
RunRounding = Literal["fit", "ceil"]

_SUFFIXES = {"K": 10**3, "M": 10**6, "B": 10**9}


@dataclass(frozen=True)
class BudgetSteps:
    """Training steps of 524,288 tokens that a FLOP budget buys, rounded as the tables of the model's space are."""

    budget_flops: int
    steps: int


@dataclass(frozen=True)
class Extrapolation:
    """A pattern grown to a target size. Parameter counts are exact."""

    base: Pattern
    method: Method
    rounding: RunRounding
    target_parameters: int
    """Without embeddings."""
    size: ModelSize
    factor: Fraction
    """Target over the base pattern's size at this width."""
    pattern: Pattern
    untrimmed: Pattern
    """What the rule gives before `fit` trims it."""
    counts: LayerCounts
    parameters: int
    parameters_with_embedding: int
    flops_per_token: int
    steps: tuple[BudgetSteps, ...]


def parse_target(text: str) -> int:
    """Read a number of parameters without embeddings: `350M`, `1B`, `1.5B` or a plain number.

    Raises:
        UsageError: no such number, or not above 0.
    """
    suffix = text[-1:].upper()
    number = text[:-1] if suffix in _SUFFIXES else text
    try:
        value = float(number) * _SUFFIXES.get(suffix, 1)
    except ValueError:
        value = 0.0
    if not 1 <= value < math.inf:
        raise UsageError(f"{text!r} is no scale, expected a number of parameters.", hint="--scale 1B")
    return round(value)


def nearest_size(target_parameters: int, space: Space) -> ModelSize:
    """Return the widths for a target: those of the published scale whose size is nearest as a ratio."""
    sizes = [size for size in MODEL_SIZES if size.space == space]
    return min(sizes, key=lambda size: abs(math.log(size.nominal_parameters / target_parameters)))


def extrapolate(
    base: Sequence[str],
    target_parameters: int,
    method: Growth,
    *,
    rounding: RunRounding = "fit",
    size: ModelSize | None = None,
    budgets_flops: Sequence[int] = FLOP_BUDGETS,
) -> Extrapolation:
    """Grow a searched pattern to a target number of parameters.

    Args:
        base: symbols `mA`, `M`, `Mb`, at least one layer.
        target_parameters: wanted parameters without embeddings.
        method: `stretch` suits long searched patterns, `stack` short ones.
        rounding: `fit` trims to the target, `ceil` is the rule as published.
        size: widths; by default those of the published scale nearest to the target.
        budgets_flops: training FLOPs to give step counts for.

    Raises:
        UsageError: the target is smaller than one layer, or needs more layers than patterns may have.
    """
    size = size or nearest_size(target_parameters, space_of(base))
    base_parameters = sum(layer_parameters(symbol, size) for symbol in base)
    factor = Fraction(max(target_parameters - size.width, 0), base_parameters)
    if factor * len(base) > MAX_LAYERS:
        raise UsageError(f"{target_parameters:,} parameters need more than {MAX_LAYERS} layers at width {size.width}.")
    runs = _stretched(base, factor) if method == "stretch" else _stacked(base, factor)
    untrimmed = _layers(runs)
    pattern = _layers(_trimmed(runs, target_parameters, size)) if rounding == "fit" else untrimmed
    if not pattern:
        raise UsageError(
            f"{target_parameters:,} parameters are less than half a layer at width {size.width}.", hint="--scale 350M"
        )
    return _with_figures(
        tuple(base), method, rounding, target_parameters, size, factor, pattern, untrimmed, budgets_flops
    )


def as_it_is(
    pattern: Sequence[str], target_parameters: int, *, budgets_flops: Sequence[int] = FLOP_BUDGETS
) -> Extrapolation:
    """Return the figures of a pattern that has its full size already.

    Args:
        pattern: symbols `mA`, `M`, `Mb`, at least one layer.
        target_parameters: which decides the widths, as in `extrapolate`.
        budgets_flops: training FLOPs to give step counts for.
    """
    whole, size = tuple(pattern), nearest_size(target_parameters, space_of(pattern))
    return _with_figures(whole, "published", "fit", target_parameters, size, Fraction(1), whole, whole, budgets_flops)


def _with_figures(
    base: Pattern, method: Method, rounding: RunRounding, target_parameters: int, size: ModelSize, factor: Fraction,
    pattern: Pattern, untrimmed: Pattern, budgets_flops: Sequence[int],
) -> Extrapolation:  # fmt: skip
    counts = count_layers(pattern)
    return Extrapolation(
        base, method, rounding, target_parameters, size, factor, pattern, untrimmed, counts,
        parameters(counts, size), parameters_with_embedding(counts, size), flops_per_token(counts, size),
        tuple(BudgetSteps(budget, isoflop_steps(counts, size, budget)) for budget in budgets_flops),
    )  # fmt: skip


@dataclass(frozen=True)
class _Run:
    symbol: str
    layers: int
    exact: Fraction
    """Length before rounding up."""


def _stretched(base: Sequence[str], factor: Fraction) -> list[_Run]:
    return [_Run(symbol, math.ceil(factor * length), factor * length) for symbol, length in runs_of(base)]


def _stacked(base: Sequence[str], factor: Fraction) -> list[_Run]:
    copies = math.floor(factor)
    whole = [_Run(symbol, length, Fraction(length)) for symbol, length in runs_of(base)] * copies
    return whole + _stretched(base, factor - copies)


def _trimmed(runs: list[_Run], target_parameters: int, size: ModelSize) -> list[_Run]:
    """Undo rounding up, most rounded run first, while it brings the size nearer to the target."""
    runs = list(runs)
    excess = parameters(count_layers(_layers(runs)), size) - target_parameters
    order = sorted(range(len(runs)), key=lambda index: (runs[index].exact - runs[index].layers, -index))
    for index in order:
        run = runs[index]
        saved = layer_parameters(run.symbol, size)
        if run.layers > run.exact and abs(excess - saved) < abs(excess):
            runs[index] = _Run(run.symbol, run.layers - 1, run.exact)
            excess -= saved
    return runs


def _layers(runs: Sequence[_Run]) -> Pattern:
    return tuple(symbol for run in runs for symbol in [run.symbol] * run.layers)
