"""Boards from run folders on disk."""

import csv
import io
import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from rich.text import Text

from aira_bench.boards.board import build_tables
from aira_bench.boards.columns import COLUMNS, duration
from aira_bench.boards.formats import (
    APART,
    noise_line,
    print_tables,
    records,
    to_csv,
    to_json,
    to_markdown,
    write_board,
)
from aira_bench.boards.order import with_ranks
from aira_bench.boards.replicates import Spread, spread
from aira_bench.boards.rows import RowStanding
from aira_bench.errors import RunStateError
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.record.scores import TrustedScore
from aira_bench.sandbox.sandbox import Isolation
from boards.made_boards import made_tables
from generated_runs import confirm, manifest, write_run
from place import submitted

KEY = MachineKey(b"0" * 32)


def test_a_row_holds_what_the_journals_and_scores_say(tmp_path: Path) -> None:
    run = write_run(tmp_path, manifest("a", seeds=(0, 1, 2), steps=10))
    (table,) = build_tables([run])
    (row,) = table.rows
    best_of = {}
    for seed in (0, 1, 2):
        scores = run.seed(seed).scores.read()
        best = max(scores.values(), key=lambda score: round(score.validation or 0, 4))
        best_of[seed] = best
        assert row.best_test is not None
    assert row.valid_submission_rate == 1.0
    assert row.test is not None
    assert row.test.mean == pytest.approx(statistics.fmean(score.test for score in best_of.values()))
    assert row.test.deviation == pytest.approx(statistics.stdev(score.test for score in best_of.values()))
    assert row.steps == 30
    assert row.wall_s == pytest.approx(30.0)


def test_what_submissions_claim_stands_beside_what_they_earned(tmp_path: Path) -> None:
    """Two seeds of a script task: one honest, one that claims 0.05 too little and is flagged."""
    record = manifest("scripts", seeds=(0, 1), steps=1, metric="BPB", lower_is_better=True)
    run = write_run(tmp_path, record, invalid_share=0.0, claims={0: 0.0, 1: -0.05}, flags={1: ("looks_ahead",)},
                    public=0.01)  # fmt: skip
    (table,) = build_tables([run])
    (row,) = table.rows
    assert row.claimed_less_trusted is not None
    assert row.claimed_less_trusted.mean == pytest.approx(-0.025)
    assert row.overclaim == Spread(pytest.approx(0.035), pytest.approx(0.0354, abs=1e-4), 2), (
        "of a loss, the lower is better"
    )
    assert row.flagged == 1
    shown = to_markdown([table])
    assert "| overclaim |" in shown
    assert "| 0.0350 +- 0.0354 | 1 |" in shown
    (flat,) = records([table])
    assert flat["claimed_less_trusted_mean"] == pytest.approx(-0.025)
    assert flat["overclaim_mean"] == pytest.approx(0.035)
    assert flat["seeds_flagged"] == 1


def test_of_an_accuracy_the_claim_that_is_too_high_is_too_much(tmp_path: Path) -> None:
    record = manifest("scripts", seeds=(0,), steps=1)
    (table,) = build_tables([write_run(tmp_path, record, invalid_share=0.0, claims={0: 0.05}, public=0.01)])
    assert table.rows[0].overclaim == Spread(pytest.approx(0.04), None, 1)
    old = write_run(tmp_path / "old", record, invalid_share=0.0, claims={0: 0.05})
    assert build_tables([old])[0].rows[0].overclaim is None, "the judge has no number on the same rows"


def test_confirmed_scores_stand_beside_those_of_the_search_and_say_how_many_they_are(tmp_path: Path) -> None:
    run = write_run(tmp_path, manifest("a", seeds=(0, 1), steps=3), invalid_share=0.0, key=KEY)
    (table,) = build_tables([run])
    assert "| not confirmed |" in to_markdown([table])
    assert "| confirmed |" not in to_markdown([table])
    confirm(run, KEY, {0: (0.9, 0.9), 1: (0.4321, 0.4320, 0.4322)})
    (table,) = build_tables([run])
    assert table.rows[0].confirmed == Spread(pytest.approx(0.4321), None, 1), "two trainings are not yet three"
    assert (table.ordered, table.apart) == ((), table.rows), "half of it is not known"
    assert "| 0.4321 (1 of 2) |" in to_markdown([table])
    assert "| partly confirmed (1 of 2) |" in to_markdown([table])
    assert records([table])[0]["confirmed_mean"] == pytest.approx(0.4321)


