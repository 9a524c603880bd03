"""Checking agents and scaffolds: the templates hold, and what breaks a rule of all is one line and exit status 1."""

from pathlib import Path

import pytest

from aira_bench.authoring.templates import write_template
from aira_bench.cli.main import run_command_line
from outside import install

SCAFFOLD = """
import random
from dataclasses import dataclass, field

from aira_bench.record.node import best_node
from aira_bench.scaffolds.policy import Crossover, Debug, Draft, Improve, Stop


@dataclass
class Tried:
    lower_is_better: bool = False
    seen: list = field(default_factory=list)

    def next(self, journal, rng):
        best = best_node(journal, lower_is_better=self.lower_is_better)
        {body}
"""
AGENT = """
import random
from dataclasses import dataclass

from aira_bench.agents.agent import Analysis, Proposal, UnlookingAgent
from aira_bench.errors import UsageError


@dataclass
class Tried(UnlookingAgent):
    name: str = "tried"
    default_scaffold: str = "greedy"
    steps: int = 0

    def propose(self, brief, situation):
        {body}
"""


def file(folder: Path, text: str, body: str) -> str:
    path = folder / "tried.py"
    path.write_text(text.replace("{body}", body))
    return f"{path}:Tried"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 1) -> str:
    assert run_command_line(["check", *arguments]) == status
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == 1, shown
    return shown[0]


@pytest.mark.parametrize("kind", ["agent", "scaffold"])
def test_a_template_holds_to_every_rule_of_its_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    written = write_template("agent" if kind == "agent" else "scaffold", "deep-search", tmp_path)
    reference = f"{written.path / 'deep_search.py'}:DeepSearch"
    assert run_command_line(["check", reference]) == 0
    shown = capsys.readouterr().out
    assert f"{reference} works." in shown
    assert "--agent" in shown.splitlines()[-1]
    assert "remark" not in shown


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return Improve((1,))", ["begins with a draft or stops", "Improve"]),
        ("return 'draft'", ["begins with a draft or stops", "'draft'"]),
        ("return Draft() if not journal else Improve((99,))", ["parents are steps of the journal", "99"]),
        ("return Draft() if not journal else Improve((journal[-1].step,))", ["improves and crosses valid steps"]),
        ("return Draft() if not journal else Debug((journal[-1].step,))", ["debugs failed ones"]),
        ("return Draft() if best is None else Crossover((best.step, best.step))", ["two different parents"]),
        (
            "self.seen.append(1); return Draft() if len(self.seen) % 5 or best is None else Improve((best.step,))",
            ["it keeps no state"],
        ),
        ("random.random(); return Draft()", ["draws from the generator it is given alone"]),
        ("return Draft() if len(journal) < 9 else journal[99]", ["it raised IndexError"]),
        ("return Draft() if best is None else Improve((int(1 / best.fitness and best.step),))", ["it raised"]),
    ],
)
def test_a_scaffold_that_breaks_a_rule_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, said: list[str]
) -> None:
    line = refused(capsys, file(tmp_path, SCAFFOLD, body))
    assert "does not hold to" in line
    assert all(part in line for part in said), line


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return 'print(1)'", ["'print(1)'", "a Proposal"]),
        ("return Proposal(b'print(1)', '')", ["code, plan and failure"]),
        ("self.steps += 1; return Proposal(str(self.steps), '')", ["the same for the same situation"]),
        ("return Proposal(str(random.random()), '')", ["the same proposals"]),
        ("random.random(); return Proposal('', '')", ["draws from the generator it is given alone"]),
        ("return Proposal('\\ud800', '')", ["half a surrogate pair"]),
        ("return Proposal(situation.journal[0].plan, '')", ["IndexError"]),
        ("raise UsageError('not this task')", ["not this task"]),
    ],
)
def test_an_agent_that_breaks_a_rule_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: str, said: list[str]
) -> None:
    line = refused(capsys, file(tmp_path, AGENT, body))
    assert "on mad-2p, does not hold to" in line
    assert all(part in line for part in said), line


