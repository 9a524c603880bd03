"""Names of modules in docstrings and documentation lead somewhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOMES = {"aira_bench": "harness", "aira_contract": "harness", "aira_evaluator": "evaluator", "aira_kernels": "kernels"}
NAME = re.compile(r"`(aira_(?:bench|contract|evaluator|kernels)(?:\.[A-Za-z_]\w*)+)`")
PATH = re.compile(
    r"`((?:harness|evaluator|kernels|tests|bench|docs|tasks|images)/[\w./-]+\.(?:py|md|sh|yaml|toml|json))(?:::\w+)?`"
)
ENTRY_POINTS = {f"aira_bench.{kind}s" for kind in ("agent", "scaffold", "provider", "evaluator", "task")}


def texts() -> Iterator[Path]:
    for package, home in HOMES.items():
        yield from sorted((ROOT / home / package).rglob("*.py"))
    yield from sorted((ROOT / "docs").glob("*.md"))
    yield from (ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md"))


def module_of(name: str) -> tuple[Path, list[str]] | None:
    """The file of the longest part of a dotted name that is a module, and what is left of the name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        stem = ROOT / HOMES[parts[0]] / Path(*parts[:length])
        for path in (stem.with_suffix(".py"), stem / "__init__.py"):
            if path.is_file():
                return path, parts[length:]
    return None


def defined(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """The names that a module or a class defines, imports or lists, with what defines them."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from ((alias.asname or alias.name, node) for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [name for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
            yield from ((name.id, node) for name in names)
            if any(name.id == "_HOMES" for name in names) and node.value is not None:  # what is imported when used
                yield from ((each.value, node) for each in ast.walk(node.value) if isinstance(each, ast.Constant))
        elif isinstance(node, ast.If):
            yield from defined(node)


def leads_somewhere(name: str) -> bool:
    found = module_of(name)
    if found is None:
        return False
    path, rest = found
    inside: ast.AST = ast.parse(path.read_text())
    for part in rest:
        known = dict(defined(inside))
        if part not in known:
            return False
        inside = known[part]
    return True


def test_every_module_that_is_named_exists() -> None:
    named = {name: path for path in texts() for name in NAME.findall(path.read_text()) if name not in ENTRY_POINTS}
    assert len(named) > 30
    assert not {name: str(path) for name, path in named.items() if not leads_somewhere(name)}


def test_every_file_that_is_named_exists() -> None:
    named = {name: path for path in texts() for name in PATH.findall(path.read_text())}
    assert len(named) > 30
    assert not {name: str(path) for name, path in named.items() if not (ROOT / name).exists()}


@pytest.mark.parametrize(
    ("name", "leads"),
    [
        ("aira_bench.record.node", True), ("aira_bench.record.node.Node", True), ("aira_bench.record", True),
        ("aira_bench.record.node.Node.is_lost", True), ("aira_bench.run", True), ("aira_bench.errors.AiraError", True),
        ("aira_bench.runs.node", False), ("aira_bench.record.node.Knot", False), ("aira_bench.record.Node", False),
    ],
)  # fmt: skip
def test_a_name_leads_to_a_module_or_to_what_it_defines(name: str, leads: bool) -> None:
    assert leads_somewhere(name) is leads
