"""What a row says of its seeds, whatever those are: who is counted, who enters a mean, what a rate is a rate of."""

import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.boards.columns import shown_columns
from aira_bench.boards.replicates import SeedResult, Spread, spread
from aira_bench.boards.rows import Row, RowStanding, row_of
from aira_bench.record.node import ModelUse
from aira_bench.statistics.counts import Submissions
from boards.made_boards import AWAITING, CONFIRMED, ENDED, ENTRY, LOST, NEVER_ENDED, PLAIN, UNRANKED

scores = st.floats(-1e3, 1e3)
kinds = st.sampled_from((NEVER_ENDED, ENDED, CONFIRMED, UNRANKED, AWAITING, LOST, PLAIN))


@st.composite
def seeds(draw: st.DrawFn) -> dict[int, list[SeedResult]]:
    """Results of some seeds, each run one to three times, with scores of their own."""
    found = {}
    for seed in range(draw(st.integers(1, 6))):
        runs = []
        for number in range(draw(st.integers(1, 3))):
            kind = draw(kinds)
            changes = {"seed": seed, "created": f"2026-01-0{number + 1}"}
            if kind.submitted is not None:
                changes |= {"test": draw(scores), "validation": draw(scores), "best_test": draw(scores)}
            runs.append(replace(kind, **changes))
        found[seed] = runs
    return found


def made(results: dict[int, list[SeedResult]]) -> Row:
    return row_of(ENTRY, results, dict.fromkeys(results, 0))


@given(seeds())
def test_every_run_of_a_seed_counts_and_each_seed_weighs_once(results: dict[int, list[SeedResult]]) -> None:
    row = made(results)
    assert row.seeds == tuple(results)
    for seed, runs in results.items():
        assert [each for each in row.results if each.seed == seed] == runs
        assert row.runs_by_seed[seed] == len(runs)
    means = [statistics.fmean(tests) for runs in results.values()
             if (tests := [each.test for each in runs if each in row.ranked and each.test is not None])]  # fmt: skip
    assert (row.test is None) == (not means)
    if row.test is not None:
        assert (row.test.mean, row.test.count) == (pytest.approx(statistics.fmean(means)), len(means))


@given(seeds())
def test_rates_are_shares_and_groups_nest(results: dict[int, list[SeedResult]]) -> None:
    row = made(results)
    assert set(row.ranked) <= set(row.ended) <= set(row.results)
    assert set(row.judged) <= set(row.ended)
    for rate in (row.valid_submission_rate, row.valid_step_rate):
        assert rate is None or 0 <= rate <= 1
    assert (row.valid_submission_rate is None) == (not row.judged)
    assert (row.valid_step_rate is None) == (row.steps == 0)
    assert row.flagged + row.unranked + row.awaiting <= 3 * len(row.ended)


@given(seeds())
def test_who_is_not_ranked_moves_no_mean(results: dict[int, list[SeedResult]]) -> None:
    """An unranked or an awaited score may be anything: no mean of the row knows it."""
    row = made(results)
    other = {
        seed: [replace(run, test=1e9, validation=1e9) if run.unranked or run.awaits_confirm else run for run in runs]
        for seed, runs in results.items()
    }
    assert (made(other).test, made(other).validation) == (row.test, row.validation)
    assert (row.test is None) == all(run.test is None for run in row.ranked)


