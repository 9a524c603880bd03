"""Checking a task folder: the template passes, and every fault that an author makes is one line that names it."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from broken_folders import BY_LOOKING, BY_RUNNING, replace, working_folder, write

from aira_bench.authoring.baseline import find_baselines
from aira_bench.authoring.findings import Finding
from aira_bench.authoring.task_folder import check_files
from aira_bench.authoring.task_run import run_task, with_timeout
from aira_bench.cli.main import run_command_line
from aira_bench.errors import PrerequisiteError, TaskError, UsageError
from aira_bench.tasks.data_source import choose_source
from aira_bench.tasks.task import Task, load_task, shipped_tasks
from aira_contract.settings import ProfileName
from host_sandbox import host_without_containers

PARITY = Path(__file__).parents[1] / "folders" / "ParityClassificationAccuracy"
PARITY_SOLUTION = PARITY.parent / "parity_solution.py"


def check(
    folder: Path, place: Path, *, source: Path | None = None, solution: Path | None = None, profile: ProfileName = "cpu"
) -> tuple[float, list[Finding], list[str]]:
    """What `aira-bench check` does with a folder, in processes of this machine."""
    findings: list[Finding] = []
    host, sandbox, roles = host_without_containers(place)
    task = load_task(folder)
    check_files(task, findings.append)
    baselines = find_baselines(task, profile, solution)
    chosen = choose_source(task, None if source is None else str(source))
    score = run_task(host, task, profile, chosen, baselines, lambda text: None, findings.append)
    assert not sandbox.containers
    return score, findings, roles


def remarks(findings: list[Finding]) -> list[str]:
    return [f"{finding.check}: {finding.seen}" for finding in findings if finding.is_remark]


def parity_data(root: Path) -> Path:
    folder = root / "raw" / "Example" / "parity" / "default"
    folder.mkdir(parents=True)
    for split, rows in (("train", 40), ("test", 200)):
        lines = [f"{number:08b},{number.bit_count() % 2}" for number in range(rows)]
        (folder / f"{split}.csv").write_text("\n".join(["bits,label", *lines]) + "\n")
    for path in (root / "raw", *(root / "raw").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return root / "raw"


def test_the_template_passes_as_it_is_written(tmp_path: Path) -> None:
    score, findings, roles = check(working_folder(tmp_path / "tasks"), tmp_path)
    assert 0.7 < score < 1
    assert remarks(findings) == ["metadata.yaml: without an entry of sota boards show no normalized score"]
    assert roles == ["prepare", "prepare", "agent", *["judge"] * 4], "scored, empty, cut, and once more"
    assert not list((tmp_path / "home" / "checks").iterdir()), "labels are not left behind"


@pytest.mark.parametrize("name", BY_LOOKING)
def test_a_fault_of_the_files_is_one_line_without_running_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    folder = working_folder(tmp_path)
    BY_LOOKING[name].break_it(folder)
    assert run_command_line(["check", str(folder), "--files-only"]) == 4
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 1, shown
    assert str(folder) in shown[0]
    assert all(part in shown[0] for part in BY_LOOKING[name].said), shown[0]


@pytest.mark.parametrize("name", BY_RUNNING)
def test_a_fault_of_a_script_is_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    folder = working_folder(tmp_path / "tasks")
    BY_RUNNING[name].break_it(folder)
    with pytest.raises(TaskError) as caught:
        check(folder, tmp_path)
    said = str(caught.value)
    assert "\n" not in said
    assert all(part in said for part in BY_RUNNING[name].said), said
    assert not list((tmp_path / "home" / "checks").iterdir())


@pytest.mark.parametrize("task", shipped_tasks(), ids=lambda task: task.title)
def test_the_files_of_every_shipped_task_are_in_order(task: Task) -> None:
    findings: list[Finding] = []
    check_files(task, findings.append)
    assert {remark.partition(": ")[2] for remark in remarks(findings)} <= {
        "without an entry of sota boards show no normalized score"
    }


def test_an_upstream_folder_passes_with_a_source_and_a_solution(tmp_path: Path) -> None:
    score, findings, _ = check(PARITY, tmp_path, source=parity_data(tmp_path), solution=PARITY_SOLUTION)
    assert score == 1.0
    assert not remarks(findings)


def test_without_raw_data_the_next_command_says_how_to_give_it(tmp_path: Path) -> None:
    with pytest.raises(PrerequisiteError, match=r"Raw data .* is missing.*--source DIR"):
        check(PARITY, tmp_path, solution=PARITY_SOLUTION)


def test_a_folder_with_nothing_to_score_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["check", str(PARITY), "--source", str(parity_data(tmp_path))]) == 2
    said = capsys.readouterr().err
    assert "baseline_solution.py" in said
    assert "gold_submission.csv" in said
    assert f"aira-bench check {PARITY} --solution FILE.py" in said


def test_a_solution_that_cannot_be_read_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.py cannot be read"):
        find_baselines(load_task(PARITY), "cpu", tmp_path / "absent.py")


def test_a_gold_submission_alone_is_a_baseline(tmp_path: Path) -> None:
    folder = working_folder(tmp_path / "tasks")
    (folder / "baseline_solution.py").unlink()
    examples = runpy.run_path(str(folder / "examples.py"))
    labels = [str(label) for _, label in examples["draw"](examples["TEST_SEED"], examples["TEST_ROWS"])]
    write("gold_submission.csv", "\n".join(["label", *labels]) + "\n")(folder)
    score, findings, _ = check(folder, tmp_path)
    assert score == 1.0
    assert not any("optimal_score" in remark for remark in remarks(findings))


def test_what_an_author_probably_did_not_mean_is_a_remark(tmp_path: Path) -> None:
    folder = working_folder(tmp_path / "tasks")
    for change in (
        replace("metadata.yaml", "estimated_worst_score: 0.5", "estimated_worst_score: 0.95"),
        replace("metadata.yaml", "sota: []", "sota: [{sota_paper_url: 'https://x', sota_score: 0.9}]"),
        replace("project_description.md", "submission.csv", "answers.csv"),
        replace("evaluate.py", "        raise ValueError(f\"{len(lines)} labels, expected {rows}\")",
                "        lines = lines + ['0'] * (rows - len(lines)) if lines else sys.exit(2)"),
        replace("evaluate.py", "import os\n", "import os\nimport random\nimport sys\n"),
        replace("evaluate.py", "    return sum(right) / len(right)",
                "    return sum(right) / len(right) - random.SystemRandom().random() / 100"),
        replace("prepare.py", "import csv", 'import csv\n\nCACHE = "/home/author/cache"\n'),
    ):  # fmt: skip
        change(folder)
    _, findings, _ = check(folder, tmp_path)
    said = "\n".join(remarks(findings))
    for part in (
        "sota_score 0.9 is no better than estimated_worst_score 0.95",
        "worse than estimated_worst_score 0.95",
        "project_description.md: never names the artifact, submission.csv",
        "scored a submission.csv cut to half its lines",
        "gave the same submission.csv",
        "no container has the path /home/author/cache",
    ):
        assert part in said, said


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
    ],
    ids=["windows newlines", "byte order mark", "both"],
)
def test_a_folder_from_a_windows_editor_passes(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    folder = working_folder(tmp_path / "tasks")
    for path in folder.iterdir():
        path.write_bytes(change(path.read_bytes()))
    score, _, _ = check(folder, tmp_path)
    assert 0.7 < score < 1


def test_labels_that_no_column_equals_are_not_found(tmp_path: Path) -> None:
    """The limit of what can be seen, which docs/extending.md states: sorted otherwise, labels pass."""
    folder = working_folder(tmp_path / "tasks")
    replace("prepare.py", '["text"], [{"text": text} for text, _ in',
            '["text", "id"], [{"text": text, "id": 7 - 3 * _} for text, _ in')(folder)  # fmt: skip
    check(folder, tmp_path)


def test_a_cap_on_time_holds_for_every_script(tmp_path: Path) -> None:
    task = load_task(working_folder(tmp_path))
    capped = with_timeout(task, 50.0)
    profile = capped.profile("cpu")
    assert (profile.step_timeout_s, profile.evaluation_timeout_s, profile.prepare_timeout_s) == (50.0, 50.0, 50.0)
    assert capped.profile("paper").hours == task.profile("paper").hours
    assert with_timeout(task, 1e6).metadata == task.metadata
    assert capped.sha256 == task.sha256
