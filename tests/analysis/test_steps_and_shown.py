"""Improvement steps by their definition, and the tables as people and programs see them."""

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from aira_bench.agent_code.features import CATEGORIES, FEATURES
from aira_bench.analysis.attribution import attribute_changes
from aira_bench.analysis.improvements import Improvement, improvement_steps
from aira_bench.analysis.render import print_tables, tables_record
from aira_bench.analysis.tables import make_tables
from aira_bench.record.node import Change, Node, best_node

NAMES = [feature.name for feature in FEATURES]


@st.composite
def journals(draw: st.DrawFn) -> list[Node]:
    """Nodes as a search makes them: parents are earlier steps, failed ones have no fitness."""
    nodes: list[Node] = []
    for step in range(1, draw(st.integers(1, 12)) + 1):
        parents = draw(st.lists(st.integers(1, step - 1), max_size=2, unique=True)) if step > 1 else []
        valid = draw(st.booleans())
        fitness = draw(st.none() | st.integers(0, 8).map(float)) if valid else None
        changes = (Change("x", 1, 1),) if parents and draw(st.booleans()) else ()
        nodes.append(
            Node(
                step, "improve" if parents else "draft", tuple(parents), "valid" if valid else "buggy", "", fitness, None,
                "0", "0", changes=changes,
            )
        )  # fmt: skip
    return nodes


def better(a: float, b: float, lower: bool) -> bool:
    return a < b if lower else a > b


@given(journals(), st.booleans(), st.sampled_from(["parent", "best"]))
def test_an_improvement_beats_every_step_before_it(nodes: list[Node], lower: bool, against: str) -> None:
    pairs = list(improvement_steps(nodes, lower_is_better=lower, against=against))  # type: ignore[arg-type]
    known = [node for node in nodes if node.is_valid and node.fitness is not None]
    expected = [
        node.step
        for index, node in enumerate(known)
        if index and all(better(node.fitness or 0.0, before.fitness or 0.0, lower) for before in known[:index])
    ]
    assert [node.step for node, _ in pairs] == expected
    for node, other in pairs:
        assert other.step < node.step
        assert other.is_valid
        assert other.fitness is not None
        assert better(node.fitness or 0.0, other.fitness, lower)


@given(journals(), st.booleans())
def test_against_best_is_the_best_so_far_and_against_parent_the_parent_where_it_can_be(
    nodes: list[Node], lower: bool
) -> None:
    by_step = {node.step: node for node in nodes}
    best = list(improvement_steps(nodes, lower_is_better=lower, against="best"))
    for node, other in best:
        known = [each for each in nodes if each.fitness is not None]
        assert other == best_node([each for each in known if each.step < node.step], lower_is_better=lower)
    for (node, other), (same, fallback) in zip(
        improvement_steps(nodes, lower_is_better=lower, against="parent"), best, strict=True
    ):
        assert node == same
        parent = by_step[node.parents[0]] if node.parents else None
        usable = parent is not None and parent.is_valid and parent.fitness is not None
        assert other == (parent if usable else fallback)


@given(journals())
def test_a_metric_turned_round_has_the_same_improvements(nodes: list[Node]) -> None:
    turned = [replace(node, fitness=None if node.fitness is None else -node.fitness) for node in nodes]
    steps = [
        [(node.step, other.step) for node, other in improvement_steps(found, lower_is_better=lower, against="parent")]
        for found, lower in ((nodes, False), (turned, True))
    ]
    assert steps[0] == steps[1]


@given(journals())
def test_only_edits_of_a_step_with_a_fitness_have_an_effect(nodes: list[Node]) -> None:
    by_step = {node.step: node for node in nodes}
    effects = attribute_changes(nodes)
    assert [effect.step for effect in effects] == [
        node.step
        for node in nodes
        if node.changes and node.fitness is not None and by_step[node.parents[0]].fitness is not None
    ]
    for effect in effects:
        assert (effect.before, effect.after) == (by_step[effect.parent].fitness, by_step[effect.step].fitness)
        assert effect.single == (len(effect.changes) == 1)


def step(delta: float, *, parsed: bool = True, read: bool = True, **changed: tuple[Any, Any]) -> Improvement:
    return Improvement("run", 0, 2, 1, delta, changed if read else {}, parsed, read)


def shown(*steps: Improvement) -> str:
    stream = io.StringIO()
    print_tables(make_tables(steps), Console(file=stream, width=200))
    return stream.getvalue()


def test_every_kind_of_step_that_no_row_shows_is_counted_in_words() -> None:
    text = shown(
        step(0.01, depth=(2, 3)), step(0.02), step(0.03, parsed=False, ema=(False, True)),
        step(0.04, parsed=False, read=False), step(0.05, mlp_type=("relu2", "swiglu")),
    )  # fmt: skip
    assert "improvement steps: 5, by a single feature: 3" in text
    assert "changed none of the 27 features: 1" in text
    assert "did not parse and was read as text: 1" in text
    assert "could not be read in time or is too large: 1" in text
    assert "kinds of MLP" in text
    (row,) = [line for line in text.splitlines() if line.startswith("relu2")]
    assert row.split() == ["relu2", "swiglu", "1", "0.0500"]


def test_nothing_is_said_of_what_did_not_happen() -> None:
    assert shown() == "improvement steps: 0, by a single feature: 0\n"
    text = shown(step(0.01, depth=(2, 3)))
    for absent in ("27 features", "read as text", "in time", "kinds of MLP", "by toggle"):
        assert absent not in text


def test_columns_are_counts_means_and_percentages() -> None:
    text = shown(step(0.010, depth=(2, 3)), step(0.030, depth=(3, 4), ema=(False, True)))
    lines = text.splitlines()
    depth = next(line for line in lines if line.startswith("depth"))
    assert depth.split()[-6:] == ["2", "1", "0.0200", "0.0200", "0.0300", "0.0100"]
    toggle = next(line for line in lines if line.startswith("ema") and "add only" in line)
    assert toggle.split() == ["ema", "1", "0.0300", "0", "-", "add", "only"]
    category = next(line for line in lines if line.startswith("Depth / width") and "%" in line)
    assert "100 %" in category


steps_drawn = st.lists(
    st.builds(
        lambda delta, names, parsed: step(delta, parsed=parsed, **{name: (False, True) for name in sorted(names)}),
        st.floats(1e-6, 1.0), st.sets(st.sampled_from(NAMES), max_size=5), st.booleans(),
    ),
    max_size=15,
)  # fmt: skip


@given(steps_drawn)
@settings(max_examples=25)
def test_the_record_is_json_and_has_what_is_printed(steps: list[Improvement]) -> None:
    tables = make_tables(steps)
    record = json.loads(json.dumps(tables_record(tables)))
    text = shown(*steps)
    assert len(record["improvements"]) == len(steps)
    for row in record["features"]:
        assert row["feature"] in text
        assert row["category"] in CATEGORIES
        assert row["solo"] <= row["count"] <= len(steps)
        assert row["delta_median"] <= row["delta_best"]
    medians = [row["delta_median"] for row in record["features"]]
    assert medians == sorted(medians, reverse=True)
    for row in record["categories"]:
        assert row["percent_of_improvements"] == pytest.approx(100 * row["count"] / len(steps))
    assert record["unattributed"] == sum(not each.changed for each in steps)
