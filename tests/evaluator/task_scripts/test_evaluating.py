"""The one body of every `evaluate.py`: exit statuses, what stands on which stream, the report."""

import json
import math
from pathlib import Path

import pytest

from aira_contract.compatibility import EVALUATORS
from aira_contract.invocation import FAILED, REFUSED
from aira_contract.reports import RESULT_MARKER
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.evaluating import (
    EvaluateScript,
    EvaluationRequest,
    EvaluationResult,
    PathOption,
)
from aira_evaluator.task_scripts.failing import failed
from aira_evaluator.task_scripts.hidden import HiddenSeeds, hidden_folder
from aira_evaluator.task_scripts.settings import profile_in_force, seed_set_in_force, source_in_force

Captured = pytest.CaptureFixture[str]
FOUND = EvaluationResult(0.25, 0.5, "search", {"tasks": 6})


class NoModel(Exception):
    """What this family raises where a submission has no score."""


SCRIPT = EvaluateScript("Score.", "Accuracy", "submission.csv", NoModel, kind="csv")


def evaluate(script: EvaluateScript, outcome: EvaluationResult | Exception, *arguments: str) -> int:
    def score(asked: EvaluationRequest) -> EvaluationResult:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return script.run(score, arguments)


def test_a_score_is_the_last_thing_printed_and_status_0(capsys: Captured) -> None:
    assert evaluate(SCRIPT, FOUND) == 0
    printed = capsys.readouterr()
    before, after = printed.out.split(RESULT_MARKER)
    assert before == ""
    assert json.loads(after) == {"Accuracy": 0.5}
    assert printed.err == ""


def test_a_report_is_written_where_it_is_asked_for_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert evaluate(SCRIPT, FOUND) == 0
    assert list(tmp_path.iterdir()) == []
    assert evaluate(SCRIPT, FOUND, "--report-file", "report.json") == 0
    report = json.loads((tmp_path / "report.json").read_text())
    seconds = report.pop("seconds")
    assert 0 <= seconds < 60
    assert report == {
        "schema": 1,
        "validation": 0.25,
        "test": 0.5,
        "public": None,
        "details": {"tasks": 6},
        "evaluator_version": str(EVALUATORS["csv"]),
        "seed_set": "search",
    }


def test_a_reports_entries_stand_in_one_order_whatever_the_family_adds() -> None:
    found = EvaluationResult(0.1, 0.2, "final", {}, canonical="M,mA", more={"flags": ["quadratic"], "remarks": []})
    assert list(found.report(2, 1.23456)) == [
        *("schema", "canonical", "validation", "test", "public", "flags", "remarks"),
        *("details", "evaluator_version", "seed_set", "seconds"),
    ]
    assert found.report(2, 1.23456)["seconds"] == 1.235
    assert "canonical" not in FOUND.report(2, 0)


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (NoModel("it has no layers"), 2, "submission.csv: it has no layers"),
        (DataError("data/train is not whole"), 1, "evaluate: data/train is not whole"),
        (TimeoutError("no predict container came"), 1, "evaluate: no predict container came"),
        (FileNotFoundError(2, "No such file", "data"), 1, "evaluate: [Errno 2] No such file: 'data'"),
    ],
)
def test_what_failed_is_one_line_and_says_by_its_status_whose_failure_it_is(
    capsys: Captured, tmp_path: Path, error: Exception, status: int, line: str
) -> None:
    report = tmp_path / "report.json"
    assert evaluate(SCRIPT, error, "--report-file", str(report)) == status
    printed = capsys.readouterr()
    assert printed.err == line + "\n"
    assert printed.out == ""
    assert not report.exists()


def test_a_failure_nobody_foresaw_is_no_refusal() -> None:
    with pytest.raises(ZeroDivisionError):
        evaluate(SCRIPT, ZeroDivisionError())


