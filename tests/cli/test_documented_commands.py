"""Commands that documents, help texts and errors tell users to type are commands that there are.

Only the command line is parsed; whether a run or a task of that name exists is another question. What stands for something
(RUN, TASK, N, `...`) is taken as the user's.
"""

import argparse
import ast
import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from aira_bench.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SAMPLES = {"N": "3", "USD": "1.5", "SECONDS": "60", "DIR": "folder", "FILE": "file", "X": "0.5", "K": "3"}
"""What a word in capitals stands for where its option wants a number."""
HISTORY = {"CHANGELOG.md"}


PARSER = build_parser()


def sub_parsers() -> dict[str, argparse.ArgumentParser]:
    actions = [action for action in PARSER._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(actions[0].choices)


def in_blocks(text: str) -> Iterator[str]:
    """Commands that stand on lines of their own, indented as code; a line that ends in a backslash goes on."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        if match := re.match(r" {2,}(?:\$ )?(?:\.venv/bin/)?(aira-bench .*)$", line):
            yield match[1]


def in_line(text: str) -> Iterator[str]:
    """Commands between backquotes."""
    for found in re.findall(r"`(aira-bench [^`]+)`", text):
        yield " ".join(found.split())


def usable(command: str) -> list[str] | None:
    """The words of a command; None for what only shows how one begins."""
    command = re.split(r"\s+#|\s{2,}|;| \| | > | && |\)$", command)[0]
    command = re.sub(r"\[[^\]]*\]", "", command).replace("...", "").strip()
    try:
        words = shlex.split(command)
    except ValueError:
        return None
    return [part for word in words for part in ([word.split("|")[0]] if "|" in word else [word])][1:]


def problem(words: list[str]) -> str:
    """What the parser says against the words of a command; empty if it takes them."""
    if not words or words[0] not in sub_parsers():
        return "" if not words or words[0].startswith("-") else f"there is no command {words[0]!r}"
    known = sub_parsers()[words[0]]
    if inner := [action for action in known._actions if isinstance(action, argparse._SubParsersAction)]:
        known = inner[0].choices.get(words[1], known) if words[1:] else known
    options = {option for action in known._actions for option in action.option_strings}
    unknown = [word for word in words[1:] if word.startswith("--") and word.partition("=")[0] not in options]
    if unknown:
        return f"{words[0]} has no option {unknown[0]}"
    if words[1:] and "--help" not in words:
        spoken = [SAMPLES.get(word, word) for word in words]
        out = io.StringIO()
        with contextlib.redirect_stderr(out):
            try:
                PARSER.parse_args(spoken)
            except SystemExit as error:
                said = out.getvalue()
                if error.code and "the following arguments are required" not in said:
                    return said.strip()
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_documents_can_be_typed(page: Path) -> None:
    if page.name in HISTORY:
        pytest.skip("says what was")
    text = page.read_text(encoding="utf-8")
    wrong = {
        command: said
        for command in [*in_blocks(text), *in_line(text)]
        if (words := usable(command)) is not None and (said := problem(words))
    }
    assert not wrong


@pytest.mark.parametrize("name", sorted(sub_parsers()))
def test_examples_in_help_texts_can_be_typed(name: str) -> None:
    examples = list(in_blocks(sub_parsers()[name].format_help()))
    assert examples
    wrong = {
        command: said for command in examples if (words := usable(command)) is not None and (said := problem(words))
    }
    assert not wrong


def hints() -> Iterator[tuple[str, str]]:
    """Each command that an error of ours proposes, as far as it is written out, with its place."""
    for path in sorted((ROOT / "harness").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg in ("hint", "mend"):
                text = written_out(node.value)
                if text.startswith("aira-bench "):
                    yield f"{path.relative_to(ROOT)}:{node.value.lineno}", text


def written_out(node: ast.expr) -> str:
    """A text with `RUN` for what is put into it."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "RUN" for part in node.values)
    return ""


def test_commands_that_errors_propose_can_be_typed() -> None:
    found = list(hints())
    assert len(found) > 20
    wrong = {}
    for place, text in found:
        words = usable(re.split(r", then |   \(", text)[0])
        said = problem(words) if words is not None else ""
        if said and "'RUN'" not in said:
            wrong[place] = f"{text}: {said}"
    assert not wrong


@pytest.mark.parametrize(
    ("command", "part"),
    [
        ("aira-bench run --agent evolution --task mad-2p", ""),
        ("aira-bench run --agnet evolution", "no option --agnet"),
        ("aira-bench rnu", "no command"),
        ("aira-bench run --seeds N --agent AGENT --task TASK    # three seeds", ""),
        ("aira-bench run --agent a --task b --profile gpu", "invalid choice"),
        ("aira-bench leaderboard RUN... --out DIR", ""),
        ("aira-bench --version", ""),
    ],
)
def test_a_wrong_command_is_found(command: str, part: str) -> None:
    words = usable(command)
    assert words is not None
    assert part in problem(words) if part else problem(words) == ""
