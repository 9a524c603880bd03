"""What phases come to that whole runs seldom meet: a provider's silence at the end of the hours, claims, analyses."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.agents.agent import (
    Agent,
    Analysis,
    Brief,
    BugSource,
    FitnessSource,
    Proposal,
    Situation,
    StepReport,
    UnlookingAgent,
)
from aira_bench.agents.catalog import SEARCHERS, find_agent
from aira_bench.deadline import Deadline
from aira_bench.errors import AskedInVain, BudgetExceeded, EvaluationFailed, ModelError, PrerequisiteError, SandboxError
from aira_bench.evaluation.catalog import open_evaluator
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting, SubmissionEvaluator
from aira_bench.evaluation.verdict import Refused, Scored, Verdict
from aira_bench.images.ensure import ImageSet
from aira_bench.record.folder import SeedFolder
from aira_bench.record.journal import SeedEnded
from aira_bench.record.node import ModelUse, Node
from aira_bench.runs.line import Line
from aira_bench.runs.loop import run_seed
from aira_bench.runs.outcomes import Assessment, assess
from aira_bench.runs.places import Place
from aira_bench.runs.session import SearchSession
from aira_bench.runs.slots import open_slots
from aira_bench.sandbox.sandbox import ContainerSpec, FilesTooLarge, StepLost
from aira_bench.scaffolds.catalog import make_scaffold
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import find_task
from aira_bench.testing import Call, Done, PlayedWorld
from aira_bench.waiting import Stopped
from generated_runs import manifest
from played_host import ProbedSandbox, played_sandbox, solve

TASK = find_task("mad-2p")
SCORED = Scored(0.5, 0.25, "M", "1", 2.0)
EVOLUTION = SEARCHERS["evolution"]


@dataclass(frozen=True)
class Scripted(UnlookingAgent):
    """Proposes as evolution does, but for what a test does before, and analyzes as told."""

    before: Callable[[], None] = lambda: None
    looks: Callable[[], Analysis | None] = lambda: None
    told: Callable[[Situation], None] = lambda situation: None
    name: str = "scripted"
    default_scaffold: str = "one-shot"

    def propose(self, brief: Brief, situation: Situation) -> Proposal:
        self.before()
        return EVOLUTION.propose(brief, situation)

    def analyze(self, brief: Brief, situation: Situation, report: StepReport) -> Analysis | None:
        self.told(situation)
        return self.looks()


def told(fitness: FitnessSource, bugs: BugSource) -> Brief:
    artifact = TASK.metadata.aira.artifact
    return Brief("mad-2p", "", artifact, "Accuracy", False, "cpu", fitness, 60.0, 1024, bugs=bugs)


def played(
    tmp_path: Path,
    sandbox: ProbedSandbox,
    agent: Agent,
    *,
    hours: float = 1.0,
    fitness: str = "hidden",
    bugs: BugSource | None = None,
    steps: int = 2,
    scaffold: str = "regularized-evolution",
    stop: threading.Event | None = None,
    evaluator: SubmissionEvaluator | None = None,
) -> tuple[tuple[Node, ...], SeedEnded]:
    """A seed of so many steps at most: its nodes, and how it ended."""
    wishes = {"hours": hours, "fitness": fitness, "bugs": bugs, "steps": steps}
    plan = manifest("t", seeds=(0,), steps=steps).plan.model_copy(update=wishes)
    brief = told(plan.fitness, plan.bugs_named_by)
    setting = EvaluationSetting(TASK, "cpu", TaskData(tmp_path), ImageSet("a", "e"), "r", draw_secret="00")
    opened = partial(open_evaluator, setting) if evaluator is None else lambda *_: evaluator
    slots = open_slots(sandbox, [ContainerSpec("a", "agent", "r")], opened, Line([Place()]))
    policy = make_scaffold(scaffold, steps=steps, lower_is_better=False)
    session = SearchSession(
        plan, brief, agent, policy, setting, None, slots, sandbox.world, lambda progress: None,
        retry_pauses_s=(0.0, 0.0), stop=stop or threading.Event(),
    )  # fmt: skip
    folder = SeedFolder(tmp_path / "seed")
    try:
        ended = run_seed(session, folder, 0)
    finally:
        slots.close()
    return folder.nodes, ended


def test_a_provider_that_is_silent_until_the_hours_end_ends_the_seed_not_the_run(tmp_path: Path) -> None:
    """A call gets what the seed has left at most; its silence is then no refusal, and the seed must not stay open."""
    world = PlayedWorld()
    sandbox = replace(played_sandbox(), world=world)

    def silent() -> None:
        world.now_s += 3600
        raise ModelError("The provider did not answer within 3600 s.")

    nodes, ended = played(tmp_path, sandbox, Scripted(silent))
    assert (nodes, ended.why) == ((), "hours")


def test_a_provider_that_refuses_with_time_left_stops_the_run(tmp_path: Path) -> None:
    def refuse() -> None:
        raise ModelError("The key is not valid.")

    with pytest.raises(ModelError, match="key is not valid"):
        played(tmp_path, played_sandbox(), Scripted(refuse))


def test_an_analysis_is_told_what_the_code_left_of_the_hours(tmp_path: Path) -> None:
    """An agent gives its model call that long: more than is left would overshoot the seed's hours."""
    left: list[float] = []
    sandbox = replace(played_sandbox(), world=PlayedWorld(), seconds={"agent": 50.0})
    played(tmp_path, sandbox, Scripted(told=lambda situation: left.append(situation.seconds_left)))
    assert left == [3550.0, 3500.0]


