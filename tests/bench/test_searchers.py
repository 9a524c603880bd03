"""The stored table of scores, the rule by which searchers walk it, and that the documented figures are the stored ones."""

import csv
import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.agents.agent import Agent
from aira_bench.agents.catalog import SEARCHERS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

from searchers import (  # noqa: E402
    COMPARED,
    EVALUATIONS,
    RECORDED,
    SEEDS,
    Best,
    Row,
    Table,
    best_so_far,
    chart,
    differences,
    holm,
    nearest,
    read,
    report,
    search,
    write,
)

STORED = ROOT / "bench" / "tables" / "mad_2p_cpu"
ROWS = tuple(
    Row(architecture, sum(symbol == "mA" for symbol in architecture) / 10 + index / 1000, index / 100)
    for index, architecture in enumerate(itertools.product(("M", "mA"), repeat=5))
)
SMALL = Table(ROWS, "small", ("M", "mA"))


def test_the_stored_table_is_whole() -> None:
    manifest = json.loads((STORED / "manifest.json").read_text())
    with (STORED / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert manifest["task"] == "mad-2p"
    assert manifest["profile"] == "cpu"
    assert list(rows[0]) == manifest["columns"] == ["architecture", "validation", "test", "cpu_s"]
    assert set(manifest["seeds"]) == {"train", "validation", "test", "training", "order"}
    assert len(set(manifest["seeds"].values())) == 5
    assert len(rows) >= 400
    assert len({row["architecture"] for row in rows}) == len(rows)
    for row in rows:
        layers = iter(row["architecture"].split("-"))
        runs = [[next(layers) for _ in range(length)] for length in manifest["run_lengths"]]
        assert not list(layers)
        assert all(len(set(run)) == 1 and set(run) <= set(manifest["primitives"]) for run in runs)
        assert all(0 < float(row[column]) < 1 for column in ("validation", "test"))
        assert float(row["cpu_s"]) > 0


@pytest.mark.parametrize("agent", [SEARCHERS["random"], SEARCHERS["evolution"]])
def test_a_searcher_walks_the_table_the_same_way_each_time_and_meets_no_row_twice(agent: Agent) -> None:
    walk = search(SMALL, agent, 1, 20)
    assert walk == search(SMALL, agent, 1, 20)
    assert walk != search(SMALL, agent, 2, 20)
    assert len(set(walk)) == 20


def test_a_wish_takes_the_nearest_row_and_draws_among_equals() -> None:
    wish = ("mA", "M", "mA", "M", "mA")
    assert nearest(ROWS, wish, 1, 1).architecture == wish
    rest = [row for row in ROWS if row.architecture != wish]
    drawn = {nearest(rest, wish, seed, 1).architecture for seed in range(60)}
    assert len(drawn) == 5
    assert all(sum(a != b for a, b in zip(row, wish, strict=True)) == 1 for row in drawn)


@given(st.permutations(ROWS))
def test_the_best_so_far_only_gets_better_and_brings_its_own_test_score(rows: list[Row]) -> None:
    bests = best_so_far("x", 1, rows, range(1, len(rows) + 1))
    values = [best.validation for best in bests]
    assert values == sorted(values)
    assert {(best.validation, best.test) for best in bests} <= {(row.validation, row.test) for row in rows}
    assert bests[-1].validation == max(row.validation for row in rows)


def made_up(shift: float) -> list[Best]:
    rng = random.Random(1)
    base = {(seed, count): rng.random() for seed in range(30) for count in COMPARED}
    return [
        Best(name, seed, count, value + gain * rng.random(), value)
        for name, gain in (("random", 0.0), ("better", shift))
        for (seed, count), value in base.items()
    ]


def test_a_shift_is_found_with_its_sign_and_no_shift_is_not() -> None:
    for shift, sign in ((0.1, 1), (-0.1, -1)):
        for one in differences(made_up(shift)):
            if one.score == "validation":
                assert one.low < one.mean < one.high
                assert sign * one.mean > 0
                assert one.p < 0.001
                assert (one.wins, one.losses)[sign < 0] == 30
            else:
                assert (one.mean, one.p, one.wins, one.losses) == (0.0, 1.0, 0, 0)
    assert differences(made_up(0.1)) == differences(made_up(0.1))


def test_holms_adjustment_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_adjustment_never_lowers_and_keeps_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert sorted(adjusted) == [adjusted[index] for index in order]


def test_results_read_back_and_become_a_picture(tmp_path: Path) -> None:
    bests = [
        best
        for seed in (1, 2)
        for best in best_so_far("random", seed, search(SMALL, SEARCHERS["random"], seed, 20), (10, 20))
    ]
    write(tmp_path / "results.csv", bests)
    assert read(tmp_path / "results.csv") == bests
    picture = chart(bests, 1.0)
    assert picture.startswith("<svg")
    assert ">random</text>" in picture


def test_the_stored_results_are_of_the_stored_table() -> None:
    table, stored = Table.load(STORED), read(STORED / "searchers.csv")
    names = ["random", "evolution", "bayes", "bayes:incremental", "bayes, told the rows"]
    assert [(best.searcher, best.seed, best.evaluations) for best in stored] == [
        (name, seed, count) for name in names for seed in range(1, SEEDS + 1) for count in RECORDED
    ]
    scores = {(row.validation, row.test) for row in table.rows}
    assert all((best.validation, best.test) in scores for best in stored)
    for agent in (SEARCHERS["random"], SEARCHERS["evolution"]):
        for seed in (1, SEEDS):
            again = best_so_far(agent.name, seed, search(table, agent, seed, EVALUATIONS), RECORDED)
            assert again == [best for best in stored if (best.searcher, best.seed) == (agent.name, seed)]


def test_the_documented_figures_are_the_stored_ones() -> None:
    lines: list[str] = []
    report(Table.load(STORED), read(STORED / "searchers.csv"), lines.append)
    documented = (ROOT / "docs" / "searchers.md").read_text()
    for line in "\n".join(lines).splitlines():
        assert line in documented, line
