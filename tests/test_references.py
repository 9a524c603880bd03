"""What docstrings, comments and documents point to exists: modules and names in them, files, and places in documents.

A reference in prose is not checked by an import, so a move leaves it behind. Checked are names below our packages with their
package (`aira_bench.record.node.Node`), paths from the root or beside the document (`docs/mad.md`), and links between documents.
Not covered: names without their package, which mean what stands around them.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from aira_bench.extensions import OFFERS, group_of

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    path.name: path for part in ("harness", "evaluator", "kernels") for path in (ROOT / part).iterdir() if path.is_dir()
}
FOLDERS = ("docs", "harness", "evaluator", "kernels", "tests", "bench", "tasks", "images", "results")
CODE = sorted(
    path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if "recorded/scripts" not in str(path)
)
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "tests").rglob("*.md")])
_NAME = re.compile(rf"\b(?:{'|'.join(PACKAGES)})(?:\.[A-Za-z_]\w*)+")
_PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w")
_LINK = re.compile(r"\]\(([^)\s#]*)(#[^)\s]*)?\)")
ENTRY_POINTS = {group_of(kind) for kind in OFFERS}
"""Groups that other distributions offer extensions in; they have the form of a module's name."""
HISTORY = {"CHANGELOG.md", "docs/log.md"}
"""Say what was: what they name may be gone."""


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of all docstrings and comments of a module."""
    source = path.read_text(encoding="utf-8")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


@cache
def names_of(path: Path) -> frozenset[str]:
    """Everything a module defines at its top, and attributes of its classes as `Class.name`."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        found |= set(_defined(node))
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{name}" for inner in node.body for name in _defined(inner)}
        if isinstance(node, ast.Assign) and "__all__" in _defined(node):
            found |= set(
                ast.literal_eval(node.value)
            )  # a package may offer names that it loads when they are asked for
    return frozenset(found)


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    for target in targets:
        for name in target.elts if isinstance(target, ast.Tuple) else [target]:
            if isinstance(name, ast.Name):
                yield name.id
    if isinstance(node, ast.ImportFrom | ast.Import):
        yield from (alias.asname or alias.name for alias in node.names)


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module of ours, or something that one defines."""
    if dotted in ENTRY_POINTS:
        return True
    package, *parts = dotted.split(".")
    place = PACKAGES[package]
    while parts and ((place / parts[0]).is_dir()):
        place /= parts.pop(0)
    if not parts:
        return True
    module = place / f"{parts[0]}.py"
    rest = parts[1:] if module.is_file() else parts
    known = names_of(module if module.is_file() else place / "__init__.py")
    return (module.is_file() and not rest) or ".".join(rest[:2]) in known


def wrong_names(text: str) -> list[str]:
    return [name for name in _NAME.findall(text) if not exists(name)]


def wrong_paths(text: str, beside: Path) -> list[str]:
    return [
        name
        for name in _PATH.findall(text)
        if not any((root / name).exists() or list(root.glob(f"{name}*")) for root in (ROOT, beside, ROOT / "tests"))
    ]


def test_modules_and_names_in_docstrings_and_comments_exist() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in CODE
        for line, text in prose(path)
        for name in [*wrong_names(text), *wrong_paths(text, path.parent)]
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_paths_and_links_in_documents_exist(path: Path) -> None:
    text, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
    wrong = [] if name in HISTORY else [*wrong_names(text), *wrong_paths(text, path.parent)]
    for target, anchor in _LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        found = (path.parent / target).resolve() if target else path
        if not found.exists() or (anchor and anchor[1:] not in anchors(found)):
            wrong.append(f"{target}{anchor}")
    assert not wrong


def test_decisions_that_are_named_by_number_exist_and_none_has_the_number_of_another() -> None:
    written = [path.name[:4] for path in (ROOT / "docs" / "decisions").glob("*.md")]
    assert len(written) == len(set(written))
    named = {
        number: path
        for path in [*CODE, *DOCUMENTS]
        for several in re.findall(r"\b[Dd]ecisions? ((?:\d{4}(?:, | and )?)+)", path.read_text(encoding="utf-8"))
        for number in re.findall(r"\d{4}", several)
    }
    assert len(named) > 10
    assert not {number: str(path) for number, path in named.items() if number not in written}


def anchors(path: Path) -> set[str]:
    """What links may name in a document: its headings, as hosts of Markdown spell them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_document_is_linked_from_the_readme_or_a_page_that_is() -> None:
    seen, left = set(), [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
    while left:
        page = left.pop()
        seen.add(page)
        text = page.read_text(encoding="utf-8")
        named = [(page.parent / target).resolve() for target, _ in _LINK.findall(text) if "://" not in target]
        named += [ROOT / name for name in re.findall(r"docs/\w+\.md", text)]
        left += [found for found in named if found.suffix == ".md" and found.is_file() and found not in seen]
    pages = set((ROOT / "docs").glob("*.md"))
    assert not pages - seen


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("see `aira_bench.errors`", []),
        ("see `aira_bench.errors.AiraError`, aira_bench.errors.AiraError.exit_code", []),
        ("see `aira_bench.absent`", ["aira_bench.absent"]),
        ("see aira_bench.errors.Absent.", ["aira_bench.errors.Absent"]),
        ("aira_evaluator.lra and aira_kernels.backend.choices", []),
        ("aira_bench.run, aira_bench.record.node.Node.is_lost", []),
        ("aira_bench.runs.node", ["aira_bench.runs.node"]),
        ("aira_bench.record.node.Knot", ["aira_bench.record.node.Knot"]),
        ("aira_bench.record.Node", ["aira_bench.record.Node"]),
    ],
)
def test_a_name_that_is_gone_is_found(text: str, wrong: list[str]) -> None:
    assert wrong_names(text) == wrong


def test_a_path_that_is_gone_is_found() -> None:
    assert wrong_paths("as in docs/mad.md, docs/absent.md and https://host/docs/other", ROOT) == ["docs/absent.md"]
