"""Folders of the evaluator say where code runs and what it may see; here their imports are held to that.

A folder's role is its name. What a module imports counts wherever the statement stands, and so does what the imported
module imports in turn. The table of folders has no exceptions and no cycles.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aira_contract
import aira_evaluator
import aira_kernels
from aira_contract import invocation
from evaluator.import_graph import ImportGraph, cycles, imported_names, module_name, read_graph

PACKAGE = Path(aira_evaluator.__file__).parent
GRAPH = read_graph(PACKAGE)
FAMILIES = ("autoresearch", "compose", "lra")

ROLES = {"fit", "predict", "judge", "prepare", "agent", "handover"}
NEVER_REACHES = {
    "judge": ROLES - {"judge"},
    "fit": {"judge", "prepare", "agent"},
    "predict": {"judge", "prepare", "agent", "fit"},
    "handover": ROLES - {"handover"},
    "prepare": {"judge", "agent", "fit", "predict"},
    "agent": {"judge", "prepare"},
    "wire": ROLES,
    "contract": ROLES,
    "training": ROLES,
    "graphs": ROLES,
    "listops": ROLES,
    "mad": ROLES,
    "grown": ROLES,
    "text": ROLES,
    "task_scripts": ROLES,
    "downstream": ROLES,
    "latency": ROLES,
    "pretrain": ROLES,
    "corpus": ROLES,
}
"""By role of a folder: roles whose modules nothing in it may import, however indirectly."""

PICKLERS = {
    "pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "copyreg", "_pickle", "multiprocessing",
    "torch.load", "torch.serialization", "torch.package", "torch.hub", "torch.multiprocessing", "torch.jit.load",
}  # fmt: skip
RUNNERS = {"importlib", "runpy", "code", "codeop", "pkgutil", "subprocess"}
PERMITTED = {
    "aira_evaluator.compose.judge.resident": {"runpy"},
    "aira_evaluator.lra.listops.expressions": {"multiprocessing"},
    "aira_kernels.adapters": {"importlib"},
    "aira_kernels.backend": {"importlib"},
}
"""The resident judge runs the task's own `evaluate.py`, anew for each request; expressions are drawn by processes of our
own code, which hand them back; kernels of others are imported by names that are written there."""
LOADERS = {"json.load", "json.loads", "np.load", "tl.load", "tomllib.loads"}
"""What may be called `load`: readers of plain values, and of memory in a kernel."""
SCRIPTS = {"evaluate.py": "judge", "evaluate_prepare.py": "prepare", "prepare.py": "prepare", "trace.py": "fit"}
"""The folder that a task's script has its body in."""
TASKS = PACKAGE.parents[1] / "tasks"

MAY_IMPORT = {
    ".": set(),
    "task_scripts": {"."},
    "text": {"."},
    "pretrain": {".", "text"},
    "pretrain/corpus": {".", "pretrain", "text"},
    "autoresearch": {"autoresearch/agent"},
    "autoresearch/contract": {".", "task_scripts", "text"},
    "autoresearch/wire": set(),
    "autoresearch/handover": set(),
    "autoresearch/predict": {"autoresearch/handover", "autoresearch/wire"},
    "autoresearch/fit": {"autoresearch/contract", "autoresearch/handover", "autoresearch/predict", "text"},
    "autoresearch/agent": {"autoresearch/handover", "autoresearch/predict"},
    "autoresearch/judge": {".", "autoresearch/contract", "autoresearch/wire", "task_scripts"},
    "autoresearch/prepare": {".", "autoresearch/contract", "autoresearch/handover", "task_scripts", "text"},
    "compose": {"compose/agent"},
    "compose/training": set(),
    "compose/mad": {".", "compose/training"},
    "compose/text": {".", "compose/training"},
    "compose/grown": {".", "compose/text", "compose/training", "pretrain"},
    "compose/agent": {".", "compose/grown", "compose/mad", "compose/text", "compose/training"},
    "compose/judge": {
        ".",
        "compose",
        "compose/grown",
        "compose/mad",
        "compose/text",
        "compose/training",
        "task_scripts",
    },
    "compose/prepare": {".", "compose/grown", "compose/mad", "compose/text", "task_scripts", "text"},
    "downstream": {".", "pretrain"},
    "latency": set(),
    "lra": {"lra/agent"},
    "lra/data": {"lra/contract"},
    "lra/baselines": {"lra/agent/baselines"},
    "lra/contract": {"."},
    "lra/graphs": {"lra/contract"},
    "lra/listops": {"lra/contract"},
    "lra/training": {"lra/contract", "lra/graphs", "lra/listops"},
    "lra/fit": {".", "lra/contract", "lra/graphs", "task_scripts"},
    "lra/agent": {".", "lra/contract", "lra/fit", "lra/training"},
    "lra/agent/baselines": {".", "lra/agent/baselines/parts", "lra/contract"},
    "lra/agent/baselines/parts": set(),
    "lra/judge": {".", "lra/contract", "lra/training", "task_scripts"},
    "lra/prepare": {".", "lra/contract", "lra/listops", "task_scripts", "text"},
}
"""The whole graph of folders: `.` holds the version and manifests of splits."""


