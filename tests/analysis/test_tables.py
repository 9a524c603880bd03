"""Improvement steps of runs and the tables over them, by hand-counted examples and through the command line."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.agent_code.features import CATEGORIES, FEATURES
from aira_bench.analysis.improvements import Improvement, improvement_steps
from aira_bench.analysis.tables import make_tables
from aira_bench.files import write_json
from aira_bench.record.journal import JournalFile, StepEnded, StepStarted
from aira_bench.record.node import Node
from aira_bench.record.scores import TrustedScore
from generated_runs import manifest, write_run
from place import Place


def step(delta: float, **changed: tuple[object, object]) -> Improvement:
    return Improvement("run", 0, 2, 1, delta, changed, True)  # type: ignore[arg-type]


def test_tables_are_counted_by_hand() -> None:
    tables = make_tables(
        [
            step(0.010, depth=(8, 10), value_embeds=(True, False)),
            step(0.002, depth=(10, 8)),
            step(0.030, ema=(False, True), value_embeds=(False, True), mlp_type=("relu2", "swiglu")),
            step(0.001, ema=(True, False)),
            step(0.005),
        ]
    )
    rows = {row.feature: row for row in tables.features}
    depth = rows["depth"]
    assert (depth.category, depth.count, depth.solo) == ("Depth / width", 2, 1)
    assert (depth.delta_median, depth.delta_mean, depth.delta_best) == pytest.approx((0.006, 0.006, 0.010))
    assert depth.solo_median == 0.002
    assert rows["mlp_type"].solo_median is None
    assert [row.feature for row in tables.features] == ["mlp_type", "value_embeds", "ema", "depth"]
    toggles = {row.feature: row for row in tables.toggles}
    assert toggles.keys() == {"ema", "value_embeds"}
    ema = toggles["ema"]
    assert (ema.add_count, ema.add_median, ema.remove_count, ema.remove_median) == (1, 0.030, 1, 0.001)
    assert ema.verdict == toggles["value_embeds"].verdict == "add helps more"
    categories = {row.category: row for row in tables.categories}
    assert (categories["Regularization"].count, categories["Regularization"].percent_of_improvements) == (2, 40)
    assert categories["Embeddings / heads"].delta_best == 0.030
    assert [(row.before, row.after, row.count) for row in tables.mlp_transitions] == [("relu2", "swiglu", 1)]
    assert (tables.unattributed, tables.read_as_text) == (1, 0)


@pytest.mark.parametrize(
    ("added", "removed", "verdict"),
    [(0.2, None, "add only"), (None, 0.1, "remove only"), (0.1, 0.2, "remove helps more"), (0.1, 0.1, "equal")],
)
def test_a_verdict_needs_both_directions(added: float | None, removed: float | None, verdict: str) -> None:
    steps = [step(added, agc=(False, True))] if added else []
    steps += [step(removed, agc=(True, False))] if removed else []
    assert make_tables(steps).toggles[0].verdict == verdict


feature_sets = st.sets(st.sampled_from([feature.name for feature in FEATURES]), max_size=6)
improvements = st.lists(st.tuples(st.floats(1e-6, 1.0), feature_sets), max_size=20).map(
    lambda drawn: [step(delta, **{name: (False, True) for name in sorted(names)}) for delta, names in drawn]
)


@given(improvements)
def test_no_table_counts_a_step_twice_or_forgets_one(steps: list[Improvement]) -> None:
    tables = make_tables(steps)
    assert sum(row.count for row in tables.features) == sum(len(entry.changed) for entry in steps)
    assert sum(row.solo for row in tables.features) == sum(entry.solo for entry in steps)
    assert sum(row.add_count for row in tables.toggles) == sum(
        feature.name in entry.changed for feature in FEATURES if feature.is_toggle for entry in steps
    )
    for row in tables.categories:
        members = {feature.name for feature in FEATURES if feature.category == row.category}
        assert row.count == sum(bool(members & entry.changed.keys()) for entry in steps)
        assert row.delta_median <= row.delta_best
        assert row.category in CATEGORIES


def node(number: int, fitness: float | None, *parents: int, valid: bool = True) -> Node:
    step_class, operator = "valid" if valid else "buggy", "improve" if parents else "draft"
    return Node(number, operator, parents, step_class, "", fitness, None, "0", "0")  # type: ignore[arg-type]


JOURNAL = [
    node(1, 1.00),
    node(2, None, valid=False),
    node(3, 1.10),
    node(4, 0.99, 3),  # a new best, made from a worse parent
    node(5, 0.995, 4),  # better than its parent's parent, no new best
    node(6, 0.98),  # a draft that is a new best
    node(7, 0.97, 2),  # its parent failed
    node(8, 0.97, 7),  # equal is no improvement
]


def test_an_improvement_is_a_new_best_of_its_seed() -> None:
    against = {
        mode: [(new.step, old.step) for new, old in improvement_steps(JOURNAL, lower_is_better=True, against=mode)]  # type: ignore[arg-type]
        for mode in ("parent", "best")
    }
    assert against["best"] == [(4, 1), (6, 4), (7, 6)]
    assert against["parent"] == [(4, 3), (6, 4), (7, 6)]
    rising = [replace(entry, fitness=-entry.fitness if entry.fitness is not None else None) for entry in JOURNAL]
    assert [new.step for new, _ in improvement_steps(rising, lower_is_better=False, against="best")] == [4, 6, 7]


def script(depth: int, *, ema: bool = False, pattern: str = "SSSL") -> str:
    return f'DEPTH = {depth}\nWINDOW_PATTERN = "{pattern}"\n' + ("ema_model.update(model)\n" if ema else "")


SCRIPTS = {
    1: script(2), 3: script(3), 4: script(4), 5: script(5), 6: script(6, pattern="L"), 7: script(6, ema=True),
    8: script(7),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A run whose steps are `JOURNAL` and `SCRIPTS`, and one of architectures."""
    found = Place(tmp_path / "home", tmp_path / "runs")
    record = manifest("searched", seeds=(0,), steps=8, task_title="autoresearch", metric="BPB", lower_is_better=True)
    folder = found.run("searched")
    write_json(folder.path / "manifest.json", record.model_dump(mode="json"))
    for entry in JOURNAL:
        folder.seed(0).node(entry.step).mkdir(parents=True)
        if entry.step in SCRIPTS:
            (folder.seed(0).node(entry.step) / "train.py").write_text(SCRIPTS[entry.step])
    journal = JournalFile(folder.seed(0).journal)
    (folder.seed(0).path / "hidden").mkdir()
    for entry in JOURNAL:
        script = hashlib.sha256(SCRIPTS.get(entry.step, "").encode()).hexdigest()
        journal.append(StepStarted(entry.step, "t"))
        journal.append(StepEnded(replace(entry, artifact_sha256=script), "t"))
        if entry.is_valid:
            folder.seed(0).scores.append(TrustedScore(entry.step, 1.0, entry.fitness, "1", "e", 1.0))
    journal.close()
    write_run(found.runs, manifest("layers", seeds=(0,), steps=4), invalid_share=0.0)
    return found


