"""How this repository is kept: messages of commits, the changelog, the log, what a citation says, spelling."""

import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from aira_bench.version import __version__

ROOT = Path(__file__).resolve().parents[1]
RELEASE = re.compile(r"^## (\d+\.\d+\.\d+) - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)


def refused(message: str, *, path: Path) -> bool:
    """Whether the hook of .pre-commit-config.yaml stops a commit with this message."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks: list[dict[str, Any]] = [hook for repository in config["repos"] for hook in repository["hooks"]]
    (hook,) = [hook for hook in hooks if hook["id"] == "commit-message"]
    assert "commit-msg" in config["default_install_hook_types"]
    assert (hook["language"], hook["stages"]) == ("pygrep", ["commit-msg"])
    path.write_text(message)
    command = [sys.executable, "-m", "pre_commit.languages.pygrep", *hook["args"], hook["entry"], str(path)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode != 0


@pytest.mark.parametrize(
    ("message", "stopped"),
    [
        ("Say why\n\nBecause nobody knew.\n", False),
        ("x" * 72 + "\n\nBecause nobody knew.\n", False),
        ("x" * 73 + "\n\nBecause nobody knew.\n", True),
        ("Say what alone\n", True),
        ("Say what alone\n\n# Please enter the commit message.\n#\n", True),
        ("Say why\n\n# a comment of git\n\nBecause nobody knew.\n", False),
        ("Run on into\nthe second line\n\nand then a body\n", True),
        ("\n\nNo subject\n", True),
        ("Merge branch 'other'\n", False),
        ('Revert "Say why"\n\nThis reverts commit 0123.\n', False),
    ],
)
def test_a_commit_says_what_in_72_characters_and_then_why(message: str, stopped: bool, tmp_path: Path) -> None:
    assert refused(message, path=tmp_path / "message") == stopped


def test_the_changelog_is_by_version_and_area() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert sections[0].startswith("Unreleased\n")
    releases = RELEASE.findall(text)
    assert len(releases) == len(sections) - 1, "every other heading is a version and its date"
    versions = [tuple(map(int, version.split("."))) for version, _ in releases]
    assert versions == sorted(set(versions), reverse=True)
    assert [released for _, released in releases] == sorted((released for _, released in releases), reverse=True)
    for section in sections:
        areas = re.findall(r"^### (.+)$", section, re.MULTILINE)
        assert len(set(areas)) == len(areas), section[:40]
        first_area = section.find("### ")
        assert "\n- " not in section[: first_area if first_area >= 0 else None], "each line stands in an area"


def test_the_version_is_the_next_after_the_last_release() -> None:
    last = RELEASE.search((ROOT / "CHANGELOG.md").read_text())
    assert last is not None
    number = tuple(map(int, re.findall(r"\d+", __version__)[:3]))
    released = tuple(map(int, last[1].split(".")))
    assert number > released if "dev" in __version__ else number == released


def test_the_citation_is_of_the_last_release_and_names_no_person() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    last = RELEASE.search((ROOT / "CHANGELOG.md").read_text())
    assert last is not None
    assert (str(cited["version"]), str(cited["date-released"])) == last.groups()
    assert cited["authors"] == [{"name": "The aira-bench authors"}]
    assert {"cff-version", "message", "title", "authors", "license", "type"} <= cited.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["license"] == project["license"]
    assert all(url.startswith("https://") for url in project["urls"].values())


def test_the_log_is_dated_newest_first() -> None:
    text = (ROOT / "docs" / "log.md").read_text()
    dates = [date.fromisoformat(found) for found in re.findall(r"^## (\d{4}-\d{2}-\d{2})$", text, re.MULTILINE)]
    assert dates
    assert dates == sorted(set(dates), reverse=True)
    assert "*Negative:*" in text


def test_nothing_is_misspelt() -> None:
    program = Path(sys.executable).parent / "typos"
    if not program.exists():
        pytest.skip("typos is not installed; make check runs it")
    done = subprocess.run(
        [program, "--format", "brief"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_run_without_a_model_loads_nothing_that_only_models_and_downloads_need() -> None:
    """Some 5 MiB of 64 seeds' memory."""
    modules = "aira_bench.cli.run, aira_bench.cli.forecast, aira_bench.runs.launch, aira_bench.runs.connect"
    program = f"import sys, {modules}; print(*sys.modules)"
    loaded = set(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    )
    assert "aira_bench.agents.catalog" in loaded
    assert not loaded & {"httpx2", "jinja2", "markdown_it", "tenacity"}