@pytest.mark.parametrize(
    ("form", "line"),
    [("{file}", "mine.csv: why"), ("{file}: error", "mine.csv: error: why"), ("model.py", "model.py: why")],
)
def test_a_family_says_how_its_refusals_begin(capsys: Captured, form: str, line: str) -> None:
    script = EvaluateScript("", "Accuracy", "submission.csv", NoModel, form, kind="csv")
    assert evaluate(script, NoModel("why"), "--submission-file", "data/mine.csv") == 2
    assert capsys.readouterr().err == line + "\n"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_never_becomes_a_score(capsys: Captured, tmp_path: Path, value: float) -> None:
    report = tmp_path / "report.json"
    with pytest.raises(ValueError, match="not JSON compliant"):
        evaluate(SCRIPT, EvaluationResult(0.5, 0.5, "search", {"loss": value}), "--report-file", str(report))
    assert not report.exists()
    with pytest.raises(ValueError, match="not JSON compliant"):
        evaluate(SCRIPT, EvaluationResult(0.5, value, "search", {}))
    assert "Accuracy" not in capsys.readouterr().out


def test_options_of_a_family_reach_it_under_their_flags() -> None:
    sockets = PathOption("--sockets", Path("/sockets"), "a folder")
    programs = PathOption("--programs-file", None, "a file")
    script = EvaluateScript("", "BPB", "train.py", NoModel, options=(sockets, programs), kind="csv")
    asked: list[EvaluationRequest] = []

    def score(request: EvaluationRequest) -> EvaluationResult:
        asked.append(request)
        return FOUND

    script.run(score, [])
    script.run(score, ["--sockets", "here", "--programs-file", "kept.tar", "--submission-file", "other.py"])
    assert [request.submission for request in asked] == [Path("train.py"), Path("other.py")]
    assert asked[0].paths == {"--sockets": Path("/sockets"), "--programs-file": None}
    assert asked[1].paths == {"--sockets": Path("here"), "--programs-file": Path("kept.tar")}
    assert {request.data for request in asked} == {Path("data")}
    assert asked[0].started_s <= asked[1].started_s


@pytest.mark.parametrize("arguments", [["--submission"], ["stray"], ["--sockets", "x"]])
def test_a_wrong_command_line_is_status_2_before_anything_is_scored(arguments: list[str]) -> None:
    def score(asked: EvaluationRequest) -> EvaluationResult:
        raise AssertionError("scored")

    with pytest.raises(SystemExit) as ended:
        SCRIPT.run(score, arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize(("status", "given"), [(FAILED, ()), (REFUSED, (REFUSED,))])
def test_a_message_of_pages_is_told_as_one_short_line(capsys: Captured, status: int, given: tuple[int, ...]) -> None:
    error = ValueError("first line\n\tsecond   line\r\n" + "x" * 10_000)
    assert failed("model.py", error, *given) == status
    line = capsys.readouterr().err
    assert line.startswith("model.py: first line second line xxx")
    assert line.count("\n") == 1
    assert len(line) == len("model.py: ") + 500 + 1


def test_settings_come_from_the_environment_and_each_has_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRA_PROFILE", "AIRA_SEED_SET", "AIRA_DATA_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    assert (profile_in_force(["cpu", "paper"]), seed_set_in_force(), source_in_force()) == ("paper", "search", "public")
    monkeypatch.setenv("AIRA_PROFILE", "cpu")
    monkeypatch.setenv("AIRA_SEED_SET", "final")
    monkeypatch.setenv("AIRA_DATA_SOURCE", "synthetic")
    assert (profile_in_force({"cpu": 1}), seed_set_in_force(), source_in_force()) == ("cpu", "final", "synthetic")


@pytest.mark.parametrize("value", ["", "CPU", "cpu ", "papers", "search"])
def test_a_profile_is_refused_with_what_there_is(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("AIRA_PROFILE", value)
    with pytest.raises(DataError) as refused:
        profile_in_force(name for name in ("cpu", "paper"))
    assert str(refused.value) == f"AIRA_PROFILE is {value!r}, expected one of cpu, paper"


def test_a_task_without_the_default_profile_needs_it_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRA_PROFILE", raising=False)
    with pytest.raises(DataError, match="is 'paper', expected one of tiny"):
        profile_in_force(["tiny"])


def test_a_hidden_split_has_a_folder_of_its_own_and_its_training_seed_draws_no_data() -> None:
    seeds = HiddenSeeds(validation=1, test=2, training=3)
    assert seeds.by_split() == {"validation": 1, "test": 2}
    folders = {hidden_folder(Path("data"), split, name) for split in seeds.by_split() for name in ("search", "final")}
    assert len(folders) == 4
    assert hidden_folder(Path("data"), "test", "final") == Path("data/test_with_labels/final")