def test_code_that_was_written_when_the_hours_were_over_does_not_run(tmp_path: Path) -> None:
    world = PlayedWorld()
    sandbox = replace(played_sandbox(), world=world)

    def think() -> None:
        world.now_s += 3600

    nodes, ended = played(tmp_path, sandbox, Scripted(think))
    assert (nodes, ended.why, sandbox.calls) == ((), "hours", 0)


@pytest.mark.parametrize(("fitness", "steps", "containers"), [("hidden", 1, 2), ("claimed", 0, 1)])
def test_an_analysis_that_takes_the_rest_of_the_hours_takes_no_score_that_steers(
    tmp_path: Path, fitness: str, steps: int, containers: int
) -> None:
    """It comes after the judge, but where it may refuse what the judge would keep: there it comes first."""
    world = PlayedWorld()
    sandbox = replace(played_sandbox(), world=world)

    def think(situation: Situation) -> None:
        world.now_s += 3600

    nodes, ended = played(tmp_path, sandbox, Scripted(told=think), fitness=fitness)
    assert (len(nodes), ended.why, sandbox.calls) == (steps, "hours", containers)


@dataclass(frozen=True)
class Reader(Scripted):
    """Keeps what it is told of its steps."""

    reports: list[StepReport] = field(default_factory=list)
    journals: list[str] = field(default_factory=list)

    def analyze(self, brief: Brief, situation: Situation, report: StepReport) -> Analysis | None:
        self.reports.append(report)
        self.journals.append(repr(situation.journal))
        return None


class Judging:
    """Says the same of every submission, with details of both splits."""

    def evaluate(self, submission: Submission, *, deadline: Deadline, destination: Path) -> Verdict:
        tasks = {"recall": {"micro": 0.76543219, "macro": 0.1}, "copying": 0.5, "odd": "x", "nan": float("nan")}
        details = {"validation": {"micro": 0.63, "tasks": tasks}, "test": {"tasks": {"recall": {"micro": 0.98765}}}}
        return Scored(0.98765, 0.25, submission.canonical, "1", 2.0, details)

    def close(self) -> None: ...


def test_an_analysis_is_told_the_score_that_steers_and_nothing_of_the_test(tmp_path: Path) -> None:
    reader = Reader()
    nodes, _ = played(tmp_path, played_sandbox(), reader, evaluator=Judging())
    assert [report.outcome for report in reader.reports] == ["valid, fitness 0.25"] * 2
    assert [dict(report.parts) for report in reader.reports] == [{"recall": 0.7654, "copying": 0.5}] * 2
    assert [node.parts for node in nodes] == [{"recall": 0.7654, "copying": 0.5}] * 2
    assert "9876" not in repr(reader.reports) + "".join(reader.journals) + (tmp_path / "seed/journal.jsonl").read_text()


def test_an_analysis_of_the_agent_s_own_number_comes_before_the_judge(tmp_path: Path) -> None:
    reader = Reader()
    played(tmp_path, played_sandbox(), reader, evaluator=Judging(), fitness="claimed")
    assert [(report.outcome, report.parts) for report in reader.reports] == [("", {})] * 2


