"""No two public classes of this distribution have one name, so that a name in a message or a document means one thing.

Read from the text of all packages. Private classes (`_Name`) and classes inside classes or functions are left out, and
so are the parts that a submitted `model.py` is put together from, which are texts rather than modules of ours.
"""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("harness", "evaluator", "kernels")
SCRIPTS_API = "evaluator/aira_evaluator/autoresearch/fit/shim.py"
"""What submitted scripts import under the names of the public reference."""


def public_classes(root: Path, packages: tuple[str, ...] = PACKAGES) -> dict[str, list[str]]:
    """Where each public class is defined, by name."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            place = path.relative_to(root).as_posix()
            if "/parts/" in place or "/_bundled/" in place or "/templates/" in place or place == SCRIPTS_API:
                continue
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(f"{place}:{node.lineno}")
    return found


def test_no_public_class_name_is_defined_twice() -> None:
    found = public_classes(ROOT)
    assert len(found) > 300
    twice = {name: places for name, places in found.items() if len(places) > 1}
    assert not twice


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("class Report: ...", "class Report: ...", True),
        ("class Report: ...", "from typing import Protocol\nclass Report(Protocol): ...", True),
        ("class _Report: ...", "class Report: ...", False),
        ("class Report: ...", "def make():\n    class Report: ...", False),
        ("class Report: ...", "class Outer:\n    class Report: ...", False),
    ],
)
def test_a_name_counts_wherever_a_module_defines_it(tmp_path: Path, one: str, other: str, shared: bool) -> None:
    for place, text in (("harness/a.py", one), ("kernels/deep/b.py", other)):
        path = tmp_path / place
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert (len(public_classes(tmp_path)["Report"]) == 2) == shared
