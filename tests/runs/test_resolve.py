"""What a request comes to: names found once, gaps filled, impossible wishes refused; nothing started or written."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agents.fixed_code import SolutionFileAgent
from aira_bench.agents.llm.llm_agent import LlmAgent
from aira_bench.agents.searchers.bayes import BayesAgent
from aira_bench.errors import PrerequisiteError, RunStateError, TaskError, UsageError
from aira_bench.hardware import usable_cores
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.paths import HostPaths
from aira_bench.record.manifest import RunPlan
from aira_bench.record.run_record import read_run
from aira_bench.runs.resolve import ResolvedRun, RunRequest, reopen, reopen_agent, resolve
from aira_bench.scaffolds.greedy import Greedy
from aira_bench.scaffolds.regularized_evolution import RegularizedEvolution
from aira_bench.tasks.task import find_task
from aira_bench.testing import PlayedWorld
from aira_bench.world import SystemWorld
from generated_runs import manifest, write_run

UPSTREAM = Path(__file__).resolve().parents[1] / "folders" / "ParityClassificationAccuracy"
REQUEST = RunRequest(agent="evolution", task="mad-2p", profile="cpu")
PATHS = HostPaths(Path("/nowhere/home"), Path("/nowhere/runs"))
BUDGET = find_task("mad-2p").profile("cpu")


def resolved(**wishes: object) -> ResolvedRun:
    return resolve(replace(REQUEST, **wishes), PATHS, PlayedWorld())  # type: ignore[arg-type]


def test_gaps_are_filled_from_profile_agent_and_time() -> None:
    run = resolved()
    assert run.plan == RunPlan(
        name="evolution-mad-2p-cpu-19700101-000000-0000", agent="evolution", task="mad-2p", profile="cpu",
        scaffold=run.agent.default_scaffold, fitness="hidden", seeds=(0,), steps=BUDGET.steps, hours=BUDGET.hours,
        step_timeout_s=BUDGET.step_timeout_s, evaluation_timeout_s=BUDGET.evaluation_timeout_s, concurrency=1,
        confirm=True, bugs="judge",
    )  # fmt: skip
    assert (run.task.title, run.agent.name, run.agent_file) == ("mad-2p", "evolution", None)
    assert isinstance(run.policy, RegularizedEvolution)
    assert not run.source.synthetic


@given(
    steps=st.none() | st.integers(1, 99),
    hours=st.none() | st.floats(0.01, 50),
    step_timeout_s=st.none() | st.floats(1, 1e6),
    seeds=st.sets(st.integers(0, 99), min_size=1, max_size=9).map(tuple),
    concurrency=st.none() | st.integers(1, 9),
)
@settings(max_examples=12, deadline=None)
def test_a_wish_stands_before_the_profile_and_no_step_outlasts_its_seed(
    steps: int | None, hours: float | None, step_timeout_s: float | None, seeds: tuple[int, ...],
    concurrency: int | None,
) -> None:  # fmt: skip
    plan = resolved(steps=steps, hours=hours, step_timeout_s=step_timeout_s, seeds=seeds, concurrency=concurrency).plan
    assert plan.steps == (steps or BUDGET.steps)
    assert plan.hours == (hours or BUDGET.hours)
    assert plan.step_timeout_s == min(step_timeout_s or BUDGET.step_timeout_s, plan.hours * 3600)
    assert plan.seeds == seeds
    assert plan.concurrency == (concurrency or min(len(seeds), len(usable_cores())))


@pytest.mark.parametrize(
    ("wishes", "what"),
    [
        ({"seeds": ()}, "seeds"),
        ({"seeds": (1, 1)}, "distinct"),
        ({"seeds": (-1,)}, "below 0"),
        ({"steps": -3}, "steps"),
        ({"steps": 0}, "steps"),
        ({"hours": 0.0}, "hours"),
        ({"step_timeout_s": 0.0}, "step_timeout_s"),
        ({"concurrency": 0}, "concurrency"),
        ({"hours": float("nan")}, "finite"),
        ({"hours": -1.0}, "hours"),
        ({"step_timeout_s": -5.0}, "step_timeout_s"),
        ({"concurrency": -1}, "concurrency"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"memory": "all"}, "memory"),
        ({"fitness": "test"}, "fitness"),
    ],
)
def test_numbers_that_no_run_can_have_are_a_usage_error(wishes: dict[str, object], what: str) -> None:
    """The command line's types refuse most of them before; a caller in Python has no such guard."""
    with pytest.raises(UsageError, match=what):
        resolved(**wishes)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"task": None}, "--task is missing"),
        ({"task": "mad-2"}, "Did you mean"),
        ({"agent": "evolutoin"}, "Did you mean 'evolution'"),
        ({"scaffold": "ladder"}, "ladder"),
        ({"profile": "gpu"}, "no profile 'gpu'"),
        ({"source": "synthetic"}, "makes its own data"),
        ({"agent": "script:/nowhere/solution.py"}, "cannot be read"),
        ({"agent": "replay:nothing", "task": None}, "No run 'nothing'"),
    ],
)
def test_names_that_stand_for_nothing_are_refused_with_what_there_is(wishes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolved(**wishes)


def test_a_task_without_hidden_validation_cannot_be_driven_by_it() -> None:
    with pytest.raises(UsageError, match="no hidden validation") as caught:
        resolved(agent="noop", task=str(UPSTREAM))
    assert caught.value.hint == f"aira-bench run --agent noop --task {UPSTREAM} --fitness claimed"
    run = resolved(agent="noop", task=str(UPSTREAM), fitness="claimed")
    assert run.plan.task == str(UPSTREAM), "a folder is recorded as its full path"


def test_a_task_is_recorded_by_the_name_it_is_shown_with() -> None:
    assert resolved(task=find_task("mad-2p").name).plan.task == "mad-2p"


def test_a_broken_task_folder_is_the_folder_s_failure(tmp_path: Path) -> None:
    with pytest.raises(TaskError):
        resolved(task=str(tmp_path))


def test_a_default_name_is_a_plain_file_name(tmp_path: Path) -> None:
    path = tmp_path / f"a b;{'c' * 120}.py"
    path.write_text("pass\n")
    name = resolved(agent=f"script:{path}").plan.name
    assert len(name) == 100
    assert name.startswith("script-a-b-c")
    assert resolved(name="mine").plan.name == "mine"


def test_a_solution_file_is_read_once_and_kept_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "solution.py"
    path.write_bytes(b"print(1)\r\n")
    run = resolved(agent=f"script:{path}")
    path.write_bytes(b"print(2)\n")
    assert run.agent_file == b"print(1)\r\n", "what the manifest hashes is what was there when the run was planned"
    assert isinstance(run.agent, SolutionFileAgent)
    assert "print(1)" in run.agent.code


def test_a_card_needs_its_key_and_says_what_stands_behind_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    monkeypatch.delenv("GOOGLE_API_KEY", raising=False)
    with pytest.raises(PrerequisiteError, match="cannot be used yet"):
        resolved(agent="gemini3pro")
    monkeypatch.setenv("GEMINI_API_KEY", "a-key-of-a-test")
    monkeypatch.setenv("GOOGLE_API_KEY", "a-key-of-a-test")
    run = resolved(agent="gemini3pro", max_tokens=9)
    assert isinstance(run.agent, LlmAgent)
    provenance = run.agent.provenance()
    assert provenance.card is not None
    assert provenance.card["name"] == "gemini3pro"
    assert provenance.prompts
    assert "a-key-of-a-test" not in str(provenance)
    assert isinstance(run.policy, Greedy)


def test_agents_without_a_model_have_neither_prompts_nor_a_card() -> None:
    provenance = resolved(agent="random").agent.provenance()
    assert (dict(provenance.prompts), provenance.card) == ({}, None)


def test_resolving_leaves_no_trace_on_disk(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path / "home", tmp_path / "runs")
    resolve(REQUEST, paths, PlayedWorld())
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def recorded(tmp_path: Path) -> HostPaths:
    """A signed run of this machine, of a replayable agent, with a budget."""
    paths = HostPaths(tmp_path / "home", tmp_path / "runs")
    record = manifest("old", seeds=(0, 1), steps=3)
    record = record.model_copy(update={"schema_version": 2, "plan": record.plan.model_copy(update={"max_tokens": 5})})
    write_run(paths.runs, record, key=MachineKey(bytes(range(32))))
    return paths


def test_a_replay_is_the_recorded_plan_under_another_name(recorded: HostPaths) -> None:
    run = resolve(RunRequest("replay:old"), recorded, PlayedWorld())
    old = manifest("old", seeds=(0, 1), steps=3).plan
    expected = {"agent": "replay:old", "name": "replay-old-19700101-000000-0000", "max_tokens": None, "confirm": True}
    assert run.plan == old.model_copy(update=expected)
    assert not resolve(RunRequest("replay:old", confirm=False), recorded, PlayedWorld()).plan.confirm
    named = resolve(RunRequest("replay:old", name="again"), recorded, PlayedWorld())
    assert (named.plan.name, named.agent.name) == ("again", "evolution")


@pytest.mark.parametrize(
    ("wishes", "flags"),
    [
        ({"task": "mad-2p"}, "--task"),
        ({"profile": "cpu"}, "--profile"),
        ({"steps": 99}, "--steps"),
        ({"seeds": (7,)}, "--seeds"),
        ({"steps": 2, "seeds": (1, 2), "fitness": "claimed"}, "--fitness, --seeds, --steps"),
        ({"step_timeout_s": 3.0}, "--step-timeout"),
        ({"max_tokens": 3}, "--max-tokens"),
    ],
)
def test_a_replay_is_asked_for_nothing_that_the_recorded_run_has_decided(
    recorded: HostPaths, wishes: dict[str, object], flags: str
) -> None:
    """It was ignored: whoever asked for two steps got as many as there were."""
    with pytest.raises(UsageError, match=rf"takes no {flags}\."):
        resolve(RunRequest("replay:old", **wishes), recorded, PlayedWorld())  # type: ignore[arg-type]


@pytest.mark.parametrize("agent", ["evolution", "random", "baseline"])
def test_an_agent_that_can_never_propose_what_a_task_wants_is_refused_before_images_and_data(agent: str) -> None:
    """It was told at its first proposal, when images were built and data was made."""
    with pytest.raises(
        UsageError, match=r"knows .* kinds architecture, module, script; .* submission.csv \(csv\)"
    ) as caught:
        resolved(agent=agent, task=str(UPSTREAM), profile="paper", fitness="claimed")
    assert caught.value.hint == f"aira-bench run --agent script:FILE.py --task {UPSTREAM}"


def test_a_searcher_of_architectures_is_refused_where_code_is_due() -> None:
    bayes = BayesAgent()
    assert "searches architectures" in bayes.fault_of(find_task("lra-listops").metadata.aira.artifact)
    assert not bayes.fault_of(find_task("mad-2p").metadata.aira.artifact)


def test_a_replay_asks_no_provider(recorded: HostPaths) -> None:
    served = manifest("served", seeds=(0,), steps=1)
    update = {"agent": "mine", "provider": "gone.away:Session"}
    served = served.model_copy(update={"schema_version": 2, "plan": served.plan.model_copy(update=update)})
    write_run(recorded.runs, served, key=MachineKey(bytes(range(32))))
    run = resolve(RunRequest("replay:served"), recorded, PlayedWorld())
    assert (run.plan.provider, run.agent.name) == (None, "mine")


def test_numbers_of_the_wrong_kind_are_errors_of_ours() -> None:
    for name, wish in (("seeds", 2), ("seeds", "01"), ("seeds", (0, 0)), ("steps", "6")):
        with pytest.raises(UsageError, match=rf"^No run can be planned so: {name}: [^.]*[^.]\.$") as caught:
            resolved(**{name: wish})
        assert "Value error" not in caught.value.message


def test_a_record_is_reopened_with_the_task_and_the_source_it_names(tmp_path: Path) -> None:
    plan, paths = manifest("old", seeds=(0,), steps=3).plan, HostPaths(tmp_path / "home", tmp_path / "runs")
    found = reopen(plan, paths)
    assert (found.plan, found.task.title, found.source.argument) == (plan, "mad-2p", None)
    with pytest.raises(UsageError, match="Unknown task"):
        reopen(plan.model_copy(update={"task": "mad-0p"}), paths)
    with pytest.raises(UsageError, match="takes no --source"):
        reopen(plan.model_copy(update={"source": "/gone"}), paths)


AGENT_FILE = """
from aira_bench.protocols import Proposal, UnlookingAgent


class Fixed(UnlookingAgent):
    \"\"\"Proposes one line.\"\"\"

    name = "fixed"
    default_scaffold = "one-shot"

    def propose(self, brief, situation):
        return Proposal("print({number})")
"""


def test_a_run_goes_on_with_the_agent_s_file_as_it_was_or_not_at_all(tmp_path: Path) -> None:
    paths, file = HostPaths(tmp_path / "home", tmp_path / "runs"), tmp_path / "mine.py"
    file.write_text(AGENT_FILE.format(number=1))
    begun = resolve(
        RunRequest(f"{file}:Fixed", "mad-2p", seeds=(0,), steps=2, scaffold="one-shot"), paths, PlayedWorld()
    )
    kept = manifest("old", seeds=(0,), steps=2)
    kept = kept.model_copy(update={"schema_version": 2, "plan": begun.plan, "extensions": dict(begun.extensions)})
    folder = write_run(paths.runs, kept, key=MachineKey(bytes(range(32))))
    record = read_run(folder, KeyRing(MachineKey(bytes(range(32))).public))
    assert reopen_agent(reopen(record.manifest.plan, paths), paths, record).agent.name == "fixed"
    file.write_text(AGENT_FILE.format(number=2))
    with pytest.raises(RunStateError, match="its agent changed since it began"):
        reopen_agent(reopen(record.manifest.plan, paths), paths, record)


def test_two_default_names_of_one_second_differ_and_long_ones_end_in_what_tells_them_apart(tmp_path: Path) -> None:
    paths, world = HostPaths(tmp_path / "home", tmp_path / "runs"), SystemWorld()
    names = [resolve(replace(REQUEST, name=None), paths, world).plan.name for _ in range(3)]
    assert len(set(names)) == 3
    assert {len(name) for name in names} == {len("evolution-mad-2p-cpu-19700101-000000-0000")}