def test_a_run_that_was_confirmed_by_one_training_is_not_confirmed(tmp_path: Path) -> None:
    """So did versions before; one training is a mean of one, and its noise as large as what boards are to tell apart."""
    run = write_run(tmp_path, manifest("a", seeds=(0,), steps=3), invalid_share=0.0)
    chosen = submitted(run.seed(0))
    assert chosen is not None
    run.seed(0).confirmed.append(TrustedScore(chosen, 0.4321, 0.4, "1", "judge:1", 2.0))
    (table,) = build_tables([run])
    assert (table.rows[0].standing, table.rows[0].confirmed) == (RowStanding.PARTLY, None)


def test_rows_without_a_place_in_the_order_stand_apart(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, manifest(name, seeds=(0,), steps=3, agent=name), invalid_share=0.0, key=KEY)
        for name in ("a", "b")
    ]
    confirm(runs[0], KEY, {0: (0.0,) * 3})
    (table,) = build_tables(runs)
    assert [row.entry.agent for row in table.rows] == ["a", "b"], "whatever the other's test score"
    before, after = to_markdown([table]).split(APART)
    assert "| a |" in before
    assert "| b |" in after
    assert [record["standing"] for record in records([table])] == ["confirmed", "not confirmed"]


@pytest.mark.parametrize("trainings", [1, 2])
def test_no_manifest_makes_fewer_trainings_than_three_a_confirmation(tmp_path: Path, trainings: int) -> None:
    run = write_run(tmp_path, manifest("a", seeds=(0,), steps=3, trainings=trainings), invalid_share=0.0, key=KEY)
    confirm(run, KEY, {0: (0.9,) * trainings})
    (table,) = build_tables([run])
    assert (table.rows[0].standing, table.rows[0].confirmed) == (RowStanding.PARTLY, None)


def test_a_manifest_that_names_one_set_of_hidden_data_puts_no_test_score_into_an_order_of_confirmed_ones(
    tmp_path: Path,
) -> None:
    """A stranger's did, and his row was the first by the luck of its search."""
    ours = write_run(tmp_path, manifest("a", seeds=(0,), steps=3), invalid_share=0.0, key=KEY)
    confirm(ours, KEY, {0: (0.5,) * 3})
    theirs = write_run(tmp_path, manifest("b", seeds=(0,), steps=3, trainings=0), scores={0: [(0.9, 0.9)] * 3})
    tables = build_tables([ours, theirs])
    assert [len(table.ordered) for table in tables] == [1, 1]
    assert sorted(record["ordered_by"] for record in records(tables)) == ["confirmed", "test"]
    assert "one set of hidden data, ordered by test" in to_markdown(tables)


def test_one_lucky_seed_of_ten_stands_below_those_that_it_ranks_below(tmp_path: Path) -> None:
    """Rows stood in the order of their means without failures: the first on the board had rank 2."""
    seeds, given = tuple(range(10)), {"lucky": 0.9, "solid": 0.8, "poor": 0.1}
    runs = [
        write_run(
            tmp_path, manifest(name, seeds=seeds, steps=1, agent=name, trainings=0),
            scores={seed: [None if name == "lucky" and seed else (score + seed / 1000,) * 2] for seed in seeds},
        )
        for name, score in given.items()
    ]  # fmt: skip
    (table,) = with_ranks(build_tables(runs))
    assert [(row.entry.agent, row.rank) for row in table.rows] == [("solid", "1"), ("lucky", "2-3"), ("poor", "2-3")]


def test_a_task_with_one_set_of_hidden_data_is_ordered_by_its_test_scores(tmp_path: Path) -> None:
    (table,) = build_tables([write_run(tmp_path, manifest("a", seeds=(0,), steps=3, trainings=0), invalid_share=0.0)])
    assert table.ordered == table.rows
    assert table.rows[0].deciding == table.rows[0].test