def test_an_analysis_of_code_that_failed_is_told_why(tmp_path: Path) -> None:
    reader = Reader()
    played(
        tmp_path,
        played_sandbox(agent=lambda call: Done(exit_code=3, stderr=b"NameError: x") if call.files else Done()),
        reader,
    )
    assert [report.outcome for report in reader.reports] == ["buggy: exit status 3: NameError: x"] * 2


def test_an_evaluation_that_breaks_when_the_hours_are_over_is_no_failure_of_infrastructure(tmp_path: Path) -> None:
    world = PlayedWorld()
    sandbox = replace(played_sandbox(), world=world)

    def breaks(number: int, spec: ContainerSpec) -> bool:
        world.now_s += 3600 * (number == 4)  # the judge's last attempt
        return spec.role == "judge"

    sandbox.fails = breaks
    nodes, ended = played(tmp_path, sandbox, Scripted())
    assert (nodes, ended.why, sandbox.calls) == ((), "hours", 4)


def test_code_that_ran_in_one_attempt_has_run_whatever_the_next_attempts_die_of(tmp_path: Path) -> None:
    sandbox = played_sandbox(agent=lambda call: solve(call) if call.files else Done())

    def breaks(number: int, spec: ContainerSpec) -> bool:
        sandbox.failure = StepLost("killed") if number == 1 else SandboxError("no start")
        return number <= 3

    sandbox.fails = breaks
    nodes, _ = played(tmp_path, sandbox, Scripted())
    assert [(node.step_class, node.code_ran, node.is_lost) for node in nodes[:1]] == [("infra_error", True, True)]


@pytest.mark.parametrize(("fails", "at"), [(False, 1), (True, 1), (True, 3)], ids=["ended", "swept", "swept at last"])
def test_a_step_whose_container_ends_with_the_run_s_stop_has_no_result(tmp_path: Path, fails: bool, at: int) -> None:
    """Whoever stops a run sweeps its containers away: what they come to then says nothing of the code."""
    sandbox, stop = played_sandbox(), threading.Event()

    def stopped(number: int, spec: ContainerSpec) -> bool:
        if number == at:
            stop.set()
        return fails

    sandbox.fails = stopped
    looked: list[Situation] = []
    with pytest.raises(Stopped):
        played(tmp_path, sandbox, Scripted(told=looked.append), stop=stop)
    assert not looked
    assert sandbox.calls == at, "nothing is tried again"


def test_files_that_do_not_fit_where_they_are_judged_are_an_invalid_submission(tmp_path: Path) -> None:
    sandbox = played_sandbox()
    sandbox.fails, sandbox.failure = lambda number, spec: spec.role == "judge", FilesTooLarge("too many bytes")
    nodes, _ = played(tmp_path, sandbox, Scripted())
    assert [(node.step_class, node.reason) for node in nodes] == [("invalid_submission", "too many bytes")] * 2


def test_a_step_without_code_is_the_agent_s_and_not_lost(tmp_path: Path) -> None:
    """Only infrastructure can keep code from running in a way that says nothing of the agent."""

    class Wordless(Scripted):
        def propose(self, brief: Brief, situation: Situation) -> Proposal:
            return Proposal("", "", failure="no usable answer")

    nodes, _ = played(tmp_path, played_sandbox(), Wordless())
    assert [(node.step_class, node.code_ran, node.is_lost) for node in nodes] == [("buggy", True, False)] * 2


def test_attempts_inside_an_evaluator_count_as_attempts_of_the_step(tmp_path: Path) -> None:
    class Patient:
        def evaluate(self, submission: Submission, *, deadline: Deadline, destination: Path) -> Verdict:
            return replace(SCORED, canonical=submission.canonical, attempts=3)

        def close(self) -> None: ...

    nodes, _ = played(tmp_path, played_sandbox(), Scripted(), evaluator=Patient())
    assert [(node.step_class, node.attempts) for node in nodes] == [("valid", 3)] * 2


def test_a_budget_that_ends_ends_the_seed(tmp_path: Path) -> None:
    def spend() -> None:
        raise BudgetExceeded("no tokens left")

    assert played(tmp_path, played_sandbox(), Scripted(spend))[1].why == "budget"


