"""What a person reads of a run and of a step, and the same for programs: pairs of a name and a value, in sections.

Values are as agents wrote them; whoever prints them escapes them for the medium. Not covered: printing (`cli.show`).
"""

import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from aira_bench.looking.artifact import GROUP, ArtifactView
from aira_bench.looking.comparison import ParentDifference
from aira_bench.looking.step_files import StepFile, absolute
from aira_bench.looking.step_view import StepScores, StepView
from aira_bench.looking.training import training_pairs
from aira_bench.looking.winners import Winner, winners
from aira_bench.record.manifest import Manifest
from aira_bench.record.node import Timings
from aira_bench.record.salvage import RunRemains, SeedRemains
from aira_bench.shown_numbers import figure
from aira_contract.architectures import compact
from aira_contract.primitives import BY_SYMBOL

Pair = tuple[str, str | list[tuple[str, str]]]
"""A name and what is said of it: a text, or pieces of a line with their styles."""
Section = tuple[str, list[Pair]]
_MOST_SETTINGS = 40
"""Constants of code that a page lists; JSON has more."""
_VALUE_CHARS = 60
"""Of a constant's value on a page."""


def state_of(run: RunRemains) -> str:
    """Return in a word how a run stands."""
    if run.folder.is_live:
        return "running"
    if run.record is None:
        return "damaged"
    return "finished" if all(seed.ended for seed in run.seeds) else "stopped"


def run_section(run: RunRemains, signed: str) -> Section:
    """Return what a page says of the run as a whole.

    Args:
        run: the run.
        signed: who signed its record, in words.
    """
    pairs: list[Pair] = [("state", f"{state_of(run)}; record {signed}")]
    if run.manifest is None:
        return f"Run {run.folder.path.name}", [
            *pairs,
            ("manifest", "cannot be read: what the run was for is not known"),
        ]
    manifest, plan = run.manifest, run.manifest.plan
    better = "lower is better" if manifest.lower_is_better else "higher is better"
    data = ", synthetic data" if manifest.synthetic else ""
    pairs += [
        ("agent", f"{plan.agent}, scaffold {plan.scaffold}, fitness {plan.fitness}"),
        ("task", f"{manifest.task_title}, profile {plan.profile}{data}; {manifest.metric}, {better}"),
    ]
    if manifest.judges is not None:
        many = "" if manifest.judges.nodes is None else f", {manifest.judges.nodes} machines"
        pairs.append(("judges", f"elsewhere, by {manifest.judges.by}{many} ({manifest.judges.hardware_class})"))
    if manifest.missing_walls:
        pairs.append(("missing walls", f"{', '.join(manifest.missing_walls)}: accepted when the run began"))
    return f"Run {run.folder.path.name}", pairs


def winners_section(run: RunRemains) -> Section:
    """Return each seed's winner, a line a seed."""
    return "Winners", [("", each.line) for each in winners(run.seeds, lower_is_better=run.lower_is_better)]


def step_sections(run: RunRemains, view: StepView, *, ascii_only: bool = False) -> list[Section]:
    """Return what a page says of one step. `ascii_only`: for terminals whose encoding has nothing else."""
    node, submitted = view.node, ", submitted" if view.submitted else ""
    made = ", ".join(map(str, node.parents))
    head: list[Pair] = [("class", f"{node.step_class}{submitted}" + (f": {node.reason}" if node.reason else ""))]
    head.append(("made by", node.operator + (f" of step {made}" if made else "")))
    if node.attempts > 1:
        head.append(("attempts", f"{node.attempts}, since infrastructure failed"))
    head += [("plan", node.plan)] if node.plan else []
    head += [("summary", node.summary)] if node.summary else []
    if node.changes:
        edits = (f"{each.name} (+{each.added_lines} -{each.removed_lines} lines)" for each in node.changes)
        head.append(("edits", ", ".join(edits)))
    title = f"Seed {view.seed.seed}, step {node.step} of {len(view.seed.steps)}"
    sections: list[Section] = [(title, head), ("Artifact", _artifact(view))]
    sections.append(("Scores", _scores(run.manifest, view.scores)))
    training: list[Pair] = [*training_pairs(view.scores, ascii_only=ascii_only)]
    sections += [("Training", training)] if training else []
    if view.parts:
        sections.append(("Parts of the score (hidden validation, test)", _parts(view)))
    if view.differences:
        sections.append(("Against its parent", [_difference(each) for each in view.differences]))
    sections.append(("Cost", _cost(view)))
    sections.append(("Files", [_file(view.seed, each) for each in view.files]))
    return sections