def roles_of(module: str) -> set[str]:
    """Names of the folders around a module: `lra.agent.baselines.genome` lies in an `agent` folder."""
    return set(module.split(".")[1:-1]) | (
        {module.rpartition(".")[2]} if GRAPH.files[module].stem == "__init__" else set()
    )


def modules_in(role: str) -> list[str]:
    return [module for module in GRAPH.files if role in roles_of(module)]


@pytest.mark.parametrize("role", list(NEVER_REACHES))
def test_nothing_in_a_folder_reaches_what_its_role_may_not_know(role: str) -> None:
    assert modules_in(role)
    for module in modules_in(role):
        reached = {other for other in GRAPH.reached([module]) if roles_of(other) & NEVER_REACHES[role]}
        assert not reached, f"{module} reaches {sorted(reached)}"


def test_every_folder_has_a_role_or_is_a_family() -> None:
    known = {*NEVER_REACHES, *FAMILIES, "baselines", "parts", "data", "aira_evaluator"}
    assert {path.parent.name for path in GRAPH.files.values()} <= known
    assert {family for family in FAMILIES if (PACKAGE / family / "judge").is_dir()} == set(FAMILIES)


def test_folders_import_as_the_table_says_and_nothing_else() -> None:
    beyond = {folder: found - MAY_IMPORT[folder] for folder, found in GRAPH.folders().items()}
    assert not {folder: found for folder, found in beyond.items() if found}


def test_the_table_of_folders_has_no_arrow_that_is_not_used_and_no_cycle() -> None:
    used = GRAPH.folders()
    assert set(MAY_IMPORT) == set(used)
    unused = {folder: allowed - used[folder] for folder, allowed in MAY_IMPORT.items()}
    assert not {folder: allowed for folder, allowed in unused.items() if allowed}
    assert not cycles(MAY_IMPORT)


def test_modules_import_each_other_without_a_cycle() -> None:
    assert not cycles(GRAPH.inside)


@pytest.mark.parametrize("domain", ["agent", "fit", "predict", "judge"])
def test_the_table_of_domains_names_what_runs_in_each(domain: str) -> None:
    """SECURITY.md says it for people: a role that a domain's folder reaches stands in the domain's row."""
    row = re.search(rf"^\| {domain} container.*", (PACKAGE.parents[1] / "SECURITY.md").read_text(), re.MULTILINE)
    assert row is not None
    named = set(re.findall(r"`(\w+)`", row[0].split("|")[3].partition("never")[0]))
    roles = {role for module in GRAPH.reached(modules_in(domain)) for role in roles_of(module)}
    assert roles & (ROLES | {"wire"}) <= named


def calls(path: Path) -> set[str]:
    """What a file calls, as it is written: `torch.load`, `eval`."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}


def beside_labels() -> dict[str, Path]:
    """Every file of ours that may run in a judge's container, by its name."""
    found = {module: GRAPH.files[module] for module in GRAPH.reached(modules_in("judge"))}
    for package in (aira_contract, aira_kernels):
        found |= read_graph(Path(str(package.__file__)).parent).files
    return found | {f"{path.parent.name}.evaluate": path for path in TASKS.glob("*/evaluate.py")}


