"""Suites of downstream tasks as the paper has them, means with their errors, and evaluations on disk."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.cli.main import run_command_line
from aira_bench.errors import AiraError, RunStateError
from aira_bench.scaling.downstream import evaluated
from aira_bench.scaling.downstream.evaluated import StoredEvaluation
from aira_bench.scaling.downstream.render import notes, table_rows
from aira_bench.scaling.downstream.scores import PRINTED_SLACK, centred, evaluated_row, mean, published_rows
from aira_bench.scaling.downstream.suites import DownstreamSuite, find_suite, shipped_suites
from aira_contract.downstream import (
    DownstreamError,
    EvaluatedModel,
    MetricEstimate,
    NotEvaluated,
    TaskScores,
    read_line,
    to_line,
)

MODEL = EvaluatedModel(
    "mA-M", "toy", 4, 4, "ab" * 32, "cd" * 32, 32, "float32", None, 1234, {"lm_eval": "0.4.13"}, ("a note",)
)
SHOTS = {
    0: {"copa", "coqa", "lambada_openai", "openbookqa", "winogrande", "xwinograd_en"},
    3: {"agieval_lsat_ar"},
    10: {"arc_easy", "arc_challenge", "boolq", "commonsense_qa", "hellaswag", "piqa", "squadv2"},
}
"""Section 5 of the paper."""
NORMALIZED = {"openbookqa", "agieval_lsat_ar", "arc_easy", "arc_challenge", "hellaswag", "piqa"}


def scores(suite: DownstreamSuite, value: float, stderr: float | None = 0.01) -> tuple[TaskScores, ...]:
    return tuple(
        TaskScores(
            task.lm_eval, task.shots, 100,
            {name: MetricEstimate(value / task.unit, stderr and stderr / task.unit) for name in task.metrics}, "1", "ef", 1.0,
        )
        for task in suite.tasks
    )  # fmt: skip


def test_dclm_core_has_the_tasks_examples_and_metrics_of_section_5() -> None:
    suite = find_suite("dclm-core")
    assert {shots: {task.lm_eval for task in suite.tasks if task.shots == shots} for shots in SHOTS} == SHOTS
    assert {task.lm_eval for task in suite.tasks if task.metric == "acc_norm"} == NORMALIZED
    assert {task.lm_eval for task in suite.tasks if task.metric == "f1"} == {"coqa", "squadv2"}


def test_the_six_tasks_are_shown_without_examples_and_five_of_them_normalized() -> None:
    suite = find_suite("zero-shot-6")
    assert {task.lm_eval for task in suite.tasks} == {
        "hellaswag", "winogrande", "arc_easy", "arc_challenge", "piqa", "sciq",
    }  # fmt: skip
    assert {task.shots for task in suite.tasks} == {0}
    assert [task.name for task in suite.tasks if task.normalized is None] == ["WinoGrande"]


@pytest.mark.parametrize("name", shipped_suites())
def test_published_averages_are_those_of_published_scores(name: str) -> None:
    """In all 42 rows; with normalized accuracy but for four, which average six tasks (docs/reproduce.md)."""
    rows = published_rows(find_suite(name))
    assert len(rows) == 21
    for row in rows:
        assert row.average is not None
        assert row.printed[0] == pytest.approx(row.average.value, abs=PRINTED_SLACK)
    otherwise = [row for row in rows if row.printed_otherwise]
    if name == "dclm-core":
        assert not otherwise
        return
    assert {row.name for row in otherwise} == {
        "Nemotron-H Approx.", "Nemotron-2 Approx.", "Mamba (Mb + M)", "Composer (2Mb-M-3A)",
    }  # fmt: skip
    for row in otherwise:
        six = mean([*row.normalized.values(), row.scores["WinoGrande"]])
        assert row.printed[1] == pytest.approx(six.value, abs=PRINTED_SLACK)
    said = [line for line in notes(find_suite(name), rows) if "docs/reproduce.md" in line]
    assert len(said) == 4


def test_the_headline_differences_follow_from_the_rows() -> None:
    rows = {row.name: row.printed[1] for row in published_rows(find_suite("zero-shot-6"))}
    base = rows["Llama 3.2"]
    found = [rows[name] for name in ("AIRAf.-D (Str.)", "AIRAhybrid-D (Str.)")]
    assert base is not None
    assert [None if each is None else round(each - base, 1) for each in found] == [2.4, 3.8]


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 5)), min_size=1, max_size=20))
def test_a_mean_has_the_error_of_a_sum_of_independent_parts(parts: list[tuple[float, float]]) -> None:
    found = mean([MetricEstimate(*part) for part in parts])
    assert found.stderr is not None
    assert min(value for value, _ in parts) - 1e-9 <= found.value <= max(value for value, _ in parts) + 1e-9
    assert found.stderr == pytest.approx(math.sqrt(sum(error**2 for _, error in parts)) / len(parts))
    assert mean([*(MetricEstimate(*part) for part in parts), MetricEstimate(1.0, None)]).stderr is None


def test_centred_is_0_at_chance_and_100_at_all() -> None:
    for task in find_suite("dclm-core").tasks:
        assert centred(MetricEstimate(100 * task.chance, 1.0), task) == MetricEstimate(0, 1 / (1 - task.chance))
        assert centred(MetricEstimate(100, None), task).value == pytest.approx(100)


@pytest.mark.parametrize("name", shipped_suites())
def test_an_evaluation_is_a_row_in_percent_beside_the_published(name: str) -> None:
    suite = find_suite(name)
    whole = evaluated.StoredEvaluation(1, name, suite.sha256, MODEL, scores(suite, 0.5))
    row = evaluated_row("mine", suite, whole)
    assert row.average is not None
    assert row.average.value == pytest.approx(50)
    assert row.average.stderr == pytest.approx(1 / math.sqrt(len(suite.tasks)))
    cells = table_rows(suite, [row, *published_rows(suite)])
    assert {each["from"] for each in cells[1:]} == {f"published, Table {table}" for table in suite.published}
    assert cells[0]["from"] == "evaluated here"
    assert cells[0][suite.tasks[0].name].startswith("50.0 +- 1.0")
    part = evaluated_row("mine", suite, replace(whole, scores=whole.scores[1:]))
    assert (part.average, part.normalized_average, part.centred) == (None, None, None)
    assert table_rows(suite, [part])[0][suite.tasks[0].name].startswith("-")


def test_an_evaluation_is_gone_on_with_where_all_is_equal(tmp_path: Path) -> None:
    suite = find_suite("dclm-core")
    first, *others = scores(suite, 0.25, None)
    begun = evaluated.begun(suite, MODEL, evaluated.stored(tmp_path, suite))
    assert begun.scores == ()
    evaluated.write(evaluated.file_of(tmp_path, suite, MODEL), begun.with_scores(first))
    (again,) = evaluated.stored(tmp_path, suite)
    assert again.model == MODEL
    assert evaluated.begun(suite, MODEL, [again]).scores == (first,)
    changed: list[Mapping[str, Any]] = [
        {"weights_sha256": "0"}, {"versions": {"lm_eval": "0.5"}}, {"limit": 3}, {"dtype": "bfloat16"},
    ]  # fmt: skip
    for change in changed:
        assert evaluated.begun(suite, replace(MODEL, **change), [again]).scores == ()
    assert evaluated.begun(replace(suite, sha256="0"), MODEL, [again]).scores == ()
    limited = evaluated.file_of(tmp_path, suite, replace(MODEL, limit=3))
    assert limited.name == "dclm-core-step-00000004-limit-3.json"
    assert again.with_scores(others[0]).with_scores(replace(first, seconds=9.0)).of(first.task) == replace(
        first, seconds=9
    )


def test_an_evaluation_without_a_metric_is_named() -> None:
    suite = find_suite("zero-shot-6")
    first, *others = scores(suite, 0.5)
    bare = StoredEvaluation(1, suite.name, suite.sha256, MODEL, (replace(first, metrics={}), *others))
    with pytest.raises(RunStateError, match=r"The evaluation of mine has no acc of arc_challenge\."):
        evaluated_row("mine", suite, bare)


def test_a_damaged_evaluation_is_named(tmp_path: Path) -> None:
    suite = find_suite("dclm-core")
    path = evaluated.file_of(tmp_path, suite, MODEL)
    evaluated.write(path, evaluated.begun(suite, MODEL, []))
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"scores": [{"task": "copa"}]}))
    with pytest.raises(AiraError, match=r"is no evaluation: scores.0"):
        evaluated.stored(tmp_path, suite)


@pytest.mark.parametrize(
    "line", [MODEL, *scores(find_suite("zero-shot-6"), 0.1)[:1], NotEvaluated("copa", "no network")]
)
def test_lines_come_back_as_they_were(line: EvaluatedModel | TaskScores | NotEvaluated) -> None:
    assert read_line(to_line(line)) == line


@pytest.mark.parametrize("text", ["", "7", "{}", '{"kind": "scores"}', '{"kind": "other"}', "[1"])
def test_other_lines_are_refused(text: str) -> None:
    with pytest.raises(DownstreamError):
        read_line(text)


SUITE = """
schema = 1
title = "x"
source = ""
[[tasks]]
name = "X"
lm_eval = "x"
shots = 0
metric = "acc"
chance = 0.5
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SUITE.replace("shots = 0", "shots = -1"), "tasks.0.shots"),
        (SUITE.replace("chance = 0.5", "chance = 1.0"), "tasks.0.chance"),
        (SUITE + "extra = 1\n", "tasks.0.extra"),
        (SUITE.replace("schema = 1", "schema = 2"), "schema"),
        (SUITE[: SUITE.index("[[")], "tasks"),
        (SUITE + SUITE[SUITE.index("[[") :], "has a task of lm_eval twice"),
        (SUITE + SUITE[SUITE.index("[[") :].replace('lm_eval = "', 'lm_eval = "other_'), "has a name of a task twice"),
        ("= 1", "is no TOML"),
    ],
)
def test_a_suite_file_that_is_none_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "suite.toml").write_text(text)
    with pytest.raises(AiraError, match=said):
        find_suite(str(tmp_path))


def test_the_published_rows_are_shown_without_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["scale", "evaluate", "--suite", "zero-shot-6"]) == 0
    shown = capsys.readouterr()
    assert "published, Table 3" in shown.out
    assert "WinoGrande has no normalized accuracy" in shown.err
    assert "both choices have the same text behind them" in shown.err
    assert run_command_line(["scale", "evaluate", "--suite", "dclm-core", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 21


def test_what_cannot_be_evaluated_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["scale", "evaluate", str(tmp_path), "--suite", "nothing"]) == 2
    assert "there are dclm-core, zero-shot-6" in capsys.readouterr().err
    assert run_command_line(["scale", "evaluate", str(tmp_path), "--suite", "dclm-core"]) == 2
    assert "There is no training in" in capsys.readouterr().err