@pytest.mark.parametrize("failure", [ModelError("it refuses this output"), BudgetExceeded("no tokens left")])
def test_an_analysis_that_cannot_be_had_is_left_out_and_the_step_counts(tmp_path: Path, failure: Exception) -> None:
    def cannot() -> Analysis:
        raise failure

    nodes, _ = played(tmp_path, played_sandbox(), Scripted(looks=cannot))
    assert [(node.step_class, node.summary) for node in nodes] == [("valid", "")] * 2


@pytest.mark.parametrize("fitness", ["hidden", "claimed"])
def test_an_analysis_s_number_steers_only_where_claims_do_and_no_file_made_one(tmp_path: Path, fitness: str) -> None:
    looks = Analysis(False, "it\x1b[31m works", 0.75, ModelUse(1, 10, 5, 0.5))
    nodes, _ = played(tmp_path, played_sandbox(), Scripted(looks=lambda: looks), fitness=fitness)
    for node in nodes:
        assert node.claimed == (0.75 if fitness == "claimed" else None)
        assert (node.fitness == 0.75) == (fitness == "claimed")
        assert "\x1b" not in node.summary
        assert node.model_use.input_tokens == 10, "what the analysis used counts"


def test_a_file_s_number_goes_before_the_analysis_s(tmp_path: Path) -> None:
    def claim(call: Call) -> Done:
        made = solve(call)
        return replace(made, files={**made.files, "validation.json": b'{"metric": "Accuracy", "value": 0.5}'})

    looks = Analysis(False, "", 0.75, ModelUse())
    nodes, _ = played(tmp_path, played_sandbox(agent=claim), Scripted(looks=lambda: looks), fitness="claimed")
    assert [node.fitness for node in nodes] == [0.5, 0.5]


def test_a_stop_while_infrastructure_is_tried_again_leaves_no_half_step(tmp_path: Path) -> None:
    sandbox = played_sandbox()
    sandbox.fails = lambda number, spec: spec.role == "agent"
    plan = manifest("t", seeds=(0,), steps=2).plan
    setting = EvaluationSetting(TASK, "cpu", TaskData(tmp_path), ImageSet("a", "e"), "r", draw_secret="00")
    slots = open_slots(sandbox, [ContainerSpec("a", "agent", "r")], partial(open_evaluator, setting), Line([Place()]))
    brief = Brief("mad-2p", "", TASK.metadata.aira.artifact, "Accuracy", False, "cpu", "hidden", 60.0, 1024)
    said: list[str] = []
    session = SearchSession(
        plan, brief, EVOLUTION, make_scaffold("one-shot", steps=2, lower_is_better=False), setting, None, slots,
        sandbox.world, lambda progress: (
            said.append(progress.phase), progress.phase.startswith("infrastructure") and session.stop.set(),
        ),  # type: ignore[func-returns-value, arg-type, return-value]
        retry_pauses_s=(600.0, 600.0),
    )  # fmt: skip
    folder = SeedFolder(tmp_path / "seed")
    with pytest.raises(Stopped):
        run_seed(session, folder, 0)
    slots.close()
    assert said[-1] == "infrastructure failed, attempt 1 of 3: The engine broke.", (
        "the pause of ten minutes was not waited for"
    )
    assert folder.nodes == ()


def test_an_engine_that_runs_not_even_an_empty_step_is_an_error_in_its_own_words(tmp_path: Path) -> None:
    sandbox = played_sandbox()
    sandbox.fails = lambda number, spec: True
    with pytest.raises(SandboxError, match="The engine broke"):
        played(tmp_path, sandbox, EVOLUTION)


FINITE = st.floats(-1e6, 1e6)


HIDDEN, CLAIMED = told("hidden", "judge"), told("claimed", "judge")
PAPERS, MIXED = told("claimed", "analysis"), told("hidden", "analysis")


@given(validation=FINITE, claimed=st.none() | FINITE, says=st.none() | FINITE, decimals=st.integers(0, 6))
def test_hidden_validation_steers_rounded_and_never_the_claim(
    validation: float, claimed: float | None, says: float | None, decimals: int
) -> None:
    scored = replace(SCORED, validation=validation, claimed=says, validation_standard_error=0.125)
    found = assess(scored, claimed, None, HIDDEN, decimals)
    assert found == Assessment(
        "valid", "", says if says is not None else claimed, round(validation, decimals), 0.125, "M", True
    )


