"""Normalized scores against figures worked out by hand, and their bounds."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.boards.board import Table, build_tables
from aira_bench.boards.columns import shown_columns
from aira_bench.boards.formats import records
from aira_bench.keys import MachineKey
from aira_bench.record.normalized import CORRECTED, Anchors, anchors_of, normalized
from aira_bench.tasks.metadata import LoggingInfo
from generated_runs import confirm, manifest, write_run

KEY = MachineKey(b"0" * 32)
RETRIEVAL = Anchors(worst=0.5, optimum=1.0, sota={"published": 0.8176, "corrected": 0.9176})


def info(**changes: object) -> LoggingInfo:
    values: dict[str, object] = {
        "name": "T", "dataset": "d", "config": "c", "category": "c", "research_problem": "r", "train_split": "train",
        "test_split": "test", "input_columns": ["x"], "scoring_column": "y", "metric": "Accuracy",
        "custom_gold_labels": False, "custom_rad_class": False, "dataset_paper_url": "u", "estimated_worst_score": 0.5,
        "sota": [{"sota_paper_url": "u", "sota_score": 0.8176},
                 {"sota_paper_url": "u", "sota_score": 0.9176, "sota_notes": "Corrected: 91.76 in the cited table."}],
    }  # fmt: skip
    return LoggingInfo.model_validate(values | changes)


def test_the_paper_best_on_retrieval_is_seven_eighths_of_the_way_or_half() -> None:
    # log(.5 / .2057) / log(.5 / .1824), and the same against 0.9176 (.0824)
    assert normalized(0.7943, RETRIEVAL) == pytest.approx(math.log(0.5 / 0.2057) / math.log(0.5 / 0.1824))
    assert normalized(0.7943, RETRIEVAL) == pytest.approx(0.88, abs=0.005)
    assert normalized(0.7943, RETRIEVAL, CORRECTED) == pytest.approx(0.49, abs=0.005)


def test_the_anchors_themselves_are_nought_and_one() -> None:
    assert normalized(0.5, RETRIEVAL) == 0.0
    assert normalized(0.8176, RETRIEVAL) == pytest.approx(1.0)
    assert normalized(0.3, RETRIEVAL) == 0.0, "worse than the worst is cut off"
    assert normalized(None, RETRIEVAL) == 0.0, "a failed seed counts"


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_better_score_is_never_worth_less(first: float, second: float) -> None:
    low, high = sorted((first, second))
    assert (normalized(low, RETRIEVAL) or 0.0) <= (normalized(high, RETRIEVAL) or 0.0)
    loss = Anchors(worst=5.0, optimum=0.0, sota={"published": 1.0})
    assert (normalized(high, loss) or 0.0) <= (normalized(low, loss) or 0.0)


def test_a_perfect_score_is_finite_at_either_end() -> None:
    assert normalized(1.0, RETRIEVAL) == pytest.approx((3 + math.log10(0.5)) / (math.log10(0.5) - math.log10(0.1824)))
    assert normalized(0.0, Anchors(worst=10.0, optimum=0.0, sota={"published": 1.0})) == pytest.approx(4.0)


def test_metadata_names_the_anchors() -> None:
    found = anchors_of(info(), lower_is_better=False)
    assert found is not None
    assert found.sota == {"published": 0.8176, "corrected": 0.9176}
    assert found.optimum == 1.0
    assert anchors_of(info(sota=[]), lower_is_better=False) is None
    assert anchors_of(info(estimated_worst_score=None), lower_is_better=False) is None


def test_anchors_that_measure_nothing_are_an_error() -> None:
    with pytest.raises(ValueError, match="equally far"):
        normalized(0.7, Anchors(worst=0.5, optimum=1.0, sota={"published": 0.5}))


def searched(runs: Path, *, profile: str, confirmed: bool) -> Table:
    """A table of one row of two seeds: one submitted, one without a valid step; both of one identity."""
    found = []
    for name, seed, invalid_share in (("good", 0, 0.0), ("bad", 1, 1.1)):
        record = manifest(name, seeds=(seed,), steps=5, anchors=RETRIEVAL)
        plan = record.plan.model_copy(update={"profile": profile})
        found.append(write_run(runs, record.model_copy(update={"plan": plan}), invalid_share=invalid_share, key=KEY))
    if confirmed:
        confirm(found[0], KEY, {0: (0.7943,) * 3})
    (table,) = build_tables(found)
    return table


def test_a_board_counts_failed_seeds_as_nought_and_shows_both_figures(tmp_path: Path) -> None:
    table = searched(tmp_path, profile="paper", confirmed=True)
    (row,) = table.rows
    assert row.normalized is not None
    assert row.normalized.mean == pytest.approx(0.88 / 2, abs=0.005), "of the confirmed score, and of a failed seed"
    (record,) = records([table])
    assert record["normalized_mean"] == row.normalized.mean
    assert record["normalized_corrected_mean"] == pytest.approx(0.49 / 2, abs=0.005)
    (shown,) = [each.text(row) for each in shown_columns() if each.heading == "NS"]
    assert shown.startswith("0.44")
    assert "(0.24" in shown


@pytest.mark.parametrize(
    ("profile", "confirmed", "why"), [("cpu", True, "profile cpu"), ("paper", False, "not confirmed")]
)
def test_published_figures_are_of_the_papers_sizes_and_of_no_ones_best_luck(
    tmp_path: Path, profile: str, confirmed: bool, why: str
) -> None:
    (row,) = searched(tmp_path, profile=profile, confirmed=confirmed).rows
    assert (row.normalized, row.not_normalized) == (None, why)


def test_scores_on_a_stand_in_are_measured_against_nothing(tmp_path: Path) -> None:
    record = manifest(
        "made-up", seeds=(0,), steps=2, anchors=RETRIEVAL, data={"hidden": {"sha256": "b" * 64}, "synthetic": True}
    )
    (row,) = build_tables([write_run(tmp_path, record, invalid_share=0.0)])[0].rows
    assert row.test is not None
    assert (row.normalized, row.normalized_corrected) == (None, None)
