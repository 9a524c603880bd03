"""Shows fitted programmes as tables and as JSON; every figure has its interval beside it.

Not covered: pictures.
"""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from aira_bench.scaling.frontier.comparisons import FrontierComparison, verdict
from aira_bench.scaling.frontier.fits import ArchitectureFit, BudgetFit, Programme
from aira_bench.statistics.arrays import LEVEL, IntervalEstimate
from aira_bench.statistics.isoflop import COEFFICIENTS
from aira_bench.terminal import cell, line

NONE = "-"


def interval_text(estimate: IntervalEstimate | None, form: str) -> str:
    """Return a value with its interval, such as `-0.0351 [-0.0354, -0.0349]`; `[?]` stands for one that is open."""
    if estimate is None or estimate.value != estimate.value:
        return NONE
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}} [?]"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"


def print_programme(programme: Programme, comparisons: Sequence[FrontierComparison], console: Console) -> None:
    """Print frontiers, comparisons, minima, and what the data cannot tell.

    A budget with as many runs as a parabola has coefficients leaves no residual, so none is shown.
    """
    _print_noise(programme, console)
    console.print(_frontiers(programme))
    for comparison in comparisons[:1]:
        console.print(_comparisons(comparisons, comparison.reference))
    console.print(_minima(programme))
    told = [(fit.name, remark) for fit in programme.architectures for remark in fit.remarks]
    told += [
        (f"{fit.name} at {budget.budget_flops:.3g} FLOPs", remark)
        for fit in programme.architectures
        for budget in fit.budgets
        for remark in budget.remarks
    ]
    if told or programme.remarks:
        console.print(line("What these runs cannot tell:", "bold"))
    for remark in programme.remarks:
        console.print(line(f"  {remark}"))
    for about, remark in told:
        console.print(line(f"  {about}: {remark}"))


def _print_noise(programme: Programme, console: Console) -> None:
    runs = sum(fit.runs for fit in programme.architectures)
    lost = f", {programme.without_loss} more have no loss" if programme.without_loss else ""
    lost += f", {programme.without_budget} more are of no FLOP budget" if programme.without_budget else ""
    console.print(line(f"{runs} runs of {len(programme.architectures)} architectures{lost}"))
    noise = programme.noise
    if noise is not None:
        rests = f"{noise.freedom} degrees of freedom" if noise.freedom else "given"
        console.print(line(f"noise of a run: {noise.deviation:.2g} ({rests}); intervals of {LEVEL:.0%}"))


def _frontiers(programme: Programme) -> Table:
    table = Table(box=None, pad_edge=False, title="frontiers: loss = L (C / C0)^slope", title_justify="left")
    for name in ("architecture", "runs", "slope", "loss L", "at C0", "exponent of size"):
        table.add_column(name, justify="left" if name == "architecture" else "right")
    for fit in programme.architectures:
        if fit.frontier is None:
            table.add_row(cell(fit.name), str(fit.runs), *[NONE] * 4)
            continue
        found = fit.frontier
        table.add_row(
            cell(fit.name), str(fit.runs), cell(interval_text(found.slope, ".4f")),
            cell(interval_text(found.loss, ".4f")), f"{found.flops:.3g}", cell(interval_text(found.exponent, ".3f")),
        )  # fmt: skip
    return table


def _comparisons(comparisons: Sequence[FrontierComparison], reference: str) -> Table:
    table = Table(box=None, pad_edge=False, title=f"against {reference}, in per cent", title_justify="left")
    names = ("architecture", "faster by slope (the paper's)", "slopes", "compute saved to equal loss", "compute")
    for name in names:
        table.add_column(name)
    for each in comparisons:
        by_slope = (each.name, interval_text(each.faster_by_slope, ".0f"), each.verdict)
        saved = [
            (f"{interval_text(one.percent, '.0f')} at {one.flops:.3g}", verdict(one.percent, "less", "more"))
            for one in each.faster_by_compute
        ] or [(NONE, NONE)]
        for first, second in zip((by_slope, *[("", "", "")] * (len(saved) - 1)), saved, strict=True):
            table.add_row(*map(cell, (*first, *second)))
    return table


def _minima(programme: Programme) -> Table:
    table = Table(box=None, pad_edge=False, title="minima of the parabolas", title_justify="left")
    for name in ("architecture", "FLOPs", "runs", "sizes", "parameters", "loss", "largest residual"):
        table.add_column(name, justify="left" if name == "architecture" else "right")
    for fit in programme.architectures:
        for budget in fit.budgets:
            spare = len(budget.runs) > COEFFICIENTS and budget.residuals
            table.add_row(
                cell(fit.name), f"{budget.budget_flops:.3g}", str(len(budget.runs)), str(len(budget.sizes)),
                cell(interval_text(budget.size, ".3g")), cell(interval_text(budget.minimum, ".4f")),
                f"{max(map(abs, budget.residuals)):.4f}" if spare else NONE,
            )  # fmt: skip
    return table


def programme_record(programme: Programme, comparisons: Sequence[FrontierComparison]) -> dict[str, Any]:
    """Return all of it as JSON values; a figure without an interval has null at both ends."""
    noise = programme.noise
    return {
        "schema": 1,
        "level": LEVEL,
        "noise": None if noise is None else {
            "deviation": noise.deviation, "freedom": noise.freedom, "misfit_chance": noise.misfit_chance,
        },
        "runs_without_loss": programme.without_loss,
        "runs_without_budget": programme.without_budget,
        "remarks": list(programme.remarks),
        "architectures": [_architecture_record(fit) for fit in programme.architectures],
        "comparisons": [_comparison_record(each) for each in comparisons],
    }  # fmt: skip


def _architecture_record(fit: ArchitectureFit) -> dict[str, Any]:
    found = fit.frontier
    return {
        "architecture": fit.name,
        "runs": fit.runs,
        "remarks": list(fit.remarks),
        "frontier": None if found is None else {
            "slope": _interval(found.slope), "loss": _interval(found.loss), "flops": found.flops,
            "size_exponent": _interval(found.exponent),
        },
        "budgets": [_budget_record(budget) for budget in fit.budgets],
    }  # fmt: skip


def _budget_record(budget: BudgetFit) -> dict[str, Any]:
    residuals: Sequence[float | None] = budget.residuals or [None] * len(budget.runs)
    return {
        "budget_flops": budget.budget_flops,
        "curvature": _interval(budget.curvature),
        "parameters": _interval(budget.size),
        "loss": _interval(budget.minimum),
        "remarks": list(budget.remarks),
        "runs": [
            {"parameters": run.parameters, "seed": run.seed, "loss": run.loss, "residual": residual}
            for run, residual in zip(budget.runs, residuals, strict=True)
        ],
    }


def _comparison_record(each: FrontierComparison) -> dict[str, Any]:
    return {
        "architecture": each.name,
        "reference": each.reference,
        "slope_difference": _interval(each.slope_difference),
        "offset": _interval(each.offset),
        "faster_by_slope_percent": _interval(each.faster_by_slope),
        "faster_by_compute_percent": [
            {"flops": one.flops, **(_interval(one.percent) or {})} for one in each.faster_by_compute
        ],
        "verdict": each.verdict,
    }


def _interval(estimate: IntervalEstimate | None) -> dict[str, float | None] | None:
    if estimate is None or estimate.value != estimate.value:
        return None
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high}