@given(claimed=st.none() | FINITE, bug=st.booleans())
def test_an_analysis_calls_a_step_a_bug_under_the_papers_protocol_alone(claimed: float | None, bug: bool) -> None:
    analysis = Analysis(bug, "x" * 400, None, ModelUse())
    found, mixed = assess(SCORED, claimed, analysis, PAPERS, 4), assess(SCORED, claimed, analysis, MIXED, 4)
    if bug:
        assert found == mixed == Assessment("buggy", f"analysis: {'x' * 300}", claimed)
    elif claimed is None:
        assert found == Assessment("buggy", "no value of Accuracy on validation data was reported")
        assert mixed.step_class == "valid", "the judge has the number that steers"
    else:
        assert found == Assessment("valid", "", claimed, claimed, None, "M", True)
    assert assess(SCORED, claimed, analysis, HIDDEN, 4).step_class == "valid"
    assert assess(SCORED, claimed, analysis, CLAIMED, 4) == Assessment("valid", "", claimed, claimed, None, "M", True)


@given(claimed=st.none() | FINITE)
def test_without_an_analysis_the_judge_alone_says_what_is_a_bug(claimed: float | None) -> None:
    """The public harness calls a step a bug where its analysis fails; here an outage says nothing of the code."""
    assert assess(SCORED, 0.5, None, PAPERS, 4).step_class == "valid"
    assert assess(SCORED, claimed, None, MIXED, 4).step_class == "valid"


@given(brief=st.sampled_from([HIDDEN, CLAIMED, PAPERS, MIXED]), bug=st.booleans())
def test_what_is_unranked_is_kept_and_steers_nothing(brief: Brief, bug: bool) -> None:
    scored = replace(SCORED, flags=("a", "b", "c"), unranked=("a", "b"))
    found = assess(scored, 0.5, Analysis(bug, "", None, ModelUse()), brief, 4)
    assert (found.step_class, found.fitness, found.keeps_score) == ("rule_violation", None, True)
    assert found.reason == "scored, but out of the search: a, b"


def test_a_refusal_is_the_submission_s_and_leaves_no_score() -> None:
    for brief in (HIDDEN, PAPERS):
        assert assess(Refused("no"), 0.5, None, brief, 4) == Assessment("invalid_submission", "no", 0.5)


def test_what_an_analysis_calls_a_bug_is_debugged_under_the_papers_protocol_alone(tmp_path: Path) -> None:
    """Greedy drafts five, then debugs whatever failed before it improves: every step here is one that the judge takes."""
    looks = Analysis(True, "the wrong number of primitives", 0.5, ModelUse())
    for name, fitness, bugs, operators in (
        ("paper", "claimed", "analysis", ["draft"] * 5 + ["debug"] * 2),
        ("mixed", "hidden", "analysis", ["draft"] * 5 + ["debug"] * 2),
        ("ours", "hidden", "judge", ["draft"] * 5 + ["improve"] * 2),
        ("claims", "claimed", "judge", ["draft"] * 5 + ["improve"] * 2),
        ("of-before", "claimed", None, ["draft"] * 5 + ["debug"] * 2),
    ):
        nodes, _ = played(tmp_path / name, played_sandbox(), Scripted(looks=lambda: looks), fitness=fitness,
                          bugs=bugs, steps=7, scaffold="greedy")  # type: ignore[arg-type]  # fmt: skip
        assert [node.operator for node in nodes] == operators, name
        assert {node.step_class for node in nodes} == {"buggy" if bugs != "judge" else "valid"}
        assert {node.reason for node in nodes} == (
            {"analysis: the wrong number of primitives"} if bugs != "judge" else {""}
        )


def spelled_otherwise(call: Call) -> Done:
    """A submission that the host reads no architecture from: it goes to a judge in a container of its own."""
    return Done({"submission.csv": b"architecture\nAMAMAMAM AMAMAMAM\n"}) if call.files else Done()


TRACEBACK = b"Traceback (most recent call last):\n  File '/task/evaluate.py', line 3\n    import \x1b[31mnothing\nModuleNotFoundError: nothing\n"


