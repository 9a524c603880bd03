"""What one word sets, what stands in its place, and that both are said and recorded."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import aira_bench
from aira_bench.cli.main import run_command_line
from aira_bench.errors import UsageError
from aira_bench.images.flavour import load_flavour
from aira_bench.paths import HostPaths
from aira_bench.record.identity import planned_identity
from aira_bench.record.manifest import RunPlan
from aira_bench.runs.briefing import brief_of
from aira_bench.runs.protocol import protocol_lines, settings_of
from aira_bench.runs.request import RunRequest
from aira_bench.runs.resolve import resolve
from aira_bench.tasks.task import find_task, shipped_tasks
from aira_bench.testing import PlayedWorld
from generated_runs import manifest
from played_host import played_host, played_sandbox, request

PATHS = HostPaths(Path("/nowhere/home"), Path("/nowhere/runs"))


def planned(**wishes: object) -> RunPlan:
    asked = {"agent": "evolution", "task": "mad-2p", "scaffold": "greedy", "name": "r", "concurrency": 1} | wishes
    return resolve(RunRequest(**asked), PATHS, PlayedWorld()).plan  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "scaffold", "seeds", "hours"),
    [
        ("mad-2p", "greedy", 10, 24), ("mad-3p", "one-shot", 20, 24), ("babistories-2p", "greedy", 10, 60),
        ("dclm-2p", "one-shot", 20, 60), ("lra-text-conf", "greedy", 10, 24), ("autoresearch-lit", "greedy", 10, 24),
    ],
)  # fmt: skip
def test_the_papers_section_5(task: str, scaffold: str, seeds: int, hours: float) -> None:
    plan = planned(task=task, scaffold=scaffold, protocol="paper")
    assert (plan.protocol, plan.fitness, plan.bugs, plan.exclusive) == ("paper", "claimed", "analysis", True)
    assert (plan.seeds, plan.hours, plan.steps) == (tuple(range(seeds)), hours, 500)


def test_its_hours_and_steps_are_those_of_every_shipped_profile_paper() -> None:
    for task in shipped_tasks():
        settings, budget = settings_of("paper", task.title, "greedy"), task.profile("paper")
        assert (settings.steps, settings.hours) == (budget.steps, budget.hours), task.title


def test_ours_is_the_default_and_leaves_budgets_to_the_profile() -> None:
    plan, budget = planned(profile="cpu"), find_task("mad-2p").profile("cpu")
    assert (plan.protocol, plan.fitness, plan.bugs, plan.exclusive) == ("aira", "hidden", "judge", False)
    assert (plan.seeds, plan.hours, plan.steps) == ((0,), budget.hours, budget.steps)
    assert plan == planned(profile="cpu", protocol="aira")
    with pytest.raises(UsageError, match="no protocol 'theirs', only aira, paper"):
        settings_of("theirs", "mad-2p", "greedy")


def test_what_is_given_stands_in_its_place_and_is_named() -> None:
    plan = planned(protocol="paper", seeds=(3, 4), hours=1.0, exclusive=False, fitness="hidden")
    assert (plan.seeds, plan.hours, plan.exclusive, plan.fitness, plan.bugs) == (
        (3, 4),
        1.0,
        False,
        "hidden",
        "analysis",
    )
    said, instead = protocol_lines(plan, "mad-2p")
    assert said.startswith(
        "paper sets --fitness claimed --bugs analysis --seeds 10 --steps 500 --hours 24 --exclusive (docs/protocols.md"
    )
    assert instead == (
        "overridden: --fitness hidden in place of --fitness claimed, --seeds 3,4 in place of --seeds 10, "
        "--hours 1 in place of --hours 24, --no-exclusive in place of --exclusive"
    )
    assert len(protocol_lines(planned(protocol="paper"), "mad-2p")) == 1, "nothing was overridden"
    assert len(protocol_lines(planned(protocol="paper", seeds=tuple(range(10))), "mad-2p")) == 1, "said, but the same"


def test_ours_names_what_leaves_it_and_says_nothing_of_seeds() -> None:
    (said,) = protocol_lines(planned(profile="cpu", seeds=(0, 1, 2), hours=2.0), "mad-2p")
    assert said.startswith("aira sets --fitness hidden --bugs judge --no-exclusive, steps and hours of the profile")
    assert protocol_lines(planned(profile="cpu", fitness="claimed"), "mad-2p")[1] == (
        "overridden: --fitness claimed in place of --fitness hidden"
    )


def test_a_scaffold_that_the_paper_has_not_says_so() -> None:
    lines = protocol_lines(planned(scaffold=None, protocol="paper"), "mad-2p")
    assert lines[-1] == "the paper has no scaffold regularized-evolution; its seeds are those of greedy agents"


def test_a_protocol_is_part_of_what_a_run_is_and_old_records_have_ours() -> None:
    def facts(plan: RunPlan) -> dict[str, str]:
        return planned_identity(manifest("t", seeds=(0,), steps=2).model_copy(update={"plan": plan})).facts

    ours, papers = planned(), planned(protocol="paper")
    alike = planned(protocol="paper", fitness="hidden", bugs="judge", exclusive=False)
    assert {name: facts(papers)[name] for name in ("protocol", "fitness", "bugs")} == {
        "protocol": "paper", "fitness": "claimed", "bugs": "analysis",
    }  # fmt: skip
    assert set(facts(alike).items()) - set(facts(ours).items()) == {("protocol", "paper")}
    assert "protocol" not in facts(ours)
    assert "bugs" not in facts(ours)
    old = {
        name: value for name, value in json.loads(ours.model_dump_json()).items() if name not in ("protocol", "bugs")
    }
    for fitness, bugs in (("hidden", "judge"), ("claimed", "analysis")):
        read = RunPlan.model_validate_json(json.dumps(old | {"fitness": fitness}))
        assert (read.protocol, read.bugs, read.bugs_named_by) == ("aira", None, bugs)
        assert facts(read) == facts(planned(fitness=fitness, bugs=bugs))


def test_agents_are_told_whose_word_counts(tmp_path: Path) -> None:
    for protocol, steers in (("aira", False), ("paper", True)):
        record = manifest("t", seeds=(0,), steps=2)
        plan = planned(protocol=protocol, profile="cpu", fitness="hidden")
        brief = brief_of(record.model_copy(update={"plan": plan}), find_task("mad-2p"), tmp_path, load_flavour("cpu"))
        assert (brief.fitness, brief.analysis_steers) == ("hidden", steers)
        assert replace(brief, fitness="claimed").analysis_steers


def test_the_command_takes_one_word_and_what_stands_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    asked = ["run", "--agent", "random", "--task", "mad-2p", "--profile", "cpu", "--protocol", "paper", "--hours", "2"]
    assert run_command_line([*asked, "--no-exclusive", "--print-config"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["protocol"], plan["bugs"], plan["fitness"]) == ("paper", "analysis", "claimed")
    assert (len(plan["seeds"]), plan["hours"], plan["steps"], plan["exclusive"]) == (10, 2.0, 500, False)
    run_command_line([*asked, "--dry-run"])
    said = capsys.readouterr().out
    assert "protocol    paper sets --fitness claimed --bugs analysis --seeds 10 --steps 500 --hours 24" in said
    assert "overridden: --hours 2 in place of --hours 24" in said


AGENT = """
def answer(request):
    if request.schema:
        return '{"is_bug": %s, "summary": "too few primitives", "metric": 0.25}'
    return "A try.\\n```python\\nARCHITECTURE = mA,M,mA,M,mA,M,mA,M,mA,M,mA,M,mA,M,mA,M\\n```"
