"""What `import aira_bench` offers: what is public and that it is documented, and that it does what the commands do."""

import ast
import importlib
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol, get_args, get_type_hints

import pytest

import aira_bench
from aira_bench.boards.formats import records
from aira_bench.cli.main import build_parser, run_command_line
from aira_bench.keys import KeyFolder
from generated_runs import manifest, write_run

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "harness" / "aira_bench"
PUBLIC_MODULES = ("aira_bench", "aira_bench.errors", "aira_bench.protocols", "aira_bench.testing")


def here(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# What is public


def test_an_import_loads_two_modules_of_ours_and_nothing_of_others() -> None:
    code = "import sys; before = set(sys.modules); import aira_bench; print(sorted(set(sys.modules) - before))"
    loaded = ast.literal_eval(here(code))
    assert [name for name in loaded if name.startswith("aira_bench")] == ["aira_bench", "aira_bench.version"]
    assert not [name for name in loaded if name.partition(".")[0] not in {*sys.stdlib_module_names, "aira_bench"}]


def test_each_name_loads_what_it_needs_alone() -> None:
    code = "import sys, aira_bench; aira_bench.{}; print('docker' in sys.modules, 'openai' in sys.modules)"
    for name in ("RunRequest", "Node", "AiraError"):
        assert here(code.format(name)) == "False False\n"
    assert here("import sys, aira_bench; aira_bench.RunRequest; print('pydantic' in sys.modules)") == "False\n"


def test_every_public_name_is_there_and_only_those() -> None:
    assert list(aira_bench.__all__) == sorted(aira_bench.__all__, key=lambda name: (not name[0].isupper(), name))
    assert dir(aira_bench) == sorted(aira_bench.__all__)
    for name in aira_bench.__all__:
        assert getattr(aira_bench, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = aira_bench.no_such_name
    with pytest.raises(ImportError):
        exec("from aira_bench import no_such_name")


def test_type_checkers_see_the_same_names_from_the_same_places() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == {name: home for name, home in aira_bench._HOME_OF.items()}
    assert {*seen, "__version__"} == set(aira_bench.__all__)


def test_no_public_name_is_that_of_a_module() -> None:
    """Importing the module would put it in the name's place."""
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert not modules & set(aira_bench.__all__)


def public_objects(module: str) -> dict[str, object]:
    found = importlib.import_module(module)
    names = found.__all__ if hasattr(found, "__all__") else [name for name in vars(found) if name[0].isupper()]
    return {f"{module}.{name}": getattr(found, name) for name in names}


PUBLIC = {name: value for module in PUBLIC_MODULES for name, value in public_objects(module).items()}


@pytest.mark.parametrize(
    "name", [name for name, value in PUBLIC.items() if inspect.isclass(value) or inspect.isfunction(value)]
)
def test_a_public_name_is_documented(name: str) -> None:
    """With a docstring of its own, as have its public methods and properties."""
    found = PUBLIC[name]
    own = vars(found).get("__doc__") if inspect.isclass(found) else found.__doc__
    assert own, name
    assert not own.startswith(f"{name.rpartition('.')[2]}("), "the one that dataclasses make up"
    assert own.strip().splitlines()[0].rstrip().endswith((".", ":")), own
    for method, value in vars(found).items() if inspect.isclass(found) else ():
        is_field = method in vars(found).get("__annotations__", {})  # its default may be a function
        if not method.startswith("_") and not is_field and (inspect.isfunction(value) or isinstance(value, property)):
            assert inspect.getdoc(value), f"{name}.{method}"


@pytest.mark.parametrize("module", ["aira_bench.protocols", "aira_bench.testing"])
def test_what_a_public_module_imports_to_offer_stands_in_its_list(module: str) -> None:
    found = importlib.import_module(module)
    offered = {
        name
        for name, value in vars(found).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }  # fmt: skip
    assert offered == set(found.__all__)
    assert len(found.__all__) == len(set(found.__all__))


def test_the_page_of_protocols_holds_all_that_their_methods_take_and_give() -> None:
    """Whoever fulfils one needs to import from nowhere else."""
    page = importlib.import_module("aira_bench.protocols")
    protocols = [value for value in map(vars(page).__getitem__, page.__all__) if getattr(value, "_is_protocol", False)]
    assert {each.__name__ for each in protocols} >= {"Agent", "Policy", "Model", "Sandbox", "SubmissionEvaluator"}
    offered = {id(getattr(page, name)) for name in page.__all__}
    for protocol in protocols:
        for name, method in vars(protocol).items():
            if name.startswith("_") or not inspect.isfunction(method):
                continue
            for kind in get_type_hints(method).values():
                if inspect.isclass(kind) and kind.__module__.startswith("aira_bench"):
                    assert id(kind) in offered, f"{protocol.__name__}.{name}: {kind.__name__}"
            given = get_type_hints(method).get("return")
            for kind in (given, *get_args(given)):
                for field, part in _parts(kind):
                    assert id(part) in offered, f"{protocol.__name__}.{name} gives {kind}.{field}: {part}"


def _parts(kind: object) -> Iterator[tuple[str, type]]:
    """Classes of ours in the fields of a dataclass, which whoever makes one needs too."""
    if inspect.isclass(kind) and is_dataclass(kind):
        for field, hint in get_type_hints(kind).items():
            yield from (
                (field, part)
                for part in (hint, *get_args(hint))
                if inspect.isclass(part) and part.__module__.startswith("aira_bench")
            )


def test_protocols_are_protocols() -> None:
    for name in ("Agent", "Policy", "Model", "Sandbox", "SubmissionEvaluator"):
        assert issubclass(getattr(aira_bench, name), Protocol)
        assert getattr(aira_bench, name) is getattr(importlib.import_module("aira_bench.protocols"), name)


def test_folders_say_whether_they_are_internal() -> None:
    for init in sorted(PACKAGE.glob("*/__init__.py")):
        said = ast.get_docstring(ast.parse(init.read_text())) or ""
        if f"aira_bench.{init.parent.name}" in PUBLIC_MODULES:
            assert said.startswith("Public:"), init
        else:
            assert said.endswith("Internal."), init


def test_types_are_shipped() -> None:
    assert (PACKAGE / "py.typed").is_file()


SCRIPT = """
import aira_bench
from aira_bench.protocols import Action, Draft, Journal
from aira_bench.testing import POLICY_CHECKS, require_all
import random

class Mine:
    def next(self, journal: Journal, rng: random.Random) -> Action:
        return Draft()

policy: aira_bench.Policy = Mine()
require_all(POLICY_CHECKS, policy)
done = aira_bench.run(aira_bench.RunRequest("evolution", "mad-2p", profile="cpu", seeds=(0, 1)))
reveal_type(done.record.seeds[0].nodes[0].fitness)
reveal_type(done.record.seeds[0].scores[1].test)
reveal_type(aira_bench.leaderboard().tables[0].rows[0].test)
aira_bench.RunRequest("evolution", "mad-2p", profile="gpu")
aira_bench.RunRequest("evolution", "mad-2p", step=3)
wrong: aira_bench.Agent = Mine()
"""


@pytest.mark.timeout(600)
def test_a_type_checker_sees_real_types_in_a_user_s_script(tmp_path: Path) -> None:
    """It finds the right types, and the three mistakes; its cache is that of `make lint`."""
    pytest.importorskip("mypy")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), str(script)],
        capture_output=True, text=True, timeout=500, cwd=ROOT, check=False,
    )  # fmt: skip
    lines = [line.partition(": ")[2] for line in done.stdout.splitlines()]
    revealed = [line for line in lines if line.startswith("note: Revealed")]
    assert ["float" in line for line in revealed] == [True, True, False], done.stdout
    assert "Spread | None" in revealed[2]
    errors = [line for line in lines if line.startswith("error:")]
    assert len(errors) == 3, done.stdout
    assert "incompatible type \"Literal['gpu']\"" in errors[0] or "incompatible type" in errors[0]
    assert '"step"' in errors[1]
    assert "Incompatible types in assignment" in errors[2]