@pytest.mark.parametrize("stays", [True, False], ids=["resident", "alone"])
def test_a_broken_evaluation_halts_the_seed_at_once_in_its_own_words(tmp_path: Path, stays: bool) -> None:
    """It cost every step of a run, and all that was said of it was `infra_error`."""
    judged: list[object] = []

    def breaks(call: Call) -> Done:
        judged.append(call)
        return Done(exit_code=1, stderr=TRACEBACK)

    def answers(request: bytes) -> bytes:
        judged.append(request)
        asked = json.loads(request)
        said = {"id": asked["id"], "status": 1, "stdout": "", "stderr": TRACEBACK.decode(), "report": None}
        return json.dumps(said).encode()

    sandbox = played_sandbox(judge=breaks, agent=solve if stays else spelled_otherwise)
    sandbox.responders = {"judge": answers}
    with pytest.raises(EvaluationFailed) as caught:
        played(tmp_path, sandbox, EVOLUTION)
    assert len(judged) == 1
    assert "line 3 | import \\x1b[31mnothing | ModuleNotFoundError: nothing (see hidden/0001/stderr.txt)" in str(
        caught.value
    )
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("aira-bench resume ")
    assert "\n" not in caught.value.message
    assert SeedFolder(tmp_path / "seed").nodes == (), "no step is lost or blamed: it is taken again when that is mended"
    again, ended = played(tmp_path, played_sandbox(), EVOLUTION)
    assert ([node.step_class for node in again], ended.why) == (["valid"] * 2, "steps")


@pytest.mark.parametrize("crashed", [False, True])
def test_a_broken_evaluation_that_an_evaluator_has_asked_again_itself_halts_the_seed_too(
    tmp_path: Path, crashed: bool
) -> None:
    class InVain(Judging):
        def evaluate(self, submission: Submission, *, deadline: Deadline, destination: Path) -> Verdict:
            broken = EvaluationFailed("The evaluation failed: hidden data is damaged", crashed=crashed)
            raise AskedInVain(broken.message, attempts=3) from broken

    if crashed:  # which what it judges may have brought about: nobody knows
        sandbox = played_sandbox(agent=lambda call: solve(call) if call.files else Done())
        nodes, _ = played(tmp_path, sandbox, EVOLUTION, evaluator=InVain())
        assert {node.step_class for node in nodes} == {"infra_error"}
        return
    with pytest.raises(EvaluationFailed, match="hidden data is damaged") as caught:
        played(tmp_path, played_sandbox(), EVOLUTION, evaluator=InVain())
    assert str(caught.value.hint).startswith("aira-bench resume ")
    assert SeedFolder(tmp_path / "seed").nodes == ()


def test_a_judge_that_crashes_is_asked_again_since_a_submission_may_bring_that_about(tmp_path: Path) -> None:
    judged: list[int] = []

    def crashes(call: Call) -> Done:
        judged.append(1)
        return Done(exit_code=139)

    played(tmp_path, played_sandbox(judge=crashes, agent=spelled_otherwise), EVOLUTION)
    assert len(judged) > 2


def test_an_exception_of_a_user_s_answer_halts_the_seed_and_goes_on_from_there(tmp_path: Path) -> None:
    """It says nothing of a solution, so it is no step, and what was answered before it is not asked for again."""
    place, asked = tmp_path / "mine.py", tmp_path / "asked"
    place.write_text(
        "from pathlib import Path\n"
        f"BROKEN, ASKED = Path({str(tmp_path / 'broken')!r}), Path({str(asked)!r})\n"
        "def answer(request):\n"
        "    ASKED.open('a').write('x')\n"
        "    if BROKEN.exists() and 'Step 1' in request.messages[0].text:\n"
        "        raise KeyError('quota')\n"
        "    return '```python\\nARCHITECTURE = M,mA,M,M,M,M,M,M,M,M,M,M,M,M,M,M\\n```'.replace(' = M', ' = \"M').replace('M\\n`', 'M\"\\n`')\n"
    )
    (tmp_path / "broken").touch()
    agent = find_agent(f"script:{place}")
    with pytest.raises(PrerequisiteError, match=r"mine.py, line 6, failed: KeyError: 'quota'"):
        played(tmp_path, played_sandbox(), agent)
    assert [node.step_class for node in SeedFolder(tmp_path / "seed").nodes] == ["valid"]
    (tmp_path / "broken").unlink()
    nodes, ended = played(tmp_path, played_sandbox(), agent)
    assert ([node.step_class for node in nodes], ended.why) == (["valid"] * 2, "steps")
    assert asked.read_text() == "xxx"