"""


@pytest.mark.parametrize(
    ("wishes", "bug", "operators"),
    [
        ({"protocol": "paper"}, "true", ["draft"] * 5 + ["debug"] * 2),
        ({"protocol": "paper", "bugs": "judge"}, "true", ["draft"] * 5 + ["improve"] * 2),
        ({"protocol": "paper"}, "false", ["draft"] * 5 + ["improve"] * 2),
        ({}, "true", ["draft"] * 5 + ["improve"] * 2),
    ],
)
def test_a_whole_run_goes_by_its_protocol_and_records_it(
    tmp_path: Path, wishes: dict[str, object], bug: str, operators: list[str]
) -> None:
    (tmp_path / "agent.py").write_text(AGENT % bug)
    asked = {"agent": f"script:{tmp_path}/agent.py", "seeds": (0,), "steps": 7, "scaffold": "greedy"} | wishes
    done = aira_bench.run(request(**asked), played_host(tmp_path, played_sandbox()))
    (seed,) = done.record.seeds
    assert [node.operator for node in seed.nodes] == operators
    plan = done.record.manifest.plan
    claimed, steers = plan.fitness == "claimed", plan.bugs == "analysis"
    assert (plan.protocol, claimed) == (("paper", True) if wishes else ("aira", False))
    assert {node.step_class for node in seed.nodes} == {"buggy" if steers and bug == "true" else "valid"}
    assert {node.claimed for node in seed.nodes} == {0.25 if claimed else None}
    assert all((node.fitness == 0.25) == claimed for node in seed.nodes if node.is_valid)
    (row,) = done.board.rows
    assert row.entry.identity.facts.get("protocol") == ("paper" if wishes else None)
    assert row.entry.identity.facts.get("bugs") == ("analysis" if steers else None)
