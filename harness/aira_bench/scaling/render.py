"""Shows extrapolations and aggregations as tables and as JSON. Not covered: pictures, see `pictures`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from aira_bench.scaling.aggregate import Aggregation, Voter
from aira_bench.scaling.extrapolate import Extrapolation
from aira_bench.scaling.notation import write_pattern
from aira_bench.scaling.plan.planned import PlannedTraining
from aira_bench.scaling.plan.render import training_record
from aira_bench.terminal import cell
from aira_contract.training_arithmetic import STEP_TOKENS

_BILLION = 10**9
_SIZE = (
    "scale", "space", "nominal_parameters", "width", "query_heads", "head_dim", "kv_heads", "mlp_hidden", "mamba_state",
)  # fmt: skip
"""Fields of a size that the JSON form has: those in which published scales differ."""


def extrapolation_record(
    model: Extrapolation, costs: Sequence[PlannedTraining], said: Sequence[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Return a model as JSON values with exact integers; estimates stand under `training`.

    Args:
        model: grown, or as published.
        costs: of training it.
        said: what else is to be said of it, by what it is about.
    """
    return {
        "schema": 1,
        "said": [f"{about}: {text}" for about, text in said],
        "base": write_pattern(model.base),
        "method": model.method,
        "rounding": model.rounding,
        "target_parameters": model.target_parameters,
        "factor": float(model.factor),
        "size": {name: getattr(model.size, name) for name in _SIZE},
        "pattern": write_pattern(model.pattern),
        "pattern_layers": list(model.pattern),
        "untrimmed_pattern": write_pattern(model.untrimmed),
        "counts": {**asdict(model.counts), "layers": model.counts.layers},
        "parameters": model.parameters,
        "parameters_with_embedding": model.parameters_with_embedding,
        "flops_per_token": model.flops_per_token,
        "steps": [asdict(budget) for budget in model.steps],
        "gpu": costs[0].settings.gpu.name,
        "gpus": costs[0].settings.gpus,
        "training": [training_record(cost) for cost in costs],
    }


def print_extrapolation(
    model: Extrapolation, costs: Sequence[PlannedTraining], said: Sequence[tuple[str, str]], console: Console
) -> None:
    """Print what is said of a model, the model, then steps, memory and time for each budget."""
    size, counts = model.size, model.counts
    facts = [
        *said,
        ("pattern", write_pattern(model.pattern)),
        ("layers", f"{counts.layers}: {counts}"),
        ("parameters", f"{model.parameters / _BILLION:.3f} B, {model.parameters_with_embedding / _BILLION:.3f} B "
                       f"with embedding (target {model.target_parameters / _BILLION:.3f} B)"),
        ("width", f"{size.width}, MLP hidden {size.mlp_hidden}, {size.query_heads} heads of {size.head_dim} "
                  f"({size.scale} of the {size.space} space)"),
        ("training FLOPs", f"{model.flops_per_token:.4g} a token"),
        ("rule", "none: as published" if model.method == "published" else
                 f"{model.method} {write_pattern(model.base)} by {float(model.factor):.3f}, {model.rounding}"),
    ]  # fmt: skip
    if model.untrimmed != model.pattern:
        facts.append(("before trimming", f"{write_pattern(model.untrimmed)} ({len(model.untrimmed)} layers)"))
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in facts:
        table.add_row(cell(name, "bold"), cell(value))
    console.print(table)
    console.print(_costs_table(model, costs))


def _costs_table(model: Extrapolation, costs: Sequence[PlannedTraining]) -> Table:
    table = Table(box=None, pad_edge=False, title_justify="left")
    first = costs[0]
    gpu, layout = first.settings.gpu, first.layout
    table.title = (
        f"estimates on {first.settings.gpus} x {gpu.name}: {first.throughput.basis}; {layout.sequences} sequences at a "
        f"time, recomputed: {layout.recompute}"
    )
    for name in ("training FLOPs", "steps", "hours", "memory a GPU", "fits"):
        table.add_column(name, justify="right")
    for cost in costs:
        flops = model.flops_per_token * STEP_TOKENS * cost.steps.steps
        memory = f"{cost.memory.total / 2**30:.0f} of {gpu.memory_gib:.0f} GiB"
        table.add_row(
            f"{flops:.3g}", f"{cost.steps.steps:,}", f"{cost.hours:.1f}", memory, "yes" if cost.fits else "no"
        )
    return table


def aggregation_record(aggregations: Sequence[Aggregation], voters: Sequence[Voter], selection: str) -> dict[str, Any]:
    """Return a pattern for each condition with its votes, how voters were selected, and who, as JSON values."""
    return {
        "schema": 1,
        "selection": selection,
        "patterns": [
            {
                "condition_layers": aggregation.condition_layers,
                "pattern": write_pattern(aggregation.pattern),
                "pattern_layers": list(aggregation.pattern),
                "votes": [
                    {**asdict(vote), "shares": {symbol: float(share) for symbol, share in vote.shares.items()}}
                    for vote in aggregation.votes
                ],
            }
            for aggregation in aggregations
        ],
        "voters": [
            {**asdict(voter), "architecture": write_pattern(voter.architecture), "weight": float(voter.weight)}
            for voter in voters
        ],
    }


def print_aggregation(
    aggregations: Sequence[Aggregation], voters: Sequence[Voter], selection: str, console: Console
) -> None:
    """Print who voted, the patterns, and the share of the winner in each layer's vote."""
    datasets = {voter.dataset for voter in voters}
    several = "s" if len(datasets) > 1 else ""
    console.print(cell(f"{len(voters)} voters from {len(datasets)} dataset{several}: {selection}"))
    table = Table(box=None, pad_edge=False)
    for name in ("rule", "pattern", "least sure layer"):
        table.add_column(name)
    for aggregation in aggregations:
        shares = [float(vote.shares[vote.chosen]) for vote in aggregation.votes]
        weakest = min(range(len(shares)), key=shares.__getitem__)
        table.add_row(
            f"N{aggregation.condition_layers}",
            cell(write_pattern(aggregation.pattern)),
            f"{weakest + 1}, {shares[weakest]:.0%} of votes",
        )
    console.print(table)