def _artifact(view: StepView) -> list[Pair]:
    shown = view.artifact
    if shown is None:
        return [("", "the step submitted nothing that was judged")]
    pairs: list[Pair] = []
    if shown.layers:
        pairs.append(("layers", _coloured(shown)))
        pairs += [("notation", shown.notation), ("kinds", f"{len(shown.layers)} layers: {shown.kinds}")]
    elif view.node.canonical is not None:
        pairs.append(("canonical", view.node.canonical))
    if shown.mechanisms:
        pairs.append(("mechanisms", ", ".join(shown.mechanisms)))
    if shown.features:
        on = [name for name, value in shown.features.items() if value is True]
        pairs.append(("features", ", ".join(on) or "none of the 18 toggles"))
        valued = {name: value for name, value in shown.features.items() if not isinstance(value, bool | None)}
        pairs += [("values", _settings(valued.items()))] if valued else []
    if shown.constants:
        capital = {name: value for name, value in shown.constants.items() if name.isupper()}
        pairs.append(("settings", _settings((capital or shown.constants).items())))
    pairs += [("not read", shown.unread)] if shown.unread else []
    if shown.file is not None:
        pairs.append(("file", str(absolute(view.seed, shown.file))))
    return pairs or [("", "nothing is known of it")]


def _coloured(shown: ArtifactView) -> list[tuple[str, str]]:
    pieces: list[tuple[str, str]] = []
    for index, symbol in enumerate(shown.layers):
        gap = " " if index and index % GROUP == 0 else ""
        pieces.append((f"{gap}{compact([symbol])}", f"bold {BY_SYMBOL[symbol].colour}"))
    return pieces


def _settings(items: Iterable[tuple[str, object]]) -> str:
    known = list(items)
    texts = []
    for name, value in known[:_MOST_SETTINGS]:
        shown = f"{value:g}" if isinstance(value, float) else repr(value)
        texts.append(f"{name} = {shown if len(shown) <= _VALUE_CHARS else shown[: _VALUE_CHARS - 3] + '...'}")
    more = len(known) - _MOST_SETTINGS
    return ", ".join(texts) + (f", and {more} more" if more > 0 else "")


def _scores(manifest: Manifest | None, scores: StepScores) -> list[Pair]:
    claimed_steers = manifest is not None and manifest.plan.fitness == "claimed"
    steered = (
        "the agent's own number, which drove the search" if claimed_steers else "hidden validation, drove the search"
    )
    pairs: list[Pair] = []
    if scores.search is not None:
        pairs.append(("search score", f"{_number(scores.search, scores.search_error)}   {steered}"))
    if claimed_steers and scores.validation is not None:
        pairs.append(("validation", f"{_number(scores.validation)}   the judge's, on hidden data; steered nothing"))
    if scores.test is not None:
        pairs.append(
            ("test", f"{_number(scores.test, scores.test_error)}   hidden test data, the search's own training")
        )
    if scores.confirmed is not None:
        pairs.append(("confirmed", _confirmed(manifest, scores)))
    pairs += [("refused again", reason) for reason in scores.refused]
    if scores.claimed is not None:
        pairs.append(("claimed", f"{_number(scores.claimed)}   by the agent's own code; never a score"))
    if scores.overclaim is not None and scores.public is not None:
        word = "better than it is" if scores.overclaim > 0 else "no better than it is"
        pairs.append(
            (
                "overclaim",
                f"{figure(scores.overclaim, '+')}   {word}: on those rows the judge has {figure(scores.public)}",
            )
        )
    if not pairs:
        pairs.append(("", "the step has no score"))
    if manifest is not None and manifest.noise is not None and scores.search is not None:
        pairs.append(
            ("noise floor", f"{figure(manifest.noise.deviation)}   deviation of one training of one submission")
        )
    pairs += [("flags", ", ".join(scores.flags))] if scores.flags else []
    pairs += [("not ranked", ", ".join(scores.unranked))] if scores.unranked else []
    pairs += [("controls", each) for each in scores.remarks]
    return pairs


def _confirmed(manifest: Manifest | None, scores: StepScores) -> str:
    known = [error for error in scores.training_errors if error is not None]
    error = math.hypot(*known) / len(known) if known and len(known) == len(scores.trainings) else None
    deviation = f", deviation {figure(scores.confirmed_deviation)}" if scores.confirmed_deviation is not None else ""
    wanted = manifest.trainings if manifest is not None else None
    of = f" of {wanted}" if wanted is not None and wanted > len(scores.trainings) else ""
    each = ", ".join(figure(value) for value in scores.trainings)
    count = f"mean of {len(scores.trainings)}{of} training{'s' if len(scores.trainings) > 1 else ''}"
    return f"{_number(scores.confirmed, error)}   {count}{deviation}: {each}"


