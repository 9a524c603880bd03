"""The definitions of a board, held to random records: what counts, in which mean, and that nothing else moves them."""

import csv
import io
import json
import math
import random
import re
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.boards.board import Table, tables_of
from aira_bench.boards.columns import cost, duration, tokens
from aira_bench.boards.formats import parts, records, stacked, to_csv, to_json, to_markdown
from aira_bench.boards.replicates import seed_result, spread
from aira_bench.boards.rows import Row, RowStanding
from aira_bench.keys import KeyRing
from aira_bench.record.confirmations import NO_CONFIRMATIONS, Confirmations
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import SeedEnded
from aira_bench.record.node import ModelUse, Node, Timings, best_node
from aira_bench.record.run_record import RunRecord
from aira_bench.record.scores import TrustedScore
from aira_bench.record.seed_record import SeedRecord
from aira_contract.flags import ABOVE_PUBLISHED_BEST
from generated_runs import manifest

NOWHERE = RunFolder(Path("nowhere"))
ANCHORS = {"worst": 0.1, "optimum": 1.0, "sota": {"published": 0.8, "corrected": 0.9}}
units = st.integers(0, 1000).map(lambda number: number / 1000)


@st.composite
def seed_records(draw: st.DrawFn, seed: int, lower: bool) -> SeedRecord:
    """A seed as its reader gives it, ended by the rule of all runs or not ended."""
    nodes: list[Node] = []
    scores: dict[int, TrustedScore] = {}
    for step in range(1, draw(st.integers(0, 5)) + 1):
        step_class = draw(st.sampled_from(["valid", "valid", "buggy", "timeout", "infra_error"]))
        if step_class == "valid":
            flags = draw(st.sampled_from([(), ("slow",), ("hard_wired",), (ABOVE_PUBLISHED_BEST,)]))
            unranked = flags if flags == ("hard_wired",) else ()
            error = draw(st.none() | units)
            scores[step] = TrustedScore(
                step, draw(units), draw(units), "1", "evaluator:1", 1.0, flags=flags, unranked=unranked,
                claimed=draw(st.none() | units), test_standard_error=error, validation_standard_error=error,
            )  # fmt: skip
        found = scores.get(step)
        steers = found is not None and not found.unranked
        nodes.append(
            Node(
                step, "draft", (), "rule_violation" if found and found.unranked else step_class, "",
                found.validation if found and steers else None, found.claimed if found else None, "0", "0",
                attempts=draw(st.integers(1, 3)), timings=Timings(0, 0, 0, draw(units)),
                code_ran=step_class != "infra_error" or draw(st.booleans()),
                model_use=ModelUse(1, draw(st.none() | st.integers(0, 9)), 1, draw(st.none() | units)),
            )
        )  # fmt: skip
    best = best_node(nodes, lower_is_better=lower)
    ended = SeedEnded("steps", best.step if best else None, "t") if draw(st.booleans()) or not nodes else None
    confirmed = NO_CONFIRMATIONS
    if ended and best and draw(st.booleans()):
        unranked = ("hard_wired",) * draw(st.booleans())
        trainings = tuple(
            TrustedScore(best.step, draw(units), None, "1", "evaluator:1", 1.0, flags=unranked, unranked=unranked)
            for _ in range(draw(st.integers(1, 4)))
        )
        refused = {best.step: ("it diverged",)} if draw(st.integers(0, 4)) == 0 else {}
        confirmed = Confirmations({best.step: trainings}, None, refused)
    return SeedRecord(
        seed, NOWHERE.seed(seed), tuple(nodes), ended, scores, confirmed, 1, "s", ("k",), draw(st.integers(0, 2))
    )