def test_normalized_scores_are_of_the_papers_sizes_and_of_real_data(tmp_path: Path) -> None:
    """cpu ListOps got 0.659, above the paper's best agents."""
    anchors = {"worst": 0.1, "optimum": 1.0, "sota": {"published": 0.8}}

    def cell(name: str, profile: str, *, synthetic: bool = False) -> tuple[object, str]:
        made = manifest(name, seeds=(0,), steps=3, anchors=anchors, trainings=0,
                        data={"hidden": {"sha256": "b" * 64, "bytes": 1}, "synthetic": synthetic})  # fmt: skip
        made = made.model_copy(update={"plan": made.plan.model_copy(update={"profile": profile})})
        (table,) = build_tables([write_run(tmp_path, made, invalid_share=0.0)])
        shown = next(column.shown for column in COLUMNS if column.name == "normalized")
        assert shown is not None
        return table.rows[0].normalized, shown.text(table.rows[0])

    assert cell("a", "cpu") == (None, "none: profile cpu")
    assert cell("b", "paper", synthetic=True) == (None, "none: synthetic data")
    found, text = cell("c", "paper")
    assert found is not None
    assert float(text) == pytest.approx(found.mean, abs=1e-3)  # type: ignore[attr-defined]


def test_the_noise_floor_is_drawn_or_said_to_be_unknown(tmp_path: Path) -> None:
    noise = {"deviation": 0.0285, "artifacts": 3, "trainings": 30, "measured": "2026-11-27", "hardware": "a processor"}
    older = manifest("a", seeds=(0,), steps=1, noise=noise | {"deviation": 0.5})
    newer = manifest("b", seeds=(1,), steps=1, noise=noise, created="2026-02-01T00:00:00+00:00")
    (table,) = build_tables([write_run(tmp_path, each) for each in (newer, older)])
    said = "standard deviation 0.0285 (30 trainings of 3 artifacts, 2026-11-27, a processor)"
    assert said in to_markdown([table]).replace("\\", "")
    assert records([table])[0]["noise_floor"] == 0.0285
    (bare,) = build_tables([write_run(tmp_path, manifest("c", seeds=(0,), steps=1))])
    assert "not measured for this task and profile" in to_markdown([bare])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {"spearman": 0.63, "low": 0.39, "high": 0.8, "trainings": 3, "training_s": 6.2},
            "One training does not rank random artifacts as another does: Spearman 0.63 (0.39 to 0.80), where 0.80 is due; "
            "the mean of about 3 would (19 s of one core each)",
        ),
        (
            {"spearman": 0.94, "low": 0.86, "high": 0.97, "trainings": 1, "training_s": 10.2},
            "One training ranks random artifacts as another does: Spearman 0.94 (0.86 to 0.97)",
        ),
    ],
)
def test_a_board_says_what_one_training_of_its_task_can_rank(
    tmp_path: Path, found: dict[str, float], said: str
) -> None:
    noise = {"deviation": 0.02, "artifacts": 3, "trainings": 30, "measured": "2026-11-27", "hardware": "a processor"}
    (table,) = build_tables([write_run(tmp_path, manifest("a", seeds=(0,), steps=1, noise=noise | {"ranks": found}))])
    assert noise_line(table).endswith(said)
    assert said in to_markdown([table]).replace("\\", "")


def test_standard_errors_of_estimated_scores_stand_beside_their_mean(tmp_path: Path) -> None:
    run = write_run(tmp_path, manifest("a", seeds=(0, 1), steps=1), invalid_share=0.0)
    for seed, error in ((0, 0.03), (1, 0.04)):
        scores = run.seed(seed).scores
        scores.append(replace(scores.read()[1], test=0.5, test_standard_error=error, validation_standard_error=None))
    (table,) = build_tables([run])
    assert table.rows[0].test == Spread(0.5, 0.0, 2, pytest.approx(0.025))
    assert table.rows[0].validation is not None
    assert table.rows[0].validation.standard_error is None
    assert "| 0.5000 +- 0.0000 (0.0250) |" in to_markdown([table])
    assert records([table])[0]["test_standard_error"] == pytest.approx(0.025)


