"""Shows a growth on a terminal: votes, models and plan before, losses after. Not covered: pages."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from aira_bench.scaling.grow.comparison import LossComparison
from aira_bench.scaling.grow.growth import GrowthRequest
from aira_bench.scaling.grow.models import ComparedModel
from aira_bench.scaling.notation import write_pattern
from aira_bench.scaling.plan.render import print_plan
from aira_bench.scaling.render import print_aggregation
from aira_bench.statistics.arrays import IntervalEstimate
from aira_bench.terminal import cell, line


def print_growing(growing: GrowthRequest, console: Console) -> None:
    """Print who voted, for what, which models that makes beside which controls, and what training them takes."""
    if growing.synthetic:
        console.print(line("SYNTHETIC DATA: these searches say nothing about the real data."))
    print_aggregation(growing.votes, growing.voters, growing.selection, console)
    console.print(_models(growing.models))
    print_plan(growing.plan, console, every=True)


def _models(models: Sequence[ComparedModel]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("model", "layers", "pattern", "from"):
        table.add_column(name, justify="right" if name == "layers" else "left")
    for each in models:
        pattern = each.model.pattern
        table.add_row(*map(cell, (each.model.name, str(len(pattern)), write_pattern(pattern), each.way or "as given")))
    return table


def print_comparison(found: LossComparison, console: Console) -> None:
    """Print each model's loss and its difference from the reference, with intervals, and what they show."""
    table = Table(box=None, pad_edge=False)
    for name in ("model", "seeds", "loss", f"less {found.reference.name}", ""):
        table.add_column(name, justify="right" if name == "seeds" else "left")
    for each in sorted(found.models, key=lambda model: model.mean.value):
        difference = "" if each.is_reference else interval_words(each.difference, signed=True)
        row = (each.name, str(len(each.losses)), interval_words(each.mean), difference, each.verdict)
        table.add_row(*map(cell, row))
    console.print(table)
    for sentence in found.said:
        console.print(line(sentence))


def interval_words(found: IntervalEstimate, *, signed: bool = False) -> str:
    """Return a mean and its interval, to the fourth decimal; an open interval says so."""
    form = "+.4f" if signed else ".4f"
    if found.low is None or found.high is None:
        return f"{found.value:{form}} (open: one seed)"
    return f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})"
