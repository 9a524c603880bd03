"""docs/extending.md does what it says: its boxes run in order in an empty folder, and its lists are whole."""

import os
import re
import subprocess
import sys
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
from aira_bench.record.node import StepClass
from aira_bench.tasks import metadata
from aira_bench.tasks.sources import DataSource
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

    def run(self, folder: Path, environment: dict[str, str]) -> None:
        if not self.kind.startswith("console"):
            name = self.text.split("\n")[0].removeprefix("# ")
            assert re.fullmatch(r"[a-z_]+\.(py|toml)", name), "a box begins with its file's name"
            (folder / name).write_text(self.text)
            return
        for line in self.text.splitlines():
            assert line.startswith("$ "), line
            done = subprocess.run(
                ["sh", "-c", line[2:]], cwd=folder, env=environment, capture_output=True, text=True, timeout=500,
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def boxes() -> list[Box]:
    return [Box(kind, text) for kind, text in re.findall(r"^```([a-z ]+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]


def run_boxes(folder: Path, *, containers: bool) -> int:
    """Run all boxes, or those without containers; return how many."""
    place = folder / "place"
    place.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environment = {
        **kept, "AIRA_HOME": str(folder / "home"), "XDG_CONFIG_HOME": str(folder / "config"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    chosen = [box for box in boxes() if containers or not box.needs_containers]
    for box in chosen:
        box.run(place, environment)
    return len(chosen)


def test_the_boxes_run_without_containers(tmp_path: Path) -> None:
    assert run_boxes(tmp_path, containers=False) >= 12


@pytest.mark.docker
@pytest.mark.timeout(580)
def test_all_boxes_run_in_order(tmp_path: Path) -> None:
    assert run_boxes(tmp_path, containers=True) >= 16


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
    host, _ = host_without_containers(tmp_path)
    task = load_task(folder)
    check_files(task, findings.append)
    baselines = find_baselines(task, "cpu", None)
    score = run_task(host, task, "cpu", DataSource(), baselines, lambda text: None, findings.append)
    assert task.metric == "ErrorRate"
    assert 0 < score < 0.3
    assert not [finding for finding in findings if finding.is_remark and "sota" not in finding.seen]