@pytest.mark.parametrize("found_by", ["search", "confirmation"])
def test_an_unranked_submission_counts_as_none_and_enters_no_mean(tmp_path: Path, found_by: str) -> None:
    run = write_run(tmp_path, manifest("a", seeds=(0, 1), steps=1), invalid_share=0.0)
    place = run.seed(0)
    score = place.scores.read()[1]
    file = place.scores if found_by == "search" else place.confirmed
    file.append(replace(score, test=1.0, flags=("hard_wired",), unranked=("hard_wired",)))
    (table,) = build_tables([run])
    (row,) = table.rows
    other = run.seed(1).scores.read()[1]
    assert row.test == Spread(other.test, None, 1)
    assert row.best_test is not None
    assert row.best_test.mean < 1.0
    assert (row.unranked, row.valid_submission_rate, row.confirmed) == (1, 0.5, None)
    assert "unranked" in to_markdown([table])


def test_a_score_above_the_best_published_waits_for_its_confirmation(tmp_path: Path) -> None:
    run = write_run(tmp_path, manifest("a", seeds=(0, 1), steps=1, trainings=1), invalid_share=0.0)
    place = run.seed(0)
    score = replace(place.scores.read()[1], test=1.0, flags=("above_published_best",))
    place.scores.append(score)
    other = run.seed(1).scores.read()[1]
    (row,) = build_tables([run])[0].rows
    assert row.test == Spread(other.test, None, 1)
    assert (row.awaiting, row.unranked, row.valid_submission_rate) == (1, 0, 1.0)
    assert row.best_test is not None
    assert row.best_test.mean < 1.0
    assert "Awaits confirm: seeds whose submission scored above" in to_markdown(build_tables([run]))
    place.confirmed.append(score)
    (row,) = build_tables([run])[0].rows
    assert row.awaiting == 0
    assert row.test is not None
    assert row.test.count == 2


def test_boards_without_claims_have_no_column_for_them(tmp_path: Path) -> None:
    (table,) = build_tables([write_run(tmp_path, manifest("a", seeds=(0,), steps=2), invalid_share=0.0)])
    shown = to_markdown([table]).splitlines()
    pipes = {line.count("|") for line in shown if line.startswith("|")}
    assert len(pipes) == 1
    for absent in ("laimed - trusted", "verclaim", "lagged", "tokens", "cost", "NS"):
        assert absent not in "\n".join(shown)
    assert "Best test met: best of all steps" in shown[-1]


@pytest.mark.parametrize("columns", [None, 160, 80])
def test_no_cell_of_a_printed_board_is_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int | None
) -> None:
    if columns is not None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
    record = manifest("scripts", seeds=(0, 1), steps=3, metric="BPB", lower_is_better=True)
    print_tables(build_tables([write_run(tmp_path, record, invalid_share=0.0, claims={0: 0.0, 1: -0.05}, public=0.0)]))
    shown = Text.from_ansi(capsys.readouterr().out).plain
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert "0.0250 +- 0.0354" in shown
    assert columns is None or all(len(line) <= columns for line in shown.splitlines())


def test_a_board_too_wide_even_for_a_pipe_is_stacked_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    (table, _) = made_tables()
    print_tables([table])
    shown = capsys.readouterr().out
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    assert "run again 0 x5, 2 x2, 3 x2 and 2 more" in shown


def test_a_seed_without_a_valid_step_lowers_the_rate_and_leaves_the_means_alone(tmp_path: Path) -> None:
    good = manifest("good", seeds=(0,), steps=5)
    bad = manifest("bad", seeds=(1,), steps=5)
    runs = [write_run(tmp_path, good, invalid_share=0.0), write_run(tmp_path, bad, invalid_share=1.1)]
    (row,) = build_tables(runs)[0].rows
    assert row.valid_submission_rate == 0.5
    assert row.test is not None
    assert row.test.count == 1


def test_infrastructure_errors_are_counted_and_in_no_rate(tmp_path: Path) -> None:
    record = manifest("a", seeds=(0, 1, 2), steps=2)
    (table,) = build_tables([write_run(tmp_path, record, invalid_share=0.0, infra={1: True, 2: False})])
    (row,) = table.rows
    assert row.valid_submission_rate == 1.0
    assert row.valid_step_rate == 1.0
    assert (row.steps, row.infra_errors, row.retries) == (2, 4, 8)
    assert "| 2, 4 infra, 8 retried |" in to_markdown([table])
    alone = manifest("b", seeds=(1,), steps=1, agent="unlucky")
    (other,) = build_tables([write_run(tmp_path, alone, infra={1: True})])[0].rows
    assert (other.valid_submission_rate, other.valid_step_rate) == (None, None), "it says nothing of the agent"
    assert other.infra_errors == 1


