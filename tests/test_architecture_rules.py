"""Rules of the code base that no linter knows: who may import whom, how long modules are, what files may say."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {
    "aira_bench": "harness",
    "aira_contract": "harness",
    "aira_evaluator": "evaluator",
    "aira_kernels": "kernels",
}
FORBIDDEN = {
    "aira_bench": {"aira_evaluator", "aira_kernels", "torch", "botorch", "gpytorch", "jax", "numpy", "scipy", "triton"},
    "aira_contract": {"aira_bench", "aira_evaluator", "aira_kernels"},
    "aira_evaluator": {"aira_bench"},
    "aira_kernels": {"aira_bench", "aira_evaluator", "jax"},
}

BAYES_PROCESS = ROOT / "harness" / "aira_bench" / "agents" / "searchers" / "bayes_process.py"
STATISTICS = ROOT / "harness" / "aira_bench" / "statistics"
CLUSTERS = ROOT / "harness" / "aira_bench" / "scaling" / "clusters.py"
INTO_ARRAYS = [
    ROOT / "harness" / "aira_bench" / "boards" / f"{name}.py" for name in ("curves", "endings", "order", "over_tasks")
]
INTO_ARRAYS += [
    ROOT / "harness" / "aira_bench" / "reproduce" / "against" / f"{n}.py" for n in ("autoresearch", "compose", "lra")
]
INTO_ARRAYS += [
    ROOT / "harness" / "aira_bench" / "figures" / f"{name}.py"
    for name in ("comparisons", "drawing", "frontier_charts", "lra_tables", "searches")
]
INTO_ARRAYS += [
    ROOT / "harness" / "aira_bench" / "scaling" / "frontier" / f"{name}.py" for name in ("comparisons", "fits")
]
"""Modules that make arrays of runs for `statistics`; nothing loads numpy before a command needs it."""
PERMITTED = {BAYES_PROCESS: {"torch", "botorch", "gpytorch"}} | {
    path: {"numpy", "scipy"} for path in (*STATISTICS.glob("*.py"), *INTO_ARRAYS, CLUSTERS)
}
"""docs/decisions/0007-bayes-in-its-own-process.md and 0039-statistics-as-pure-functions.md"""


def modules(package: str) -> Iterator[Path]:
    yield from sorted((ROOT / PACKAGES[package] / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("package", list(PACKAGES))
def test_packages_import_only_what_they_may(package: str) -> None:
    for path in modules(package):
        roots = {name.partition(".")[0] for name in imported(path)}
        assert not roots & (FORBIDDEN[package] - PERMITTED.get(path, set())), path


def test_the_contract_imports_the_standard_library_and_itself_alone() -> None:
    """Both sides import it, and images of every flavour hold it: it may bring nothing along."""
    for path in modules("aira_contract"):
        roots = {name.partition(".")[0] for name in imported(path)}
        assert roots <= {"aira_contract", *sys.stdlib_module_names}, path


def test_importing_all_of_the_contract_loads_nothing_else(tmp_path: Path) -> None:
    """Asked of an interpreter that has no other package: what a linter cannot see, such as an import in a string."""
    names = [
        ".".join(path.relative_to(ROOT / "harness").with_suffix("").parts).removesuffix(".__init__")
        for path in modules("aira_contract")
    ]
    code = f"""
import importlib, sys
sys.path.insert(0, {str(ROOT / "harness")!r})
before = set(sys.modules)
for name in {names}:
    importlib.import_module(name)
new = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(sorted(new - {{"aira_contract"}} - set(sys.stdlib_module_names)))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout.strip(), done.stderr, list(tmp_path.iterdir())) == ("[]", "", [])


def test_the_module_that_imports_botorch_is_imported_by_nobody() -> None:
    assert BAYES_PROCESS.is_file()
    for package in PACKAGES:
        for path in modules(package):
            assert not any(name.startswith("aira_bench.agents.searchers.bayes_process") for name in imported(path)), (
                path
            )


def test_the_docker_sdk_has_one_importer() -> None:
    users = {
        path.parent
        for path in modules("aira_bench")
        if any(name.partition(".")[0] == "docker" for name in imported(path))
    }
    assert users == {ROOT / "harness" / "aira_bench" / "docker_engine"}


def test_nobody_but_the_entry_point_imports_the_command_line() -> None:
    for path in modules("aira_bench"):
        inside = "cli" in path.relative_to(ROOT / "harness" / "aira_bench").parts
        if not inside and path.name != "__main__.py":
            assert not any(name.startswith("aira_bench.cli") for name in imported(path)), path


@pytest.mark.parametrize("package", list(PACKAGES))
def test_modules_stay_short_enough_to_hold_in_the_head(package: str) -> None:
    long = {str(path): lines for path in modules(package) if (lines := path.read_text().count("\n")) > 500}
    assert not long


def test_every_module_says_what_it_is_for() -> None:
    for package in PACKAGES:
        for path in modules(package):
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_tracked_files_hold_no_caches_or_keys() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout; the wheel's content is checked by tests/images")
    assert not [name for name in listed.stdout.splitlines() if "__pycache__" in name or name.endswith((".pyc", ".env"))]


def test_everything_printed_is_escaped_in_one_module() -> None:
    """`terminal` alone prints and makes texts of rich; so no command can show what a stranger wrote as it is."""
    into_pipes = {"sandbox/inside", "agents/searchers/bayes_process.py", "agent_code/reader_process.py"}
    inside = into_pipes | {"authoring/templates/task"}  # what an author's evaluate.py prints is read, never shown
    for path in modules("aira_bench"):
        place = path.relative_to(ROOT / "harness" / "aira_bench").as_posix()
        if place == "terminal.py" or any(place.startswith(name) for name in inside):
            continue
        tree = ast.parse(path.read_text())
        calls = {
            node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"print", "Text"}, place
        assert not imported(path) & {"rich.text", "rich.print"}, place
        assert "rich.console.Console(" not in path.read_text(), place