def test_a_run_is_analyzed_from_its_folder(place: Place) -> None:
    found = json.loads(place.call("analyze", "searched", "--json").stdout)
    assert [(entry["step"], entry["against"], sorted(entry["changed"])) for entry in found["improvements"]] == [
        (4, 3, ["depth"]), (6, 4, ["depth", "window_pattern"]), (7, 6, ["ema", "window_pattern"])
    ]  # fmt: skip
    assert [entry["delta"] for entry in found["improvements"]] == pytest.approx([0.11, 0.01, 0.01])
    assert found["improvements"][1]["changed"]["window_pattern"] == ["SSSL", "L"]
    assert {row["feature"]: row["count"] for row in found["features"]} == {"depth": 2, "window_pattern": 2, "ema": 1}
    against_best = json.loads(place.call("analyze", "searched", "--against", "best", "--json").stdout)
    assert [entry["against"] for entry in against_best["improvements"]] == [1, 4, 6]


def test_tables_are_printed_for_people(place: Place) -> None:
    printed = place.call("analyze", "searched", "searched").stdout
    assert "improvement steps: 6, by a single feature: 2" in printed
    for text in ("by feature", "by toggle", "add only", "by category", "Attention pattern", "window_pattern"):
        assert text in printed


def test_a_run_without_scripts_is_refused(place: Place) -> None:
    refused = place.call("analyze", "layers", status=2)
    assert "Run layers is a search on mad-2p, whose submissions are no train.py" in refused.stderr


def test_a_script_that_went_missing_is_named(place: Place) -> None:
    (place.run("searched").seed(0).node(6) / "train.py").unlink()
    broken = place.call("analyze", "searched", status=6)
    assert "0006/train.py of a valid step cannot be read: it is missing" in broken.stderr


def test_a_script_that_was_edited_since_it_was_scored_is_named_and_not_analyzed(place: Place) -> None:
    """In an unsigned run nothing but the node's hash vouches for it."""
    (place.run("searched").seed(0).node(6) / "train.py").write_text(SCRIPTS[7])
    broken = place.call("analyze", "searched", status=6)
    assert "0006/train.py of a valid step cannot be read: it was replaced" in broken.stderr
