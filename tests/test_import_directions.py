"""Who may import whom: each package's parts stand in layers, and every import points downwards.

A part is a folder or a module directly below a package. The tables are whole: a part that stands in none, or that is
gone, fails. Imports inside functions and for type checkers count like any other, and so does a text that is the whole name
of a module, which `importlib`, `sys.modules` or `python -m` may be told. Below the parts, at every depth, the folders and
modules of one folder may import each other in one direction only.

Not covered: what is imported of other distributions (`test_architecture_rules`), and names that are put together.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOMES = {"aira_bench": "harness", "aira_contract": "harness", "aira_evaluator": "evaluator", "aira_kernels": "kernels"}

LAYERS: Mapping[str, tuple[str, ...]] = {
    "aira_bench": (
        "deadline errors escaping excerpts imported near_names protocol_check shown_numbers statistics version world",
        "gpus machine_failures",
        "files hardware paths",
        "bundled docker_engine extensions keys output parquet requirement terminal unfinished waiting",
        "hidden_keys launchers published_tables sandbox shared_store",
        "cards images leasing ledger tasks",
        "copies llm record",
        "agent_code boards evaluation scaffolds scaling",
        "agents analysis remote_judging",
        "export looking publication reproduce",
        "figures packs runs view",
        "doctor protocols testing",
        "api authoring",
        "suites",
        "__init__",
        "cli",
        "__main__",
    ),
    "aira_contract": (
        "__init__ claims compatibility containers core_time downstream exports files flags framing genomes gpu_types invocation judge_settings "
        "pretraining primitives "
        "script_constants settings token_making training_record training_series",
        "reports architectures model_sizes patterns",
        "latency presets training_arithmetic",
        "recipes",
    ),
    "aira_evaluator": (
        "__init__ split_manifest",
        "task_scripts text",
        "pretrain",
        "autoresearch compose downstream latency lra",
    ),
    "aira_kernels": (
        "__init__ convolution fused initialization probes reference sizes ssd",
        "adapters",
        "backend",
        "attention mamba2 mlp norm",
        "layers",
        "backbone large",
        "hugging_face",
    ),
}
"""From the bottom up. A part may import those of the layers below its own, and none of its own layer."""

READERS = (
    "agents", "analysis", "boards", "evaluation", "export", "figures", "looking", "publication", "scaffolds", "scaling",
    "view",
)  # fmt: skip
"""They read runs, and drive none."""


def modules(package: str, home: str) -> dict[str, Path]:
    """Every module of a package by its dotted name; `a.b.__init__` is what stands in the folder `a.b` itself."""
    top = ROOT / home
    return {".".join(path.relative_to(top).with_suffix("").parts): path for path in (top / package).rglob("*.py")}


def imports(tree: ast.AST, known: Iterable[str]) -> Iterator[str]:
    """The modules among `known` that a syntax tree imports, wherever in it."""
    names = set(known)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name their module in full"
            wanted = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from {node.value, f"{node.value}.__init__"} & names if "." in node.value else ()
            continue
        else:
            continue
        for name in wanted:
            owner = name.rpartition(".")[0]
            yield from (found for found in (name, f"{name}.__init__") if found in names)
            if not {name, f"{name}.__init__"} & names:  # a name that a module or a folder's own module defines
                yield from (found for found in (owner, f"{owner}.__init__") if found in names)


def arrows(package: str, home: str) -> dict[str, set[str]]:
    """The modules that each module of a package imports of it."""
    found = modules(package, home)
    return {name: set(imports(ast.parse(path.read_text()), found)) - {name} for name, path in found.items()}


def part(module: str, depth: int = 1) -> str:
    """The piece of a dotted name that stands `depth` below its package."""
    return module.split(".")[depth]


def between_siblings(graph: Mapping[str, set[str]]) -> dict[str, dict[str, set[str]]]:
    """For each folder, which of the folders and modules directly in it import which others."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for module, imported in graph.items():
        for other in imported:
            here, there = module.split("."), other.split(".")
            depth = next(index for index, (a, b) in enumerate(zip(here, there, strict=False)) if a != b)
            found[".".join(here[:depth])][here[depth]].add(there[depth])
    return found


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """Names that import each other in a circle, empty if there is none."""
    clear: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        for other in sorted(graph.get(name, ())) if name not in clear else ():
            if found := walk(other, [*path, name]):
                return found
        clear.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


