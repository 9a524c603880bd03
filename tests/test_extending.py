"""docs/extending.md does what it says: its boxes run in order in an empty folder, and its lists are whole."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from aira_bench.authoring.baseline import find_baselines
from aira_bench.authoring.findings import Finding
from aira_bench.authoring.task_folder import check_files
from aira_bench.authoring.task_run import run_task
from aira_bench.authoring.templates import write_template
from aira_bench.cli.main import run_command_line
from aira_bench.record.node import StepClass
from aira_bench.tasks import metadata
from aira_bench.tasks.data_source import DataSource
from aira_bench.tasks.task import load_task
from host_sandbox import host_without_containers

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "extending.md"
EXAMPLE_TASK = ROOT / "harness" / "aira_bench" / "authoring" / "templates" / "task"
TEXT = PAGE.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Box:
    """One fenced block: a file whose first line is its name in a comment, or commands."""

    kind: str
    text: str

    @property
    def needs_containers(self) -> bool:
        return self.kind == "console containers"

    def write(self, folder: Path) -> None:
        name = self.text.split("\n")[0].removeprefix("# ")
        assert re.fullmatch(r"[a-z_]+\.(py|toml)", name), "a box begins with its file's name"
        (folder / name).write_text(self.text)

    @property
    def commands(self) -> list[str]:
        lines = self.text.splitlines()
        assert all(line.startswith("$ ") for line in lines), lines
        return [line[2:] for line in lines]


def boxes() -> list[Box]:
    return [Box(kind, text) for kind, text in re.findall(r"^```([a-z ]+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]


def run_boxes(folder: Path, call: Callable[[str], None], *, containers: bool) -> int:
    """Write the files of all boxes, or those without containers, and call their commands; return how many boxes."""
    chosen = [box for box in boxes() if containers or not box.needs_containers]
    for box in chosen:
        if box.kind.startswith("console"):
            for command in box.commands:
                call(command)
        else:
            box.write(folder)
    return len(chosen)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with a home, cards and a path of its own."""
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "place").mkdir()
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


def test_the_boxes_run_without_containers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(command: str) -> None:
        program, *arguments = shlex.split(command)
        if program == "aira-bench":
            assert run_command_line(arguments) == 0, capsys.readouterr().err
        else:
            subprocess.run([program, *arguments], check=True, timeout=60)

    assert run_boxes(place, call, containers=False) >= 12


@pytest.mark.docker
@pytest.mark.timeout(580)
def test_all_boxes_run_in_order(place: Path) -> None:
    def call(command: str) -> None:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=500, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    assert run_boxes(place, call, containers=True) >= 15


def schema_keys(model: type[BaseModel]) -> set[str]:
    """Every key that a metadata file may hold, at any depth."""
    keys: set[str] = set()
    for name, field in model.model_fields.items():
        keys.add(name)
        for part in vars(metadata).values():
            if isinstance(part, type) and issubclass(part, BaseModel) and part.__name__ in str(field.annotation):
                keys |= schema_keys(part)
    return keys


def test_every_key_of_the_metadata_is_on_the_page() -> None:
    table = TEXT.partition("### The keys of `metadata.yaml`")[2].partition("\n### ")[0]
    named = set(re.findall(r"`(?:[a-z_]+\.)?\.?([a-z0-9_]+)`", table))
    keys = schema_keys(metadata.TaskMetadata) - {"logging_info", "aira"}
    assert len(keys) > 50
    assert not keys - named


def test_every_option_of_the_scripts_is_on_the_page() -> None:
    for option in (
        "--global-shared-data-dir",
        "--agent-data-mount-dir",
        "--agent-log-dir",
        "--submission-file",
        "--report-file",
    ):
        assert f"`{option} " in TEXT


CHANGES = (
    "card", "provider", "scaffold", "task", "task family", "primitive", "board column", "step class", "Docker option",
    "another container engine", "image flavour", "metric", "journal field", "evaluation on another machine",
    "report page",
)  # fmt: skip


def changes() -> list[list[str]]:
    """The cells of the table of changes: change, new, changed, what is done."""
    table = TEXT.partition("## Fifteen changes")[2]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in rows[1:]]


def test_the_fifteen_changes_touch_at_most_three_files_each_and_these_exist() -> None:
    rows = changes()
    assert tuple(row[0] for row in rows) == CHANGES
    for change, new, changed, _ in rows:
        files = re.findall(r"`([^`]+)`", changed)
        assert len(files) <= 3, change
        beside = re.findall(r"`([^`]+/[^`]*)`", new)
        for name in [*files, *beside]:
            place = EXAMPLE_TASK / name if change == "metric" else ROOT / name
            assert place.exists(), f"{change}: {name}"
            assert place.is_dir() == name.endswith("/"), f"{change}: {name}"


def test_every_step_class_is_explained() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("## What becomes of a step")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)) == set(get_args(StepClass))


def test_a_metric_is_changed_in_three_files(tmp_path: Path) -> None:
    """The template's accuracy becomes an error rate: lower is better, and its name is another everywhere."""
    folder = write_template("task", "BracketsErrorRate", tmp_path).path
    edits = {
        "metadata.yaml": [
            ("metric_lower_is_better: false", "metric_lower_is_better: true"),
            ("metric: Accuracy", "metric: ErrorRate"),
            ("optimal_score: 1.0", "optimal_score: 0.0"),
        ],
        "evaluate.py": [('METRIC = "Accuracy"', 'METRIC = "ErrorRate"'), ("sum(right)", "(len(right) - sum(right))")],
        "project_description.md": [("Accuracy: the share of right labels", "ErrorRate: the share of wrong labels")],
    }
    assert set(edits) == set(re.findall(r"`([^`]+)`", next(row[2] for row in changes() if row[0] == "metric")))
    for name, replacements in edits.items():
        for old, new in replacements:
            text = (folder / name).read_text()
            assert old in text
            (folder / name).write_text(text.replace(old, new))
    findings: list[Finding] = []
    host, _, _ = host_without_containers(tmp_path)
    task = load_task(folder)
    check_files(task, findings.append)
    baselines = find_baselines(task, "cpu", None)
    score = run_task(host, task, "cpu", DataSource(), baselines, lambda text: None, findings.append)
    assert task.metric == "ErrorRate"
    assert 0 < score < 0.3
    assert not [finding for finding in findings if finding.is_remark and "sota" not in finding.seen]
