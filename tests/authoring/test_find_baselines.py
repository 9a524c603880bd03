"""What a check scores where the folder itself names nothing: the agent `baseline`, for every artifact it knows."""

from pathlib import Path

import pytest

from aira_bench.authoring.baseline import Gold, Solution, find_baselines
from aira_bench.authoring.templates import write_template
from aira_bench.errors import TaskError
from aira_bench.tasks.task import find_task, load_task


@pytest.mark.parametrize(
    ("task", "written"),
    [
        ("mad-2p", 'ARCHITECTURE = "mA,M,mA,M'),
        ("mad-3p", "ARCHITECTURE"),
        ("lra-listops", "GENOME"),
        ("lra-text-conf", "GENOME"),
    ],
)
def test_a_task_of_ours_is_scored_by_our_baseline(tmp_path: Path, task: str, written: str) -> None:
    (baseline,) = find_baselines(find_task(task), "cpu", None)
    assert isinstance(baseline, Solution)
    assert baseline.name == "the agent 'baseline'"
    code = baseline.code(tmp_path)
    compile(code, "solution.py", "exec")
    assert written in code
    assert baseline.code(tmp_path) == code, "the same each time"


def test_a_training_script_is_read_from_the_public_data(tmp_path: Path) -> None:
    (baseline,) = find_baselines(find_task("autoresearch"), "cpu", None)
    assert isinstance(baseline, Solution)
    (tmp_path / "train.py").write_text("DEPTH = 4\nprint(DEPTH)\n")
    assert "DEPTH = 4" in baseline.code(tmp_path)


def test_a_named_solution_goes_before_the_folder_s_and_gold_stands_beside_it(tmp_path: Path) -> None:
    folder = write_template("task", "DeepAccuracy", tmp_path).path
    (folder / "gold_submission.csv").write_text("label\n1\n")
    (tmp_path / "mine.py").write_text("print('mine')\n")
    named, gold = find_baselines(load_task(folder), "cpu", tmp_path / "mine.py")
    assert isinstance(named, Solution)
    assert (named.name, named.code(tmp_path)) == ("mine.py", "print('mine')\n")
    assert gold == Gold("gold_submission.csv", b"label\n1\n")
    own, _ = find_baselines(load_task(folder), "cpu", None)
    assert own.name == "baseline_solution.py"


def test_a_gold_submission_larger_than_the_artifact_may_be_is_refused(tmp_path: Path) -> None:
    folder = write_template("task", "DeepAccuracy", tmp_path).path
    (folder / "gold_submission.csv").write_text("1\n" * 40_000)
    with pytest.raises(TaskError, match=r"gold_submission\.csv cannot be scored: it has 80,000 bytes, at most 65,536"):
        find_baselines(load_task(folder), "cpu", None)
