"""Shows plans as tables and as JSON: what is counted, what it rests on, and the total."""

from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from aira_bench.scaling.notation import write_pattern
from aira_bench.scaling.plan.planned import FREE_SHARE, Plan, PlannedTraining
from aira_bench.terminal import cell, line

NONE = "-"
MOST_ROWS = 40
"""A longer plan shows a line for each experiment, scale and recipe, unless all are asked for."""
_LEAST_SHORT = 1000
_LEAST_HOURS, _WHOLE_HOURS = 0.1, 100
_MOST_SAID = 5
"""Models of which it is told what was chosen for them."""
_RIGHT = ("runs", "parameters", "steps", "tokens", "GPU-hours", "dollars", "hours a run", "memory a GPU", "checkpoints")


def print_plan(plan: Plan, console: Console, *, every: bool) -> None:
    """Print the trainings, the total, and what all of it rests on.

    Args:
        plan: what is planned.
        console: where to.
        every: a line for each training, however many there are.
    """
    console.print(line(plan.title, "bold"))
    short = not every and len(plan.trainings) > MOST_ROWS
    console.print(_summary(plan) if short else _trainings(plan))
    console.print(line(_total(plan)))
    if short:
        console.print(line("--every shows each training."))
    for about, assumption in assumptions(plan):
        console.print(line(f"  {about}: {assumption}"))


def _trainings(plan: Plan) -> Table:
    columns = ["architecture", "scale", "recipe", "runs", "parameters", "steps", "tokens", "GPU-hours", "hours a run",
               "memory a GPU", "checkpoints"]  # fmt: skip
    table = _table(columns, plan)
    for each in plan.trainings:
        memory = _memory(each.memory.total) + ("" if each.fits else ": too much")
        row = [
            each.model.name, each.model.scale, each.training.recipe.name, str(each.training.seeds),
            _count(each.model.parameters), f"{each.steps.steps:,}", _count(each.tokens), _hours(each.gpu_hours),
            _hours(each.hours), memory, _bytes(each.checkpoint_bytes),
        ]  # fmt: skip
        table.add_row(*map(cell, _priced(row, each.dollars)))
    return table


def _summary(plan: Plan) -> Table:
    columns = ["experiment", "scale", "recipe", "runs", "steps", "tokens", "GPU-hours", "memory a GPU", "checkpoints"]
    table = _table(columns, plan)
    for (experiment, scale, recipe), group in groupby(plan.trainings, _cell_of):
        found = list(group)
        steps = [each.steps.steps for each in found]
        most = max(each.memory.total for each in found)
        dollars = None if found[0].dollars is None else sum(each.dollars or 0.0 for each in found)
        row = [
            experiment, scale, recipe, str(sum(each.training.seeds for each in found)),
            f"{min(steps):,}" if min(steps) == max(steps) else f"{min(steps):,} to {max(steps):,}",
            _count(sum(each.training.seeds * each.tokens for each in found)),
            _hours(sum(each.gpu_hours for each in found)),
            _memory(most) + ("" if all(each.fits for each in found) else ": too much"),
            _bytes(sum(each.checkpoint_bytes for each in found)),
        ]  # fmt: skip
        table.add_row(*map(cell, _priced(row, dollars)))
    return table


def _cell_of(each: PlannedTraining) -> tuple[str, str, str]:
    return each.training.experiment, each.model.scale, each.training.recipe.name


def _table(columns: list[str], plan: Plan) -> Table:
    table = Table(box=None, pad_edge=False)
    priced = plan.settings.dollars_per_gpu_hour is not None
    for name in [*columns, "dollars"] if priced else columns:
        said = name.replace("GPU", plan.settings.gpu.unit)
        table.add_column(said, justify="right" if name in _RIGHT else "left")
    return table


def _priced(row: list[str], dollars: float | None) -> list[str]:
    return row if dollars is None else [*row, f"{dollars:,.0f}"]


def _total(plan: Plan) -> str:
    dollars = "" if plan.dollars is None else f", {plan.dollars:,.0f} dollars"
    runs = "1 run" if plan.runs == 1 else f"{plan.runs} runs"
    days, gpu = _hours(plan.gpu_hours / plan.settings.gpus / 24), plan.settings.gpu
    return (
        f"total: {runs}, {_count(plan.tokens)} tokens, {_hours(plan.gpu_hours)} {gpu.unit}-hours ({days} days of "
        f"{plan.settings.gpus} x {gpu.name}){dollars}, "
        f"{_bytes(plan.checkpoint_bytes)} of checkpoints, {_bytes(plan.data_bytes)} of token ids"
    )


