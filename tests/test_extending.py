"""docs/extending.md does what it says: its boxes run in order in an empty folder, and its lists are whole."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

from aira_bench.tasks import metadata

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "extending.md"
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