@st.composite
def runs(draw: st.DrawFn) -> list[RunRecord]:
    """Runs of two agents on one task, one table's worth."""
    lower, anchored, profile = draw(st.booleans()), draw(st.booleans()), draw(st.sampled_from(["paper", "cpu"]))
    found = []
    for number in range(draw(st.integers(1, 4))):
        seeds = tuple(draw(st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True)))
        record = manifest(
            f"run{number}", seeds=seeds, steps=5, agent=draw(st.sampled_from(["evolution", "random"])),
            lower_is_better=lower, created=f"2026-01-0{number + 1}T00:00:00+00:00",
            anchors=ANCHORS if anchored else None,
        )  # fmt: skip
        record = record.model_copy(update={"plan": record.plan.model_copy(update={"profile": profile})})
        of = tuple(draw(seed_records(seed, lower)) for seed in seeds)
        found.append(RunRecord(NOWHERE, record, "m", of, "k", True))
    return found


def board(found: list[RunRecord]) -> Table:
    (table,) = tables_of(found, KeyRing("k"))
    return table


@given(runs())
@settings(max_examples=25, deadline=None)
def test_every_rate_is_a_share_and_every_replicate_is_there(found: list[RunRecord]) -> None:
    for row in board(found).rows:
        assert row.valid_submission_rate is None or 0 <= row.valid_submission_rate <= 1
        assert row.valid_step_rate is None or 0 <= row.valid_step_rate <= 1
        of_agent = [seed for run in found if run.manifest.plan.agent == row.entry.agent for seed in run.seeds]
        assert sorted(result.seed for result in row.results) == sorted(seed.seed for seed in of_agent)
        assert sum(row.runs_by_seed.values()) == len(of_agent)
        assert row.runs_not_shown == 0