@pytest.mark.parametrize(
    "change",
    [
        {"hardware_class": "another"},
        {"task_sha256": "f" * 64},
        {"images": {"agent": "agent:1", "evaluator": "evaluator:2"}},
        {"data": {"hidden": {"sha256": "e" * 64, "bytes": 1}}},
    ],
)
def test_what_must_not_be_compared_is_in_another_table(tmp_path: Path, change: dict[str, object]) -> None:
    runs = [
        write_run(tmp_path, manifest("a", seeds=(0,), steps=2)),
        write_run(tmp_path, manifest("b", seeds=(1,), steps=2, **change)),
    ]
    assert [len(table.rows) for table in build_tables(runs)] == [1, 1]


def test_a_seed_run_twice_is_two_replicates_and_none_takes_the_others_place(tmp_path: Path) -> None:
    first = write_run(tmp_path, manifest("first", seeds=(0,), steps=4), invalid_share=0.0)
    later = manifest("later", seeds=(0,), steps=4, created="2026-02-01T00:00:00+00:00")
    second = write_run(tmp_path, later, invalid_share=0.0)
    begun = manifest("begun", seeds=(0,), steps=4, created="2026-03-01T00:00:00+00:00")
    (table,) = build_tables([first, second, write_run(tmp_path, begun, end=False)])
    (row,) = table.rows
    assert (len(row.results), len(row.ended), row.seeds) == (3, 2, (0,))
    tests = [result.test for result in row.ended if result.test is not None]
    assert row.test == Spread(pytest.approx(statistics.fmean(tests)), None, 1), "of one seed there is no deviation"
    assert len(set(tests)) == 2
    assert "| 1 (2 of 3 runs) |" in to_markdown([table])
    (flat,) = records([table])
    assert (flat["seeds"], flat["replicates"], flat["replicates_ended"]) == (1, 3, 2)


def test_a_score_of_a_step_that_is_not_in_the_journal_is_ignored(tmp_path: Path) -> None:
    run = write_run(tmp_path, manifest("a", seeds=(0,), steps=3), invalid_share=0.0)
    scores = run.seed(0).scores
    before = build_tables([run])
    known = scores.read()[1]
    scores.append(type(known)(99, 1.0, 1.0, "1", "evaluator:1", 1.0))
    assert build_tables([run]) == before


def test_a_damaged_journal_stops_the_board_with_its_name(tmp_path: Path) -> None:
    run = write_run(tmp_path, manifest("a", seeds=(0,), steps=3))
    path = run.seed(0).journal
    path.write_bytes(path.read_bytes().replace(b'"steps"', b'"hours"'))
    with pytest.raises(RunStateError, match=r"journal\.jsonl"):
        build_tables([run])


def test_all_formats_say_the_same(tmp_path: Path) -> None:
    runs = [write_run(tmp_path, manifest(name, seeds=(0, 1), steps=4, agent=name)) for name in ("a", "b")]
    tables = build_tables(runs)
    as_json = json.loads(to_json(tables))
    as_csv = list(csv.DictReader(io.StringIO(to_csv(tables))))
    assert [row["agent"] for row in as_json] == [row["agent"] for row in as_csv]
    assert [row["test_mean"] for row in as_json] == [float(row["test_mean"]) for row in as_csv]
    assert to_markdown(tables).count("\n| ") == 2 + len(as_json)
    assert as_json == records(tables)
    assert sorted(path.suffix for path in write_board(tables, tmp_path)) == [".csv", ".json", ".md"]


def test_spread_of_one_value_has_no_deviation() -> None:
    one = spread([None, 2.0])
    assert one is not None
    assert (one.mean, one.deviation, one.count) == (2.0, None, 1)
    assert spread([None]) is None


def test_durations_are_short() -> None:
    assert [duration(value) for value in (3.21, 43.2, 303, 7800)] == ["3.2 s", "43 s", "5 min 3 s", "2 h 10 min"]