def assumptions(plan: Plan) -> list[tuple[str, str]]:
    """Return what a plan rests on, in words, by what it is about."""
    settings, found, unit = plan.settings, plan.trainings, plan.settings.gpu.unit
    said = [("note", note) for note in plan.notes]
    measured = [each for each in found if each.throughput.measured]
    bases = list(dict.fromkeys(each.throughput.basis for each in found))
    said += [("throughput", basis) for basis in bases]
    if measured and len(measured) < len(found):
        said.append(("throughput", f"{len(measured)} of {len(found)} trainings as measured, the others by MFU"))
    if settings.gpus > 1:
        said.append(
            ("throughput", f"in proportion to {unit}s: {settings.gpus} are {settings.gpus} times as fast as one")
        )
    layouts = dict.fromkeys((each.layout.recompute, each.layout.sequences) for each in found)
    shown = "; ".join(f"{count} sequence{'s' * (count > 1)} at a time, recomputed: {what}" for what, count in layouts)
    said.append(("memory", f"estimated for {shown}; {FREE_SHARE:.0%} of a {unit}'s memory is to stay free"))
    if any(not each.fits for each in found):
        said.append(("memory", f"too much for this {unit}: more of them, or a larger type"))
    if settings.dollars_per_gpu_hour is None:
        said.append(("dollars", "no price was given: --dollars-per-gpu-hour USD"))
    else:
        said.append(("dollars", f"{settings.dollars_per_gpu_hour:g} a {unit}-hour"))
    said.append(("disk", f"{settings.checkpoints} checkpoints kept of each run, 12 bytes a parameter"))
    published = [each for each in found if each.steps.note]
    if len(published) == 1:
        said.append(("steps", f"{published[0].model.name}: {published[0].steps.note}"))
    elif published:
        said.append(("steps", f"of {len(published)} trainings as published, of other layer counts than the pattern's "
                              "(--json has them)"))  # fmt: skip
    if any(each.layout.recompute != "none" for each in found):
        said.append(("throughput", "what is recomputed takes time that an MFU has to leave out"))
    chosen = list(dict.fromkeys((each.model.name, text) for each in found for text in each.model.said))
    said += chosen[:_MOST_SAID]
    if len(chosen) > _MOST_SAID:
        said.append(("models", f"{len(chosen) - _MOST_SAID} notes more are with --json"))
    said.append(("not counted", f"evaluation, restarts, idle {unit}s, downloads"))
    return said


def _amount(count: float, units: Sequence[tuple[float, str]]) -> str:
    """A number with three digits or more, in the largest unit of which there is at least one."""
    size, unit = next((each for each in units if abs(count) >= each[0]), (1.0, units[-1][1]))
    value = count / size
    return f"{value:,.{2 if value < 100 else 0}f} {unit}"


def _count(count: int) -> str:
    return _amount(count, ((1e9, "B"), (1e6, "M"), (1e3, "K"))) if count >= _LEAST_SHORT else str(count)


def _bytes(count: int) -> str:
    return _amount(count, ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")))


def _memory(count: int) -> str:
    return _amount(count, ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")))


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= _WHOLE_HOURS else f"{hours:.1f}" if hours >= _LEAST_HOURS else f"{hours:.2g}"


def plan_record(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON values, exact integers where they are exact."""
    settings = plan.settings
    return {
        "schema": 1,
        "title": plan.title,
        "gpu": settings.gpu.name,
        "gpus": settings.gpus,
        "dollars_per_gpu_hour": settings.dollars_per_gpu_hour,
        "assumptions": [f"{about}: {text}" for about, text in assumptions(plan)],
        "trainings": [training_record(each) for each in plan.trainings],
        "total": {
            "runs": plan.runs, "tokens": plan.tokens, "gpu_hours": plan.gpu_hours, "dollars": plan.dollars,
            "checkpoint_bytes": plan.checkpoint_bytes, "data_bytes": plan.data_bytes,
        },
    }  # fmt: skip


def training_record(each: PlannedTraining) -> dict[str, Any]:
    """Return one training of a plan as JSON values."""
    model, counts = each.model, each.model.counts
    said: Sequence[str] = (*model.said, *([each.steps.note] if each.steps.note else []))
    return {
        "experiment": each.training.experiment,
        "architecture": model.name,
        "scale": model.scale,
        "recipe": each.training.recipe.name,
        "seeds": each.training.seeds,
        "pattern": write_pattern(model.pattern),
        "layers": {**asdict(counts), "layers": counts.layers},
        "parameters": model.parameters,
        "steps": each.steps.steps,
        "steps_as_published": each.steps.published,
        "tokens": each.tokens,
        "said": list(said),
        "throughput": {
            "tokens_per_s_a_gpu": each.throughput.tokens_per_s, "measured": each.throughput.measured,
            "basis": each.throughput.basis,
        },
        "hours_a_run": each.hours,
        "gpu_hours": each.gpu_hours,
        "dollars": each.dollars,
        "memory_bytes_a_gpu": {**asdict(each.memory), "total": each.memory.total},
        "layout": {
            "sequences": each.layout.sequences, "microbatches": each.layout.microbatches,
            "recompute": each.layout.recompute, "fits": each.fits,
        },
        "checkpoint_bytes": each.checkpoint_bytes,
        "data_bytes": each.data_bytes,
    }  # fmt: skip