def _number(value: float | None, error: float | None = None) -> str:
    return "-" if value is None else figure(value) + ("" if error is None else f" +- {figure(error)}")


def _parts(view: StepView) -> list[Pair]:
    return [(name, "   ".join(map(_number, both))) for name, both in view.parts.items()]


def _difference(found: ParentDifference) -> Pair:
    said = []
    if found.layers:
        said.append(", ".join(f"layer {number}: {old} -> {new}" for number, old, new in found.layers))
    if found.undone:
        said.append(f"lines not compared: {found.undone}")
    else:
        said.append(
            f"+{found.added} -{found.removed} lines of {found.file}" if found.lines else f"{found.file} is the same"
        )
    return f"step {found.parent}", "; ".join(said)


def _cost(view: StepView) -> list[Pair]:
    use, times = view.node.model_use, view.node.timings
    pairs: list[Pair] = []
    if use.calls:
        tokens = f"{_count(use.input_tokens)} in, {_count(use.output_tokens)} out"
        money = "price unknown" if use.cost_usd is None else f"{figure(use.cost_usd)} USD"
        by = f", by {', '.join(use.models)}" if use.models else ""
        pairs.append(("model", f"{use.calls} call{'s' if use.calls > 1 else ''}, {tokens}, {money}{by}"))
    else:
        pairs.append(("model", "no call"))
    pairs.append(("seconds", ", ".join(f"{name} {seconds:.1f}" for name, seconds in phases(times).items())))
    if times.waited_s:
        waited = ", ".join(f"{name} {seconds:.1f}" for name, seconds in times.waited_s.items())
        pairs.append(("waited", f"{waited}   none of the seed's hours"))
    if view.node.throttled:
        pairs.append(("throttled", view.node.throttled))
    return pairs


def phases(times: Timings) -> dict[str, float]:
    """Return the seconds of a step by phase; they add up to what it took of its seed's hours."""
    known = {"agent": times.model_s, "execute": times.execute_s, "evaluate": times.evaluate_s}
    return {**known, "other": max(times.total_s - sum(known.values()), 0.0), "total": times.total_s}


def _count(tokens: int | None) -> str:
    return "unknown tokens" if tokens is None else f"{tokens:,} tokens"


def _file(seed: SeedRemains, file: StepFile) -> Pair:
    size = "-" if file.size_bytes is None else f"{file.size_bytes:,} B"
    return file.state, f"{absolute(seed, file)}   {size}"


def winner_record(winner: Winner) -> dict[str, Any]:
    """Return a winner for JSON."""
    return asdict(winner)


def step_record(view: StepView) -> dict[str, Any]:
    """Return a step for JSON."""
    node, shown = view.node, view.artifact
    return {
        "seed": view.seed.seed,
        "step": node.step,
        "submitted": view.submitted,
        "class": node.step_class,
        "reason": node.reason,
        "operator": node.operator,
        "parents": list(node.parents),
        "canonical": node.canonical,
        "plan": node.plan,
        "summary": node.summary,
        "changes": [asdict(each) for each in node.changes],
        "attempts": node.attempts,
        "artifact": None if shown is None else {
            "kind": shown.kind, "path": str(absolute(view.seed, shown.file)) if shown.file else None,
            "sha256": node.artifact_sha256, "strip": shown.strip, "notation": shown.notation,
            "layers": list(shown.layers), "mechanisms": list(shown.mechanisms), "settings": dict(shown.constants),
            "features": dict(shown.features), "unread": shown.unread,
        },
        "scores": asdict(view.scores) | {
            "confirmed": view.scores.confirmed, "confirmed_deviation": view.scores.confirmed_deviation,
        },
        "parts": [{"name": name, "validation": both[0], "test": both[1]} for name, both in view.parts.items()],
        "differences": [
            {"parent": each.parent, "file": each.file, "layers": [list(layer) for layer in each.layers],
             "added": each.added, "removed": each.removed, "undone": each.undone}
            for each in view.differences
        ],
        "model_use": asdict(node.model_use),
        "seconds": phases(node.timings),
        "waited": dict(node.timings.waited_s),
        "files": [
            {"path": str(absolute(view.seed, each)), "bytes": each.size_bytes, "state": each.state,
             "detail": each.detail}
            for each in view.files
        ],
        "faults": list(view.faults),
    }  # fmt: skip