# The command line and the request are one


def test_every_field_of_a_request_is_an_option_with_its_default() -> None:
    args = build_parser().parse_args(["run", "--agent", "evolution"])
    for each in fields(aira_bench.RunRequest):
        expected = "evolution" if each.default is MISSING else each.default
        assert getattr(args, each.name) == expected, each.name
    options = set(vars(args)) - {"handle"} - {each.name for each in fields(aira_bench.RunRequest)}
    workers = {"engine", "workers", "worker_cores", "worker_gpus", "worker_memory_mib"}
    places = {"ray_address", "slurm_partition", "slurm_args", "containers", "accepted_walls", "judge_on"}
    assert options == {"print_config", "runs", "runtime", "json", "dry_run", "yes", "track"} | workers | places, (
        "where, by whom, with what, how it is shown, if, and who is told"
    )


def test_a_request_and_a_command_make_the_same_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from aira_bench.paths import HostPaths
    from aira_bench.runs.resolve import resolve
    from aira_bench.world import SystemWorld

    typed = ["--agent", "random", "--task", "mad-3p", "--profile", "cpu", "--seeds", "3,5", "--steps", "4", "--hours", "0.5",
             "--step-timeout", "60", "--scaffold", "mcts", "--concurrency", "1", "--name", "n", "--memory", "none",
             "--no-score-cache", "--max-tokens", "9", "--seed-max-cost-usd", "1.5"]  # fmt: skip
    assert run_command_line(["run", *typed, "--print-config"]) == 0
    request = aira_bench.RunRequest(
        "random", "mad-3p", profile="cpu", seeds=(3, 5), steps=4, hours=0.5, step_timeout_s=60.0, scaffold="mcts",
        concurrency=1, name="n", memory="none", score_cache=False, max_tokens=9, seed_max_cost_usd=1.5,
    )  # fmt: skip
    plan = resolve(request, HostPaths(tmp_path, tmp_path), SystemWorld()).plan
    assert plan.model_dump(mode="json") == json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"agent": "nobody"}, "Unknown agent 'nobody'"),
        ({"task": "nothing"}, "Unknown task 'nothing'"),
        ({"task": None}, "--task is missing"),
        ({"scaffold": "none"}, "Unknown scaffold 'none'"),
        ({"seeds": ()}, "No run can be planned so: seeds"),
        ({"seeds": (1, 1)}, "seeds are distinct"),
        ({"steps": -1}, "No run can be planned so: steps"),
        ({"profile": "gpu"}, "has no profile 'gpu'"),
        ({"memory": "some"}, "memory"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"evaluator": "script"}, "is built in"),
        ({"evaluator": "no.such:Judge"}, "No module named 'no'"),
        ({"provider": "anthropic"}, "is no card"),
        ({"agent": "replay:nothing"}, "No run 'nothing'"),
    ],
)
def test_what_cannot_be_run_is_an_error_before_any_container(
    change: dict[str, object],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    values = {"agent": "noop", "task": "mad-2p", "profile": "cpu"} | change
    with pytest.raises(aira_bench.AiraError) as caught:
        aira_bench.run(aira_bench.RunRequest(**values))  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert caught.value.exit_code == 2
    assert capsys.readouterr() == ("", "")
    assert not (tmp_path / "runs").exists()


def test_a_machine_without_an_engine_is_an_error_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(aira_bench.AiraError, match="No Docker daemon answers") as caught:
        aira_bench.run(aira_bench.RunRequest("noop", "mad-2p", profile="cpu"))
    assert caught.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


# Reading


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two runs of this machine's and one that is damaged."""
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    keys = KeyFolder(tmp_path / "home" / "keys")
    for name in ("a", "b"):
        write_run(tmp_path / "runs", manifest(name, seeds=(0, 1), steps=4), key=keys.machine_key(), seen=keys.seen)
    write_run(tmp_path / "runs", manifest("bad", seeds=(0,), steps=2), key=keys.machine_key(), seen=keys.seen)
    return tmp_path


def test_a_run_is_read_with_its_nodes_and_scores(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = aira_bench.read_run("a")
    assert isinstance(record, aira_bench.RunRecord)
    assert isinstance(record.manifest, aira_bench.Manifest)
    assert [seed.seed for seed in record.seeds] == [0, 1]
    for seed in record.seeds:
        assert isinstance(seed, aira_bench.SeedRecord)
        assert [node.step for node in seed.nodes] == [1, 2, 3, 4]
        assert all(isinstance(node, aira_bench.Node) for node in seed.nodes)
        assert {node.step for node in seed.nodes if node.is_valid} == set(seed.scores)
        assert all(isinstance(score, aira_bench.TrustedScore) for score in seed.scores.values())
        assert seed.submitted is not None
    for other in (str(place / "runs" / "a"), place / "runs" / "a"):
        assert aira_bench.read_run(other) == record
    assert aira_bench.read_run("a", runs=place / "runs") == record
    assert capsys.readouterr() == ("", "")


def test_a_board_is_that_of_the_command_and_writes_nothing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = place / "runs" / "bad" / "seeds" / "0" / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    before = sorted(place.rglob("*"))
    board = aira_bench.leaderboard()
    assert sorted(place.rglob("*")) == before
    assert capsys.readouterr() == ("", "")
    assert len(board.left_out) == 1
    assert "Run bad" in str(board.left_out[0])
    assert run_command_line(["leaderboard", "--json"]) == 6
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(records(board.tables)))
    assert all(isinstance(row, aira_bench.Row) for table in board.tables for row in table.rows)
    only = aira_bench.leaderboard(["a"])
    assert [len(row.ended) for table in only.tables for row in table.rows] == [2]


def test_what_cannot_be_read_is_an_error_of_ours(place: Path) -> None:
    with pytest.raises(aira_bench.AiraError, match="No run 'none'"):
        aira_bench.read_run("none")
    with pytest.raises(aira_bench.AiraError, match="No run 'none'"):
        aira_bench.leaderboard(["none"])
    with pytest.raises(aira_bench.AiraError, match="'none'"):
        aira_bench.leaderboard("none")
    with pytest.raises(aira_bench.AiraError, match="No runs in"):
        aira_bench.leaderboard(runs=place / "empty")
    (place / "runs" / "a" / "manifest.json").write_text("{}")
    with pytest.raises(aira_bench.AiraError, match="Run a: "):
        aira_bench.read_run("a")
    solution = next((place / "runs" / "b").rglob("submission.csv"))
    solution.write_text("replaced\n")
    assert aira_bench.read_run("b", depth="records").seeds
    with pytest.raises(aira_bench.AiraError, match=r"submission\.csv"):
        aira_bench.read_run("b", depth="all")


def test_a_run_that_is_not_to_be_trusted_is_not_resumed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    write_run(place / "runs", manifest("gift", seeds=(0,), steps=2), end=False)
    with pytest.raises(aira_bench.AiraError, match="--trust-agent"):
        aira_bench.resume("gift")
    with pytest.raises(aira_bench.AiraError, match="No Docker daemon answers"):
        aira_bench.resume(place / "runs" / "gift", trust_agent=True)
    with pytest.raises(aira_bench.AiraError, match="No run 'none'"):
        aira_bench.resume("none")


def test_nothing_of_the_environment_is_read_at_import() -> None:
    """Folders are looked up at each call, so a script may set them after its imports."""
    code = "import aira_bench, os, sys; os.environ['AIRA_RUNS'] = sys.argv[1]\ntry: aira_bench.leaderboard()\nexcept aira_bench.AiraError as error: print(error)"
    assert f"No runs in {os.sep}some{os.sep}where" in here(code, "/some/where")