def test_an_agent_is_told_of_the_task_that_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = "assert brief.artifact.kind == 'module', brief.artifact.kind; return Proposal('', '')"
    reference = file(tmp_path, AGENT, body)
    assert "architecture" in refused(capsys, reference)
    assert run_command_line(["check", reference, "--task", "lra-listops"]) == 0
    assert "'mad2p'" in refused(capsys, reference, "--task", "mad2p")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_package\n", "no_such_package"),
        ("class Other: pass\n", "Tried"),
        ("class Tried:\n    pass\n", "is no agent: it has no method"),
        ("class Tried:\n    def next(self): pass\n", "'next' cannot be called with (journal, rng)"),
        ("class Tried:\n    def __init__(self, depth): pass\n    def next(self, journal, rng): pass\n", "depth"),
        ("def Tried():\n    return 5\n", "is no agent"),
        ("Tried = 5\n", "is no agent"),
        ("raise SystemExit(0)\n", "SystemExit"),
        ("def broken(:\n", "SyntaxError"),
    ],
)
def test_what_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    path = tmp_path / "tried.py"
    path.write_text(text)
    assert said in refused(capsys, f"{path}:Tried")


def test_a_function_that_makes_a_scaffold_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "made.py"
    path.write_text(
        "from aira_bench.scaffolds.greedy import Greedy\n\n\n"
        "def shallow(lower_is_better):\n    return Greedy(2, lower_is_better=lower_is_better)\n"
    )
    assert run_command_line(["check", f"{path}:shallow"]) == 0
    assert "where lower is better: it keeps no state" in capsys.readouterr().out


def test_an_installed_one_is_checked_by_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = write_template("agent", "hill-search", tmp_path)
    scaffold = write_template("scaffold", "step-first", tmp_path)
    install(
        tmp_path / "site", "mine",
        modules={
            "hill_search.py": (agent.path / "hill_search.py").read_text(),
            "step_first.py": (scaffold.path / "step_first.py").read_text(),
        },
        points={
            "agents": {"hill-search": "hill_search:HillSearch"},
            "scaffolds": {"step-first": "step_first:StepFirst"},
        },
    )  # fmt: skip
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert run_command_line(["check", "hill-search"]) == 0
    assert "it has a name that boards can show" in capsys.readouterr().out
    assert run_command_line(["check", "step-first"]) == 0
    assert "where higher is better" in capsys.readouterr().out


def test_a_reference_to_a_task_s_folder_is_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_template("task", "DeepAccuracy", tmp_path).path
    (tmp_path / "offers.py").write_text(f"from pathlib import Path\n\nTASK = Path({str(folder)!r})\n")
    assert run_command_line(["check", f"{tmp_path / 'offers.py'}:TASK", "--files-only"]) == 0
    assert "DeepAccuracy: the files are in order; nothing was run" in capsys.readouterr().out


def test_a_task_of_an_extension_is_named_again_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_template("task", "CountedAccuracy", tmp_path).path
    (tmp_path / "offers.py").write_text(f"TASK = {str(folder)!r}\n")
    assert run_command_line(["check", f"{tmp_path / 'offers.py'}:TASK", "--files-only"]) == 0
    assert capsys.readouterr().out.endswith(f"aira-bench check {tmp_path / 'offers.py'}:TASK\n")


def test_a_file_without_a_name_in_it_is_no_unknown_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.py").write_text("")
    assert run_command_line(["check", str(tmp_path / "mine.py")]) == 2
    assert capsys.readouterr().err.endswith(f"Try: {tmp_path / 'mine.py'}:NAME\n")


@pytest.mark.parametrize("kind", ["agent", "scaffold"])
def test_a_package_s_folder_is_checked_by_what_it_offers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    folder = write_template("agent" if kind == "agent" else "scaffold", "deep-search", tmp_path).path
    assert run_command_line(["check", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert f"{folder} works." in shown
    assert f"{folder / 'deep_search.py'}:DeepSearch" in shown.splitlines()[-1]
    (folder / "src").mkdir()
    (folder / "deep_search.py").rename(folder / "src" / "deep_search.py")
    assert run_command_line(["check", str(folder)]) == 0
    (folder / "src" / "deep_search.py").unlink()
    capsys.readouterr()
    assert "offers deep_search:DeepSearch, but" in refused(capsys, str(folder))


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("[project", 1, "pyproject.toml cannot be read"),
        ("project = 5\n", 1, "pyproject.toml cannot be read"),
        ('[project.entry-points."aira_bench.agents"]\na = 5\n', 1, "pyproject.toml cannot be read"),
        ('[project]\nname = "other"\n', 4, "metadata.yaml is missing"),
        ('[project.entry-points."other"]\na = "b:c"\n', 4, "metadata.yaml is missing"),
    ],
)
def test_a_package_that_offers_nothing_is_no_extension(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, status: int, said: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    assert said in refused(capsys, str(tmp_path), status=status)