@given(runs(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_in_which_runs_are_read_does_not_matter(found: list[RunRecord], rng: random.Random) -> None:
    shuffled = list(found)
    rng.shuffle(shuffled)
    assert records([board(found)]) == records([board(shuffled)])


@given(runs())
@settings(max_examples=25, deadline=None)
def test_a_row_has_every_run_of_every_seed(found: list[RunRecord]) -> None:
    for row in board(found).rows:
        of_agent = [run for run in found if run.manifest.plan.agent == row.entry.agent]
        expected = [seed_result(seed, run.manifest) for run in of_agent for seed in run.seeds]
        assert sorted(map(repr, row.results)) == sorted(map(repr, expected))


@given(runs(), st.integers(2, 5))
@settings(max_examples=25, deadline=None)
def test_a_run_that_is_repeated_with_the_same_outcome_moves_no_mean(found: list[RunRecord], times: int) -> None:
    """Whoever runs the lucky seed again and again, and gets the same each time, gains nothing on the board."""
    (row, *_) = board(found[:1]).rows
    copies = [
        replace(found[0], manifest=found[0].manifest.model_copy(update={"run_id": f"{copy:012x}"}))
        for copy in range(times)
    ]
    (repeated, *_) = board(copies).rows
    assert len(repeated.results) == times * len(row.results)
    for name in ("validation", "test", "best_test", "confirmed", "claimed", "normalized"):
        one, many = getattr(row, name), getattr(repeated, name)
        assert (one is None) == (many is None)
        if one is not None:
            assert (many.mean, many.count) == (pytest.approx(one.mean), one.count)
            assert many.deviation == (None if one.deviation is None else pytest.approx(one.deviation))
    assert repeated.valid_submission_rate == (
        None if row.valid_submission_rate is None else pytest.approx(row.valid_submission_rate)
    )


@given(runs())
@settings(max_examples=25, deadline=None)
def test_means_are_over_ranked_seeds_and_nothing_unranked_enters_one(found: list[RunRecord]) -> None:
    for row in board(found).rows:
        ranked = [each for each in row.ended if not each.unranked and not each.awaits_confirm]
        tests: dict[int, list[float]] = {}
        for each in ranked:
            if each.test is not None:
                tests.setdefault(each.seed, []).append(each.test)
        assert (row.test is None) == (not tests)
        if row.test is not None:
            assert row.test.count == len(tests)
            assert row.test.mean == pytest.approx(statistics.fmean(map(statistics.fmean, tests.values())))
        assert row.unranked == sum(bool(each.unranked) for each in row.ended)
        for each in row.ended:
            if each.awaits_confirm:
                assert each.normalized is None, "it counts neither as a success nor as a failure before it is confirmed"
            if each.unranked and each.normalized is not None:
                assert each.normalized == 0.0


@given(runs())
@settings(max_examples=25, deadline=None)
def test_confirmed_rows_stand_first_better_ones_before_worse(found: list[RunRecord]) -> None:
    table = board(found)
    assert table.rows == (*table.ordered, *table.apart)
    means = [row.test.mean if row.test else None for row in table.apart]
    known = [mean for mean in means if mean is not None]
    assert known == sorted(known, reverse=not table.section.lower_is_better)
    assert means[: len(known)] == known
    scores = [
        score
        for row in table.ordered
        for each in row.judged
        if not each.failed and (score := each.deciding) is not None
    ]
    worst = (max if table.section.lower_is_better else min)(scores, default=0.0)
    ordered = []
    for row in table.ordered:
        by_seed: dict[int, list[float]] = {}
        for each in row.judged:
            by_seed.setdefault(each.seed, []).append(worst if each.failed or each.deciding is None else each.deciding)
        ordered.append(statistics.fmean(map(statistics.fmean, by_seed.values())))
    assert ordered == sorted(ordered, reverse=not table.section.lower_is_better)


@given(runs())
@settings(max_examples=25, deadline=None)
def test_a_row_has_a_place_once_nothing_of_it_is_unknown(found: list[RunRecord]) -> None:
    """Whoever ends, or confirms, only the seeds that he likes has no place in the order, whatever their scores."""
    for row in board(found).rows:
        unknown = [each for each in row.judged if each.submitted is not None and not each.unranked
                   and len(each.trainings) < 3]  # fmt: skip
        assert (row.standing is RowStanding.CONFIRMED) == (
            bool(row.judged) and not unknown and all(each.ended for each in row.results)
        )
        for each in row.ended:
            assert each.confirmed is None or each.confirmed == pytest.approx(statistics.fmean(each.trainings))


@given(runs(), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_a_scripts_claims_move_no_score(found: list[RunRecord], less: int) -> None:
    """Whatever submissions say of themselves: only the two columns of claims may differ."""
    boasting = [
        replace(run, seeds=tuple(
            replace(seed, nodes=tuple(replace(node, claimed=float(less)) for node in seed.nodes)) for seed in run.seeds
        ))
        for run in found
    ]  # fmt: skip
    plain, boasted = records([board(found)]), records([board(boasting)])
    for one, other in zip(plain, boasted, strict=True):
        assert {name for name in one if one[name] != other[name]} <= {
            "claimed_mean", "claimed_sd", "claimed_less_trusted_mean", "claimed_less_trusted_sd", "overclaim_mean", "overclaim_sd",
        }  # fmt: skip


@given(runs())
@settings(max_examples=25, deadline=None)
def test_a_lost_step_moves_nothing_but_its_own_columns(found: list[RunRecord]) -> None:
    lost = Node(9, "draft", (), "infra_error", "", None, None, "0", None, code_ran=True, attempts=3)
    more = [replace(run, seeds=tuple(replace(s, nodes=(*s.nodes, lost)) for s in run.seeds)) for run in found]
    of_agents = [sorted(records([board(each)]), key=lambda row: str(row["agent"])) for each in (found, more)]
    for one, other in zip(*of_agents, strict=True):
        changed = {name for name in one if one[name] != other[name]}
        # A seed all of whose steps were lost says nothing of the agent, so it leaves the rate, the normalized mean, and
        # what a place in the order hangs on.
        assert changed <= {
            "infra_errors",
            "retries",
            "standing",
            "valid_submission_rate",
            *(n for n in one if "normalized" in n),
        }
        if all(seed.nodes for run in found for seed in run.seeds):
            assert "valid_step_rate" not in changed


@given(runs())
@settings(max_examples=25, deadline=None)
def test_every_format_says_the_same(found: list[RunRecord]) -> None:
    table = board(found)
    flat = records([table])
    assert json.loads(to_json([table])) == flat
    read = list(csv.DictReader(io.StringIO(to_csv([table]))))
    assert len(read) == len(flat)
    for row, record in zip(read, flat, strict=True):
        for name, value in record.items():
            assert row[name] == ("" if value is None else str(value))
    for _, part in parts(table):
        lines = [line for line in to_markdown([part]).splitlines() if line.startswith("| ")]
        assert len(lines) == len(part.rows) + 2
        assert len({line.count(" | ") for line in lines}) == 1


@given(runs(), st.integers(60, 200))
@settings(max_examples=25, deadline=None)
def test_a_stacked_board_fits_its_window_and_loses_nothing(found: list[RunRecord], width: int) -> None:
    _, table = parts(board(found))[0]
    text = stacked(table, width)
    for line in text.splitlines():
        assert len(line) <= width or line.count("   ") == 0, "only one item that is longer than the window may pass it"
    header, _, *rows = [
        line.strip("| ").split(" | ") for line in to_markdown([table]).splitlines() if line.startswith("| ")
    ]
    for row in rows:
        for name, value in list(zip(header, row, strict=True))[2:]:
            assert f"{name} {value}".replace("\\", "") in text


@given(st.lists(st.none() | st.floats(-1e6, 1e6), max_size=8))
def test_a_spread_is_of_the_known_values(values: list[float | None]) -> None:
    found, known = spread(values), [value for value in values if value is not None]
    if found is None:
        assert not known
        return
    assert found.count == len(known)
    assert found.mean == pytest.approx(sum(known) / len(known), abs=1e-6)
    assert (found.deviation is None) == (len(known) == 1)
    if found.deviation is not None:
        squares = sum((value - found.mean) ** 2 for value in known)
        assert found.deviation == pytest.approx(math.sqrt(squares / (len(known) - 1)), abs=1e-4)
    assert found.standard_error is None


@given(st.lists(st.tuples(st.none() | units, st.none() | units), max_size=6))
def test_an_error_of_a_mean_needs_the_error_of_each_value(pairs: list[tuple[float | None, float | None]]) -> None:
    found = spread([value for value, _ in pairs], [error for _, error in pairs])
    errors = [error for value, error in pairs if value is not None]
    if found is not None and None not in errors:
        assert found.standard_error == pytest.approx(math.sqrt(sum((e or 0.0) ** 2 for e in errors)) / len(errors))
    elif found is not None:
        assert found.standard_error is None


@given(st.floats(0, 1e7))
def test_a_duration_is_right_to_its_last_unit(seconds: float) -> None:
    said = duration(seconds)
    parts = {unit: float(number) for number, unit in re.findall(r"([0-9.]+) (s|min|h)", said)}
    total = parts.get("h", 0) * 3600 + parts.get("min", 0) * 60 + parts.get("s", 0)
    slack = 60 if "h" in parts else 1 if "min" in parts or seconds >= 10 else 0.1
    assert abs(total - seconds) <= slack
    assert parts.get("min", 0) < 60
    assert parts.get("s", 0) < 60 or "min" not in parts


@given(
    st.integers(0, 5),
    st.none() | st.integers(0, 10**9),
    st.none() | st.integers(0, 10**9),
    st.none() | st.floats(0, 1e5),
)
def test_unknown_tokens_and_dollars_are_never_nothing(
    calls: int, prompt: int | None, answer: int | None, usd: float | None
) -> None:
    use = ModelUse(calls, prompt, answer, usd)
    if calls == 0:
        assert (tokens(use), cost(use)) == ("-", "-")
        return
    assert (tokens(use) == "unknown") == (prompt is None or answer is None)
    assert (cost(use) == "unknown") == (usd is None)
    if prompt is not None and answer is not None:
        assert int(tokens(use).replace(",", "")) == prompt + answer


def test_rows_compare_by_what_they_hold() -> None:
    rows: list[Row] = list(board([RunRecord(NOWHERE, manifest("a", seeds=(0,), steps=1), "m", (
        SeedRecord(0, NOWHERE.seed(0), (), None, {}, NO_CONFIRMATIONS, 0, "s", ()),), None, False)]).rows)  # fmt: skip
    assert [(row.valid_submission_rate, row.valid_step_rate, row.test) for row in rows] == [(None, None, None)]