@pytest.mark.parametrize("package", list(HOMES))
def test_every_part_stands_in_one_layer(package: str) -> None:
    placed = [name for layer in LAYERS[package] for name in layer.split()]
    assert sorted(placed) == sorted({part(module) for module in modules(package, HOMES[package])})


@pytest.mark.parametrize("package", list(HOMES))
def test_every_import_points_to_a_lower_layer(package: str) -> None:
    height = {name: level for level, layer in enumerate(LAYERS[package]) for name in layer.split()}
    upwards = {
        f"{module} imports {other}"
        for module, imported in arrows(package, HOMES[package]).items()
        for other in imported
        if part(module) != part(other) and height[part(module)] <= height[part(other)]
    }
    assert not upwards


@pytest.mark.parametrize("package", list(HOMES))
def test_no_folder_holds_a_circle_of_imports(package: str) -> None:
    circles = {
        folder: found
        for folder, graph in between_siblings(arrows(package, HOMES[package])).items()
        if (found := cycle(graph))
    }
    assert not circles


def test_who_reads_runs_drives_none() -> None:
    for module, imported in arrows("aira_bench", "harness").items():
        if part(module) in (*READERS, "record"):
            assert not [other for other in imported if part(other) == "runs"], module


def test_a_record_is_read_without_what_made_it() -> None:
    """Whoever reads runs elsewhere needs no models, agents, images or evaluators."""
    makers = {"agent_code", "agents", "cards", "docker_engine", "evaluation", "images", "llm", "runs", "scaffolds"}
    for module, imported in arrows("aira_bench", "harness").items():
        if part(module) == "record":
            assert not makers & {part(other) for other in imported}, module


def test_the_layout_in_the_documentation_names_every_folder() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    layout = text[text.index("## The layout") : text.index("## The walk of `run`")]
    rows = re.findall(r"^\| `([^`]+)` \|", layout, re.MULTILINE)
    for package, home in HOMES.items():
        folders = [path.parent.relative_to(ROOT / home) for path in (ROOT / home / package).rglob("__init__.py")]
        if package == "aira_bench":
            listed = {row for row in rows if row.endswith("/")}
            assert listed == {f"{folder.relative_to(package)}/" for folder in folders if len(folder.parts) > 1}
            continue
        assert any(row.startswith(f"{home}/{package}") for row in rows), package
        unnamed = {folder.as_posix() for folder in folders if len(folder.parts) in (2, 3)} - {
            folder.as_posix() for folder in folders if f"{home}/{folder}" in rows or f"`{folder.name}/`" in layout
        }
        assert not unnamed


def test_the_test_sees_each_way_to_import() -> None:
    known = ["p.__init__", "p.a", "p.b.__init__", "p.b.c"]
    seen = {
        "import p.a": {"p.a"},
        "from p import a": {"p.a"},
        "from p import VERSION": {"p.__init__"},
        "from p.b import c": {"p.b.c"},
        "from p.b import NAME": {"p.b.__init__"},
        "from p.b.c import NAME": {"p.b.c"},
        "import p": {"p.__init__"},
        "def f():\n    from p.a import NAME": {"p.a"},
        "if TYPE_CHECKING:\n    from p.a import Name": {"p.a"},
        "from q import p": set(),
        "load('p.a')": {"p.a"},
        "load('p.b')": {"p.b.__init__"},
        "load('p')": set(),
    }
    for code, expected in seen.items():
        assert set(imports(ast.parse(code), known)) == expected, code


def test_the_test_finds_circles_at_every_depth() -> None:
    graph = {"p.a": {"p.b.c"}, "p.b.c": {"p.b.d"}, "p.b.d": {"p.b.c"}, "p.b.e": set()}
    siblings = between_siblings(graph)
    assert cycle(siblings["p"]) == []
    assert cycle(siblings["p.b"]) == ["c", "d", "c"]
    by_folders = between_siblings({"p.a.x": {"p.b.y"}, "p.b.z": {"p.a.w"}})
    assert cycle(by_folders["p"]) == ["a", "b", "a"], "modules in no circle can lie in folders that are"