def faults(path: Path, module: str) -> set[str]:
    """What a file imports or calls that unpickles, starts a program, or runs code that it is given."""
    forbidden = (PICKLERS | RUNNERS) - PERMITTED.get(module, set())
    imported = {
        name for name in imported_names(path, module) for each in forbidden if f"{name}.".startswith(f"{each}.")
    }
    called = calls(path)
    runs = {name for name in called if name in {"eval", "exec", "compile", "__import__"} or _STARTS.fullmatch(name)}
    loads = {name for name in called if _LOADS.search(name)} - LOADERS
    return (
        imported | runs | loads | {name for name in called if name.startswith(tuple(f"{each}." for each in PICKLERS))}
    )


_STARTS = re.compile(r"os\.(system|popen|exec\w+|spawn\w+|posix_spawn\w*)")
_LOADS = re.compile(r"(^|\.)(loads?|unpickle\w*|read_pickle)$")


def test_nothing_that_runs_beside_labels_unpickles_or_runs_what_it_is_given() -> None:
    found = beside_labels()
    assert set(PERMITTED) <= set(found)
    wrong = {module: wrongs for module, path in found.items() if (wrongs := faults(path, module))}
    assert not wrong


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from torch import load as read",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.serialization.load(path)",
        "from multiprocessing.connection import Client",
        "import subprocess",
        "import os\nos.execv(program, [])",
        "import pandas\npandas.read_pickle(path)",
        "exec(text)",
    ],
)
def test_each_way_to_unpickle_or_run_is_seen(tmp_path: Path, text: str) -> None:
    path = tmp_path / "nats.py"
    path.write_text(text)
    assert faults(path, "aira_evaluator.autoresearch.judge.nats")


@pytest.mark.parametrize("script", list(SCRIPTS))
def test_a_tasks_script_has_its_body_in_the_folder_of_its_role(script: str) -> None:
    """`evaluate.py` runs beside labels, `trace.py` beside a submission: neither may bring the other's code along."""
    found = list(TASKS.glob(f"*/{script}"))
    assert found
    for path in found:
        names = set(imported_names(path, "aira_evaluator.script"))
        ours = {name.rpartition(".")[0] for name in names if name.startswith("aira_")}
        assert {SCRIPTS[script]} <= {role for module in ours for role in roles_of(module)}, path
        assert not {role for module in ours for role in roles_of(module)} & NEVER_REACHES[SCRIPTS[script]], path
        assert {name.partition(".")[0] for name in names} <= {"aira_evaluator", "pathlib", "sys"}, path


def test_arrays_are_read_without_pickles_everywhere() -> None:
    for module, path in GRAPH.files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), module
                assert node.value.value is False, module
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
                assert len(node.args) == 1, f"{module}: what may be pickled is said by its name"


def test_a_judge_that_runs_holds_no_code_for_submissions() -> None:
    """The same in a real process: what the text does not show, such as an import by a computed name, would show here."""
    judges = [module for module in modules_in("judge") if GRAPH.files[module].stem != "__init__"]
    program = f"import importlib, sys\nfor name in {judges}: importlib.import_module(name)\nprint(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = [name for name in finished.stdout.split() if name in GRAPH.files]
    assert set(judges) <= set(loaded)
    assert not [name for name in loaded if roles_of(name) & NEVER_REACHES["judge"]]


def written(folder: Path, modules: dict[str, str]) -> ImportGraph:
    for name, text in modules.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for made in (path.parent, *path.parent.parents):
            if made.is_relative_to(folder):
                (made / "__init__.py").touch()
        path.write_text(text)
    return read_graph(folder)


