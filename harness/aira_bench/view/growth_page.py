"""The page of a growth: the way from votes to losses, as one file with pictures beside it that opens from disk.

No script runs in it and nothing is loaded from elsewhere; names of runs are strangers' texts and escaped like all
values. Not covered: what is on it (`aira_bench.scaling.grow`), and pages of the runs themselves (`report`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aira_bench.files import write_atomically, write_json
from aira_bench.scaling.downstream.render import table_rows
from aira_bench.scaling.downstream.scores import ScoreRow
from aira_bench.scaling.downstream.suites import DownstreamSuite
from aira_bench.scaling.grow.comparison import LossComparison, ModelLosses
from aira_bench.scaling.grow.downstream_scores import DownstreamScores
from aira_bench.scaling.grow.growth import RECORD, GrowthRequest
from aira_bench.scaling.grow.render import interval_words
from aira_bench.scaling.notation import write_pattern
from aira_bench.scaling.pictures import IntervalRow, intervals_svg, strip_svg, votes_svg, write_picture
from aira_bench.scaling.plan.render import assumptions
from aira_bench.scaling.plan.trainings import SeedTraining
from aira_bench.view.rendering import STATIC, render
from aira_contract.primitives import BY_SYMBOL

INDEX = "index.html"
_POLICY = (
    "default-src 'none'; style-src 'self' file: 'unsafe-inline'; img-src 'self' file: data:; base-uri 'none'; "
    "form-action 'none'"
)
_STYLES = ("page.css", "icon.svg")


def write_page(
    folder: Path,
    growing: GrowthRequest,
    found: LossComparison,
    trainings: Sequence[SeedTraining],
    downstream: DownstreamScores,
    record: Mapping[str, Any],
) -> Path:
    """Write the page, its pictures and its values; return the page.

    Args:
        folder: of the growth.
        growing: what was grown.
        found: what its trainings show.
        trainings: all seeds of all models.
        downstream: what was evaluated of them.
        record: the same as JSON values.
    """
    pictures = folder / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for name in _STYLES:
        write_atomically(folder / "static" / name, (STATIC / name).read_bytes(), lasting=False)
    votes = [_vote(folder, growing, number) for number in range(len(growing.votes))]
    models = [_model(folder, growing, number) for number in range(len(growing.models))]
    losses = "pictures/losses.svg"
    write_picture(folder / losses, _losses(found))
    write_json(folder / RECORD, dict(record))
    values = {
        "policy": _POLICY, "growing": growing, "votes": votes, "voters": _voters(growing), "models": models,
        "plan": growing.plan, "planned": _planned(growing), "assumptions": assumptions(growing.plan),
        "found": found, "rows": _rows(found), "losses": losses, "record": RECORD,
        "trainings": [_training(run) for run in trainings],
        "suites": [_suite(suite, rows) for suite, rows in downstream.suites], "other_suites": downstream.others,
    }  # fmt: skip
    write_atomically(folder / INDEX, render("growth.html.j2", **values), lasting=False)
    return folder / INDEX


def _vote(folder: Path, growing: GrowthRequest, number: int) -> dict[str, Any]:
    vote = growing.votes[number]
    pattern, file = write_pattern(vote.pattern), f"pictures/votes-n{vote.condition_layers}.svg"
    write_picture(folder / file, votes_svg(vote.votes, f"N{vote.condition_layers} votes: {pattern}"))
    layers = [
        {
            "number": place,
            "chosen": BY_SYMBOL[each.chosen].written,
            "shares": ", ".join(f"{BY_SYMBOL[symbol].written} {float(share):.0%}"
                                for symbol, share in each.shares.items()),
            "voters": each.voters,
        }
        for place, each in enumerate(vote.votes, start=1)
    ]  # fmt: skip
    return {"rule": f"N{vote.condition_layers}", "pattern": pattern, "file": file, "layers": layers}


def _voters(growing: GrowthRequest) -> list[tuple[object, ...]]:
    return [
        (each.rank, write_pattern(each.architecture), each.score, f"{float(each.weight):.1%}", each.dataset)
        for each in growing.voters
    ]


def _model(folder: Path, growing: GrowthRequest, number: int) -> dict[str, Any]:
    each = growing.models[number]
    file = f"pictures/model-{number + 1}.svg"
    write_picture(folder / file, strip_svg(each.model.pattern, each.model.name))
    return {
        "name": each.model.name, "file": file, "way": each.way or "as given", "layers": len(each.model.pattern),
        "pattern": write_pattern(each.model.pattern), "parameters": f"{each.model.parameters:,}",
        "kind": "grown" if each.is_grown else "control",
    }  # fmt: skip


def _planned(growing: GrowthRequest) -> list[tuple[object, ...]]:
    return [
        (
            each.model.name, each.training.seeds, f"{each.steps.steps:,}", f"{each.tokens:,}",
            f"{each.gpu_hours:,.3g}", None if each.dollars is None else f"{each.dollars:,.2f}",
            f"{each.memory.total / 2**30:,.2f} GiB",
        )
        for each in growing.plan.trainings
    ]  # fmt: skip


def _rows(found: LossComparison) -> list[tuple[object, ...]]:
    return [
        (
            each.name, interval_words(each.mean),
            "" if each.is_reference else interval_words(each.difference, signed=True), each.verdict,
            ", ".join(f"{loss:.4f}" for loss in each.losses),
        )
        for each in _best_first(found)
    ]  # fmt: skip


def _losses(found: LossComparison) -> str:
    reference = found.reference
    rows = [
        IntervalRow(
            each.name,
            tuple(loss - base for loss, base in zip(each.losses, reference.losses, strict=True)),
            each.difference.value,
            each.difference.low,
            each.difference.high,
            each.verdict,
        )
        for each in _best_first(found)
    ]  # fmt: skip
    return intervals_svg(rows, f"Loss less that of {reference.name}", "nats a token; left is better")


def _best_first(found: LossComparison) -> list[ModelLosses]:
    return sorted(found.models, key=lambda each: each.mean.value)


def _suite(suite: DownstreamSuite, rows: Sequence[ScoreRow]) -> dict[str, object]:
    table = [{name: text for name, text in row.items() if name != "from"} for row in table_rows(suite, rows)]
    return {"title": suite.title, "columns": list(table[0]), "rows": [list(row.values()) for row in table]}


def _training(run: SeedTraining) -> tuple[object, ...]:
    assert run.found is not None, "all are trained"
    record = run.found.record
    return (
        run.folder.name, record.steps_done, record.validation_loss, f"{record.seconds:,.0f} s",
        f"{record.ranks} x {record.device}",
    )  # fmt: skip
