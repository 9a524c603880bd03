"""Docstrings of public names are sentences that a newcomer understands alone.

What a test can see of that: a name is said more of than two or three words, and not by pointing at its neighbour.
Not covered: whether a sentence is true, and whether it is the one that is needed.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("harness", "evaluator", "kernels")
LEAST_WORDS = 4
_ELLIPTIC = re.compile(r"(?:The same|Likewise|Ditto|Nothing|All of (?:them|it)|Everything seen|As `|Of )(?:[.,;: ]|$)")
"""Beginnings of sentences that lean on what stands above."""
_FRAGMENTS = re.compile(r"(?:Nothing (?:is|was) |Nothing but )")


def documented(path: Path) -> Iterator[tuple[str, str]]:
    """Qualified name and docstring of every public function and class of a module."""
    yield from _documented(ast.parse(path.read_text(encoding="utf-8")), "")


def _documented(tree: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        if node.name.startswith("_") and not node.name.startswith("__"):
            continue
        if text := ast.get_docstring(node):
            yield f"{prefix}{node.name}", text
        if isinstance(node, ast.ClassDef):
            yield from _documented(node, f"{prefix}{node.name}.")


def faults(text: str) -> list[str]:
    """What is wrong with a docstring, as far as a program can tell."""
    found = []
    if len(text.split()) < LEAST_WORDS:
        found.append(f"fewer than {LEAST_WORDS} words")
    if _ELLIPTIC.match(text) and not _FRAGMENTS.match(text):
        found.append("leans on what stands above it")
    if not text.split("\n\n")[0].rstrip().endswith((".", ":", "?", "!")):
        found.append("its first sentence has no end")
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_public_names_are_explained_in_sentences(folder: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}: {text.splitlines()[0]} ({', '.join(found)})"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for name, text in documented(path)
        if (found := faults(text))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Return None: searchers read fitness, not output.", False),
        ("Nothing.", True),
        ("Everything seen.", True),
        ("Table 19.", True),
        ("The same of several.", True),
        ("All of them, in order of their names.", True),
        ("One row of the paper's Table 19", True),
        ("Whether the data is a stand-in.", False),
        ("Read the file.\n\nRaises:\n    OSError: it is not there.", False),
    ],
)
def test_what_kind_of_sentence_is_meant(text: str, wrong: bool) -> None:
    assert bool(faults(text)) == wrong