@pytest.mark.parametrize(
    "statement",
    [
        "import fake.fit.shim",
        "import fake.fit.shim as other",
        "from fake.fit import shim",
        "from fake.fit.shim import run",
        "from fake.fit.shim import *",
        "from ..fit import shim",
        "from ..fit.shim import run",
        "def later():\n    from fake.fit.shim import run",
        "try:\n    import fake.fit.shim\nexcept ImportError:\n    pass",
        "from fake.both import helper",
        "started = ['python3', '-m', 'fake.fit.shim']",
    ],
)
def test_every_way_to_import_is_seen(tmp_path: Path, statement: str) -> None:
    texts = {"judge/evaluate.py": statement, "fit/shim.py": "def run(): ...", "both.py": "import fake.fit.shim"}
    graph = written(tmp_path / "fake", texts)
    assert "fake.fit.shim" in graph.reached(["fake.judge.evaluate"])
    arrows = graph.folders()["judge"]
    assert arrows == ({"."} if "both" in statement else {"fit"})


def test_a_package_that_imports_its_modules_is_reached_through_each_of_them(tmp_path: Path) -> None:
    graph = written(tmp_path / "fake", {"a/one.py": "", "b/two.py": "from fake.a import one"})
    (tmp_path / "fake/a/__init__.py").write_text("import pickle\nfrom fake.c import three")
    graph = written(tmp_path / "fake", {"c/three.py": ""})
    assert "fake.c.three" in graph.reached(["fake.b.two"])
    assert graph.outside["fake.a"] == {"pickle"}


def test_cycles_are_found_however_long() -> None:
    assert cycles({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}) == {"a", "b", "c"}
    assert cycles({"a": ["a"]}) == {"a"}
    assert not cycles({"a": ["b", "c"], "b": ["c"], "c": []})


def test_names_that_descriptions_tell_agents_exist_and_begin_without_data(tmp_path: Path) -> None:
    """Recorded prompts and agents' scripts hold them, so they are never renamed."""
    told: set[str] = set()
    for description in (PACKAGE.parents[1] / "tasks").glob("*/project_description.md"):
        told |= set(re.findall(r"\baira_evaluator(?:\.[a-z_]+)+", description.read_text(encoding="utf-8")))
    assert told == {
        "aira_evaluator.autoresearch.validate",
        "aira_evaluator.compose.validate",
        "aira_evaluator.lra.baselines",
        "aira_evaluator.lra.data.splits",
        "aira_evaluator.lra.validate",
    }
    for name in sorted(told - {"aira_evaluator.lra.data.splits"}):
        asked = [sys.executable, "-m", name, "--help"]
        assert subprocess.run(asked, cwd=tmp_path, capture_output=True, check=False).returncode == 0, name
    from aira_evaluator.lra.data.splits import read_split

    assert callable(read_split)


def test_names_that_solutions_of_searchers_import_are_those_of_recorded_ones() -> None:
    """Such a solution runs again from its file, and its hash is in the journal, so they are never renamed."""
    assert invocation.ARCHITECTURE_VALIDATION == "aira_evaluator.compose.validate"
    assert invocation.MODULE_VALIDATION == "aira_evaluator.lra.validate"
    assert invocation.SCRIPT_VALIDATION == "aira_evaluator.autoresearch.validate"
    assert invocation.MODULE_WRITER == "aira_evaluator.lra.baselines.compose"
    from aira_evaluator.lra.baselines.compose import write_model

    assert callable(write_model)


def test_doors_hold_no_code_of_their_own() -> None:
    doors = [module for module in GRAPH.files if GRAPH.folder(module) in ("lra", "lra/data", "lra/baselines")]
    for module in doors:
        tree = ast.parse(GRAPH.files[module].read_text(encoding="utf-8"))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)], module


def test_names_of_modules_are_read_from_paths(tmp_path: Path) -> None:
    assert module_name(tmp_path / "p/a/__init__.py", tmp_path / "p") == "p.a"
    assert module_name(tmp_path / "p/a/b.py", tmp_path / "p") == "p.a.b"
    (tmp_path / "m.py").write_text("import os.path\nfrom . import x\nfrom .y import z\nfrom ..w import v")
    assert list(imported_names(tmp_path / "m.py", "p.a.m")) == ["os.path", "p.a.x", "p.a.y.z", "p.w.v"]