@given(seeds(), st.randoms(use_true_random=False))
def test_the_order_of_seeds_changes_rounding_only(results: dict[int, list[SeedResult]], rng: object) -> None:
    order = list(results)
    rng.shuffle(order)  # type: ignore[attr-defined]
    one, other = made(results), made({seed: results[seed] for seed in order})
    for name in ("validation", "test", "best_test", "confirmed", "claimed", "claimed_less_trusted", "normalized"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert (ours is None) == (theirs is None), name
        if ours is not None:
            assert ours.mean == pytest.approx(theirs.mean, rel=1e-9, abs=1e-9), name
    for name in ("flagged", "unranked", "awaiting", "steps", "infra_errors", "retries", "model_use"):
        assert getattr(one, name) == getattr(other, name), name


@given(seeds())
def test_sums_are_those_of_the_counted_runs(results: dict[int, list[SeedResult]]) -> None:
    row = made(results)
    assert row.steps == sum(run.steps - run.infra_errors for run in row.results)
    assert row.wall_s == pytest.approx(math.fsum(run.wall_s for run in row.results))
    assert row.model_use.calls == sum(run.model_use.calls for run in row.results)
    assert row.retries == sum(run.retries for run in row.results)


def test_runs_that_were_not_read_count_as_begun() -> None:
    row = row_of(ENTRY, {0: [ENDED], 1: [ENDED, NEVER_ENDED]}, {0: 2, 1: 0})
    assert (dict(row.runs_by_seed), row.runs_not_shown) == ({0: 3, 1: 2}, 2)


def test_a_seed_whose_every_step_was_lost_lowers_no_rate_and_a_failed_one_does() -> None:
    assert made({0: [ENDED], 4: [LOST]}).valid_submission_rate == 1.0
    failed = replace(LOST, infra_errors=3)
    assert made({0: [ENDED], 4: [failed]}).valid_submission_rate == 0.5
    assert made({4: [LOST]}).valid_submission_rate is None
    without_steps = replace(LOST, steps=0, infra_errors=0)
    assert made({4: [without_steps]}).valid_submission_rate == 0.0, "it ended and submitted nothing"


@pytest.mark.parametrize(
    ("runs", "standing"),
    [
        ({}, RowStanding.LEFT_OUT),
        ({4: [LOST]}, RowStanding.LOST),
        ({4: [LOST], 6: [NEVER_ENDED]}, RowStanding.UNFINISHED),
        ({6: [NEVER_ENDED]}, RowStanding.UNFINISHED),
        ({1: [CONFIRMED], 4: [LOST]}, RowStanding.CONFIRMED),
        ({1: [CONFIRMED], 6: [NEVER_ENDED]}, RowStanding.UNFINISHED),
    ],
)
def test_what_has_ended_is_never_called_unfinished(runs: dict[int, list[SeedResult]], standing: RowStanding) -> None:
    """A row all of whose runs were left out, or lost, said `not finished`."""
    assert made(runs).standing is standing


def test_the_papers_rate_counts_every_run_that_ended() -> None:
    failed = replace(LOST, infra_errors=3)
    row = made({0: [ENDED], 2: [UNRANKED], 4: [LOST], 5: [replace(failed, seed=5)], 6: [NEVER_ENDED]})
    by_class = Submissions(valid=1, disqualified=1, none=1, lost=1)
    assert (row.valid_submission_rate, row.published_submission_rate) == (pytest.approx(1 / 3), 0.5)
    assert (by_class.rate, by_class.published_rate) == (row.valid_submission_rate, row.published_submission_rate)
    assert _cell(row, "VSR, paper") == "0.50"
    assert _cell(made({0: [ENDED], 4: [failed]}), "VSR, paper") == "-", "both definitions give a half"
    assert _cell(made({4: [LOST]}), "VSR, paper") == "0.00", "ours says nothing of it"
    assert made({6: [NEVER_ENDED]}).published_submission_rate is None
    assert _cell(made({6: [NEVER_ENDED]}), "VSR, paper") == "-"


def _cell(row: Row, heading: str) -> str:
    (shown,) = (each for each in shown_columns() if each.heading == heading)
    return shown.text(row)


def test_a_confirmation_that_disqualifies_takes_the_score_out_of_every_mean() -> None:
    out = replace(CONFIRMED, unranked=("hard_wired",))
    row = made({1: [out]})
    assert (row.test, row.confirmed, row.validation, row.unranked) == (None, None, None, 1)
    assert row.claimed is not None, "what it said of itself is still shown"


def test_an_awaited_submission_that_is_disqualified_waits_no_more() -> None:
    both = replace(AWAITING, unranked=("hard_wired",))
    assert (made({3: [both]}).awaiting, made({3: [both]}).unranked) == (0, 1)


# Spreads -------------------------------------------------------------------------------------------------------------


@given(st.lists(scores, min_size=1, max_size=12))
def test_a_spread_is_mean_and_sample_deviation(values: list[float]) -> None:
    found = spread([None, *values, None])
    assert found is not None
    assert found.count == len(values)
    assert min(values) - 1e-9 <= found.mean <= max(values) + 1e-9
    assert (found.deviation is None) == (len(values) == 1)
    if found.deviation is not None:
        assert found.deviation == pytest.approx(statistics.stdev(values), rel=1e-9, abs=1e-12)


@given(st.lists(st.tuples(scores, st.floats(0, 10)), min_size=1, max_size=8))
def test_standard_errors_add_up_as_those_of_independent_estimates(pairs: list[tuple[float, float]]) -> None:
    values, errors = zip(*pairs, strict=True)
    found = spread(values, errors)
    assert found is not None
    assert found.standard_error is not None
    assert found.standard_error == pytest.approx(math.sqrt(math.fsum(error**2 for error in errors)) / len(errors))
    assert found.standard_error <= max(errors) + 1e-12


def test_one_value_without_an_error_leaves_the_mean_without_one() -> None:
    assert spread([0.5, 0.7], [0.1, None]) == Spread(pytest.approx(0.6), pytest.approx(0.1414, abs=1e-3), 2, None)
    assert spread([0.5, None], [0.1, 0.9]) == Spread(0.5, None, 1, 0.1)
    assert spread([], []) is None


def test_the_use_of_models_is_unknown_where_one_part_is() -> None:
    row = made({0: [ENDED], 1: [PLAIN]})
    assert row.model_use == ModelUse(5, None, None, None)
