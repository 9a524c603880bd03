"""An agent, a scaffold, a provider, an evaluator and a task that live outside this repository, through the real command.

They are installed into a folder of their own and found by their entry points, or named by references.
"""

import contextlib
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.extensions import OFFERS
from aira_bench.keys import KeyRing
from aira_bench.record.manifest import Manifest
from aira_bench.record.run_record import read_run
from outside import install
from outside_distribution import install_outsider
from place import Place

NAMED = ("--task", "outsider-parity", "--profile", "cpu", "--fitness", "claimed")
SCORED = ("--evaluator", "outsider-remarking")


@dataclass(frozen=True)
class Outside(Place):
    """The command line with a folder of installed distributions on its path."""

    site: Path

    @property
    def environment(self) -> dict[str, str]:
        kept = super().environment
        path = os.pathsep.join(filter(None, [str(self.site), kept.get("PYTHONPATH", "")]))
        return {**kept, "PYTHONPATH": path}

    @property
    def card(self) -> str:
        return str(self.site / "outsider" / "echo.toml")

    def plan(self, *arguments: str) -> dict[str, object]:
        status, out, err = self._typed(*arguments)
        assert status == 0, err
        found = json.loads(out)
        assert isinstance(found, dict)
        return found

    def refused(self, expected: int, *arguments: str) -> str:
        status, out, err = self._typed(*arguments)
        assert (status, out) == (expected, ""), err
        return err

    def _typed(self, *arguments: str) -> tuple[int, str, str]:
        """`aira-bench run ... --print-config` in this process: as said by the command, in a tenth of its time."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "outsider"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = run_command_line(["run", *arguments, "--print-config"])
        return status, out.getvalue(), err.getvalue()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outside:
    install_outsider(tmp_path / "site")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # files change within a second
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    return Outside(tmp_path / "home", tmp_path / "runs", tmp_path / "site")


def test_all_five_are_listed(place: Outside) -> None:
    rows = json.loads(place.call("extensions", "--json").stdout)
    assert [(row["kind"], row["name"]) for row in rows if row["distribution"] == "aira-outsider 1.0"] == [
        ("agent", "outsider-solver"),
        ("scaffold", "outsider-twice"),
        ("provider", "outsider-echo"),
        ("evaluator", "outsider-remarking"),
        ("task", "outsider-parity"),
    ]
    assert {row["kind"] for row in rows} == set(OFFERS)
    assert "outsider-solver" in place.call("agents").stdout


def test_names_that_lead_elsewhere_are_listed_as_such(place: Outside) -> None:
    names = ["replay:mine", "mine.toml", "mine:Class", "mine-2:fast"]
    install(place.site, "odd", modules={"odd.py": ""}, points={"agents": dict.fromkeys(names, "odd:A")})
    rows = {row["name"]: row for row in json.loads(place.call("extensions", "--json").stdout)}
    said = {name: rows[name]["not found by its name"] for name in names}
    assert said == dict.fromkeys(names, "such a name means something else") | {"mine-2:fast": ""}


def test_names_and_references_lead_to_the_same(place: Outside, tmp_path: Path) -> None:
    asked = ("run", "--agent", "outsider-solver", *NAMED, *SCORED, "--source", str(tmp_path), "--print-config")
    by_name = json.loads(place.call(*asked).stdout)
    assert by_name["scaffold"] == "outsider-twice", "the agent's own"
    assert (by_name["task"], by_name["evaluator"]) == ("outsider-parity", "outsider-remarking")
    by_reference = place.plan(
        "--agent", "outsider.agent:Solver", "--scaffold", "outsider.scaffold:Twice", "--task", "outsider.task:parity",
        "--evaluator", "outsider.evaluator:Remarking", "--profile", "cpu", "--fitness", "claimed",
        "--source", str(tmp_path),
    )  # fmt: skip
    assert by_reference["task"] == "outsider.task:parity"
    files = place.plan(
        "--agent", f"{os.path.relpath(place.site)}/outsider/agent.py:Solver", *NAMED, "--source", str(tmp_path)
    )
    assert files["agent"] == f"{place.site}/outsider/agent.py:Solver", "absolute, since it is read elsewhere"


def test_a_card_names_an_installed_provider_and_no_code(place: Outside, tmp_path: Path) -> None:
    asked = ("--agent", place.card, *NAMED, "--source", str(tmp_path))
    assert place.plan(*asked)["provider"] is None
    assert place.plan(*asked, "--provider", "outsider.provider:Session")["provider"] == "outsider.provider:Session"
    card = Path(place.card)
    card.write_text(card.read_text().replace("outsider-echo", "outsider.provider:Session"))
    refused = place.refused(2, *asked)
    assert "a card names no code of the host" in refused
    card.write_text(card.read_text().replace("outsider.provider:Session", "outsider-eco"))
    assert "Did you mean 'outsider-echo'?" in place.refused(2, *asked)
    no_card = place.refused(2, "--agent", "noop", *NAMED, "--provider", "outsider-echo")
    assert "Agent 'noop' is no card" in no_card


def test_a_task_names_an_installed_evaluator_and_no_code(place: Outside, tmp_path: Path) -> None:
    metadata = place.site / "outsider" / "ParityClassificationAccuracy" / "metadata.yaml"
    plain = metadata.read_text()
    asked = ("--agent", "noop", *NAMED, "--source", str(tmp_path))
    metadata.write_text(plain + "aira:\n  artifact:\n    kind: outsider-remarking\n")
    assert place.plan(*asked)["evaluator"] is None
    metadata.write_text(plain + "aira:\n  artifact:\n    kind: outsider.evaluator:Remarking\n")
    assert "a task names no code of the host" in place.refused(4, *asked)
    metadata.write_text(plain + "aira:\n  artifact:\n    kind: architectur\n")
    assert "Did you mean 'architecture'?" in place.refused(4, *asked)
    metadata.write_text(plain)
    assert "is built in" in place.refused(2, *asked, "--evaluator", "csv")


BROKEN = {
    "agent": ("agent.py", ("--agent", "outsider-solver", *NAMED)),
    "scaffold": ("scaffold.py", ("--agent", "noop", *NAMED, "--scaffold", "outsider-twice")),
    "evaluator": ("evaluator.py", ("--agent", "noop", *NAMED, *SCORED)),
    "task": ("task.py", ("--agent", "noop", *NAMED)),
}


@pytest.mark.parametrize("kind", list(BROKEN))
def test_a_broken_one_is_one_line_and_harms_nobody_else(place: Outside, tmp_path: Path, kind: str) -> None:
    file, asked = BROKEN[kind]
    (place.site / "outsider" / file).write_text("import no_such_module\n")
    said = place.refused(3, *asked, "--source", str(tmp_path))
    assert said.count("\n") == 1
    assert f"The {kind} outsider-" in said
    assert "installed aira-outsider 1.0" in said
    assert "No module named 'no_such_module'" in said
    assert "pip uninstall aira-outsider" in said


def test_who_names_no_broken_one_notices_nothing(place: Outside) -> None:
    for file in (place.site / "outsider").glob("*.py"):
        file.write_text("raise SystemExit('imported')\n")
    for command in (("run", "--help"), ("agents",), ("tasks",), ("extensions",)):
        place.call(*command)
    assert place.plan("--agent", "noop", "--task", "mad-2p", "--profile", "cpu")["agent"] == "noop"


def test_a_task_that_gives_no_folder_says_so(place: Outside, tmp_path: Path) -> None:
    file = place.site / "outsider" / "task.py"
    for text, said in {
        "parity = 3\n": "it gives '3', which is no absolute path",
        "parity = 'relative/folder'\n": "which is no absolute path",
        "def parity(where): return where\n": "a task is offered nothing",
    }.items():
        file.write_text(text)
        assert said in place.refused(3, "--agent", "noop", *NAMED, "--source", str(tmp_path))
    file.write_text("parity = '/nonexistent/Folder'\n")
    place.refused(4, "--agent", "noop", *NAMED, "--source", str(tmp_path))


# With containers: one distribution, three short runs


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    root = tmp_path_factory.mktemp("outsider")
    install_outsider(root / "site")
    raw = root / "raw" / "Example" / "parity" / "default"
    raw.mkdir(parents=True)
    (root / "raw").chmod(0o755)
    for split, start in (("train", 0), ("test", 500)):
        rows = [f"{number:012b},{number.bit_count() % 2}" for number in range(start, start + 200)]
        (raw / f"{split}.csv").write_text("\n".join(["bits,label", *rows]) + "\n")
    place = Outside(root / "home", root / "runs", root / "site")
    source = ("--source", str(root / "raw"))
    place.call("run", "--agent", "outsider-solver", *NAMED, *SCORED, *source, "--name", "solver")
    place.call(
        "run", "--agent", place.card, *NAMED, *source, "--scaffold", "outsider.scaffold:Twice", "--name", "model"
    )
    yield place
    shutil.rmtree(root, ignore_errors=True)


def manifest(place: Outside, name: str) -> Manifest:
    return place.run(name).manifest


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_an_outside_agent_scaffold_evaluator_and_task_make_a_run(ran: Outside) -> None:
    rows = ran.tree("solver")
    assert [row[1] for row in rows if len(row) > 1][:2] == ["draft", "improve"], "the outside scaffold's two steps"
    scores = ran.run("solver").seed(0).scores.read()
    assert {step: score.test for step, score in scores.items()} == {1: 1.0, 2: 1.0}
    assert all(score.remarks == ("seen by the outsider",) for score in scores.values()), "the outside evaluator's"
    plan = ran.run("solver").seed(0).node(1)
    assert (plan / "solution.py").is_file()
    stands_on = manifest(ran, "solver").extensions
    assert sorted(stands_on) == ["agent", "evaluator", "scaffold", "task"]
    for record in stands_on.values():
        assert (record.distribution, record.version) == ("aira-outsider", "1.0")
        assert len(record.sha256) == 64


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_an_outside_provider_serves_a_card(ran: Outside) -> None:
    nodes = read_run(ran.run("model"), KeyRing()).seed(0).nodes
    assert [(node.operator, node.step_class, node.fitness) for node in nodes] == [
        ("draft", "valid", 1.0),
        ("improve", "valid", 1.0),
    ]
    assert nodes[0].model_use.calls == 2, "a proposal and an analysis"
    assert sorted(manifest(ran, "model").extensions) == ["provider", "scaffold", "task"]
    assert list((ran.run("model").path / "seeds/0/calls").rglob("call_*.json"))


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_scores_of_an_outside_evaluator_share_no_board_with_others(ran: Outside) -> None:
    rows = json.loads(ran.call("leaderboard", "--json").stdout)
    solver, model = sorted(rows, key=lambda row: row["agent"] != "outsider-solver" and "solver" not in row["agent"])
    assert solver["evaluator"] != model["evaluator"]
    assert "outsider.evaluator:Remarking" in solver["evaluator"]
    assert solver["agent"].startswith("outsider-solver [")


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_a_replay_needs_no_provider_and_the_same_scaffold(ran: Outside) -> None:
    provider = ran.site / "outsider" / "provider.py"
    text = provider.read_text()
    provider.write_text("raise SystemExit('asked')\n")
    ran.call("run", "--agent", "replay:model", "--name", "replayed")
    assert ran.tree("replayed") == ran.tree("model")
    provider.write_text(text)
    scaffold = ran.site / "outsider" / "scaffold.py"
    text = scaffold.read_text()
    scaffold.write_text(text + "# another version\n")
    refused = ran.call("run", "--agent", "replay:model", "--name", "refused", status=6).stderr
    assert "its scaffold changed since it began" in refused
    assert "pip install aira-outsider==1.0" in refused
    scaffold.write_text(text)
    agent = ran.call("run", "--agent", "replay:solver", status=2).stderr
    assert "the extension outsider.agent:Solver, whose calls are not recorded" in agent


@pytest.mark.docker
@pytest.mark.timeout(600)
def test_a_run_goes_on_with_the_same_code_or_not_at_all(ran: Outside) -> None:
    journal = ran.run("solver").seed(0).journal
    record = ran.run("solver").path / "record.jsonl"
    assert journal.is_file()
    assert record.is_file()
    done = ran.call("resume", "solver")
    assert "outsider" in done.stdout
    agent = ran.site / "outsider" / "agent.py"
    text = agent.read_text()
    agent.write_text(text + "# another version\n")
    refused = ran.call("resume", "solver", status=6).stderr
    agent.write_text(text)
    assert "its agent changed since it began (outsider.agent:Solver of aira-outsider 1.0, hash " in refused
    version = next(ran.site.glob("*.dist-info/METADATA"))
    described = version.read_text()
    version.write_text(described.replace("1.0", "1.1"))
    refused = ran.call("resume", "solver", status=6).stderr
    version.write_text(described)
    assert "of aira-outsider 1.1" in refused
    left = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"label=aira-bench.run={manifest(ran, 'solver').run_id}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert left.stdout == ""
