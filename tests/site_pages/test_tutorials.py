"""The boxes of the tutorials do what they say: each command is run or at least parsed, and what it prints is what is shown.

Boxes marked `demo` are run on the run that the pages were written from, which lies beside them as a pack; unmarked ones in
an empty folder. Boxes marked `containers` are parsed alone: tests/test_extending.py and tests/test_end_to_end.py run such.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from cli.test_documented_commands import problem, usable

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
PAGES = sorted(TUTORIALS.glob("*.md"))
PACK = TUTORIALS / "demo.tar.gz"
LEFT_OUT = "..."


@dataclass(frozen=True)
class Typed:
    """One command of a box, and the lines that are shown below it; none where nothing is shown."""

    command: str
    shown: tuple[str, ...]

    def require(self, printed: str) -> None:
        """Whether what was printed is what is shown, but for what a line of three dots leaves out."""
        parts = "\n".join(self.shown).split(LEFT_OUT)
        spelt = ".*".join(re.escape("\n".join(map(str.rstrip, part.strip("\n").split("\n")))) for part in parts)
        real = "\n".join(map(str.rstrip, printed.strip("\n").split("\n")))
        assert re.fullmatch(spelt, real, re.DOTALL), f"{self.command} prints\n{real}"


@dataclass(frozen=True)
class Box:
    """A block of a page: commands, or a file whose first line is its name in a comment."""

    kind: str
    text: str

    @property
    def commands(self) -> list[Typed]:
        parts = re.split(r"^\$ ", self.text, flags=re.MULTILINE)
        assert parts[0] == "", "a box begins with a command"
        lines = [part.rstrip("\n").split("\n") for part in parts[1:]]
        return [Typed(first, tuple(shown)) for first, *shown in lines]


def boxes(page: Path) -> list[Box]:
    found = re.findall(r"^```([a-z ]+)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Box(kind, text) for kind, text in found]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("AIRA_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(typed: Typed, capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = shlex.split(typed.command)
    assert program == "aira-bench"
    capsys.readouterr()
    status = run_command_line(arguments)
    done = capsys.readouterr()
    assert status == 0, done.err
    if typed.shown:
        typed.require(done.out + done.err)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_boxes_run_and_print_what_is_shown(page: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = 0
    for box in boxes(page):
        if box.kind in ("python", "toml"):
            name = box.text.split("\n")[0].removeprefix("# ")
            assert re.fullmatch(r"[a-z_]+\.(py|toml)", name), "a box begins with its file's name"
            (place / name).write_text(box.text)
        elif box.kind in ("console", "console demo"):
            if box.kind == "console demo" and not (place / "runs" / "demo").exists():
                key = re.search(r"--signed-by (\S+)", page.read_text(encoding="utf-8"))
                assert key
                assert run_command_line(["merge", str(PACK), "--signed-by", key[1]]) == 0
            for typed in box.commands:
                run(typed, capsys)
                ran += 1
        else:
            assert box.kind == "console containers", box.kind
    assert ran or page.stem == "paper_suite"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_all_boxes_can_be_typed(page: Path) -> None:
    typed = [each.command for box in boxes(page) if box.kind.startswith("console") for each in box.commands]
    wrong = {command: said for command in typed if (words := usable(command)) is not None and (said := problem(words))}
    assert typed
    assert not wrong


def test_a_file_that_is_a_solution_makes_what_the_task_wants(tmp_path: Path) -> None:
    (text,) = [box.text for box in boxes(TUTORIALS / "own_agent.md") if box.text.startswith("# all_attention.py")]
    subprocess.run([sys.executable, "-c", text], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "submission.csv").read_text() == 'architecture\n"' + ",".join(["mA"] * 16) + '"\n'


def test_a_suite_of_a_page_is_a_suite(place: Path) -> None:
    from aira_bench.suites.suite_file import read_suite

    for page in PAGES:
        for box in boxes(page):
            if "[[matrix]]" in box.text:
                name = box.text.split("\n")[0].removeprefix("# ")
                (place / name).write_text(box.text)
                assert read_suite(str(place / name)).cells


@pytest.mark.parametrize(
    ("shown", "printed", "fits"),
    [
        (("a", "b"), "a\nb\n", True),
        (("a", "b"), "a\nb\nc\n", False),
        (("a", "..."), "a\nb\nc\n", True),
        (("...", "b", "..."), "a\nb\nc\n", True),
        (("...", "c", "b", "..."), "a\nb\nc\n", False),
        (("a.*",), "abc", False),
    ],
)
def test_what_is_shown_is_compared(shown: tuple[str, ...], printed: str, fits: bool) -> None:
    typed = Typed("aira-bench", shown)
    if fits:
        typed.require(printed)
    else:
        with pytest.raises(AssertionError):
            typed.require(printed)