def test_runs_of_one_agent_with_unlike_isolation_are_rows_of_their_own(tmp_path: Path) -> None:
    apart = {role: Isolation("own trees", "tried") for role in ("agent", "fit")}
    runs = [
        write_run(tmp_path, manifest("old", seeds=(0,), steps=2)),
        write_run(tmp_path, manifest("trees", seeds=(1,), steps=2, isolation_of=apart)),
        write_run(tmp_path, manifest("mixed", seeds=(2,), steps=2, isolation_of=apart | {
            "predict": Isolation("dropped caches", "a GPU")})),
    ]  # fmt: skip
    (table,) = build_tables(runs)
    assert {row.entry.isolation: len(row.results) for row in table.rows} == {
        "shared": 1,
        "own trees": 1,
        "dropped caches": 1,
    }
    assert {record["isolation"] for record in records([table])} == {"shared", "own trees", "dropped caches"}
    assert "| own trees |" in to_markdown([table])


def test_a_run_without_a_wall_is_a_row_of_its_own_and_says_so(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path, manifest("all", seeds=(0,), steps=2)),
        write_run(tmp_path, manifest("one", seeds=(1,), steps=2, missing_walls=("memory",))),
        write_run(tmp_path, manifest("two", seeds=(2,), steps=2, missing_walls=("processes", "memory"))),
    ]
    (table,) = build_tables(runs)
    shown = {"shared", "shared, without memory", "shared, without processes, memory"}
    assert {row.entry.isolation for row in table.rows} == shown
    assert {record["isolation"] for record in records([table])} == shown
    assert "| shared, without processes, memory |" in to_markdown([table])


def test_a_stranger_s_noise_floor_is_nobody_else_s(tmp_path: Path) -> None:
    """It was the newest, so that one run of his, dated tomorrow, ordered everything, or nothing."""
    floor = {"artifacts": 2, "trainings": 40, "measured": "2026-01-01", "hardware": "x"}
    ours = manifest("a", seeds=(0,), steps=1, agent="a", noise=floor | {"deviation": 0.02})
    theirs = manifest("b", seeds=(0,), steps=1, agent="b", noise=floor | {"deviation": 50.0}, created="2099")
    runs = [write_run(tmp_path, ours, key=KEY), write_run(tmp_path, theirs, key=MachineKey(b"1" * 32))]
    (table,) = build_tables(runs, KeyRing(KEY.public))
    assert table.noise is not None
    assert table.noise.deviation == 0.02
    (alone,) = build_tables(runs[1:], KeyRing(KEY.public))
    assert alone.noise is not None
    assert alone.noise.deviation == 50.0


def test_who_ends_the_lucky_half_of_his_seeds_has_no_place_in_the_order(tmp_path: Path) -> None:
    """A run that was stopped once its first seeds were good was in the order by those alone."""
    plan = manifest("a", seeds=(0, 1), steps=1)
    run = write_run(tmp_path, plan, invalid_share=0.0, key=KEY, end=False)
    ended = write_run(tmp_path, manifest("b", seeds=(0,), steps=1), invalid_share=0.0, key=KEY)
    confirm(ended, KEY, {0: (0.9,) * 3})
    (table,) = build_tables([run, ended])
    assert [row.standing for row in table.rows] == [RowStanding.UNFINISHED]
    assert "| not finished (1 of 3) |" in to_markdown([table])
    (table,) = build_tables([ended])
    assert table.rows[0].standing is RowStanding.CONFIRMED


def test_trainings_under_two_keys_are_in_no_mean_together(tmp_path: Path) -> None:
    """A check under another key that was stopped half way: the section named the key, the mean was of both."""
    run = write_run(tmp_path, manifest("a", seeds=(0, 1), steps=1), invalid_share=0.0, key=KEY)
    confirm(run, KEY, {0: (0.2,) * 3, 1: (0.9,) * 3})
    confirm(run, KEY, {0: (0.1,) * 3}, hidden_key="f" * 64)
    (table,) = build_tables([run])
    (row,) = table.rows
    assert table.section.confirmed_under == f"key {'f' * 12}"
    assert (row.standing, row.confirmed) == (RowStanding.PARTLY, Spread(pytest.approx(0.1), None, 1))
    confirm(run, KEY, {1: (0.3,) * 3}, hidden_key="f" * 64)
    (row,) = build_tables([run])[0].rows
    assert row.standing is RowStanding.CONFIRMED
    assert row.confirmed is not None
    assert row.confirmed.mean == pytest.approx(0.2)
