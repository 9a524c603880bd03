"""The loop with an engine of our own: retries, stops, budgets, and resuming after a kill at any moment.

The engine here is the in-memory sandbox that is shipped for tests, so that thousands of steps and every kind of failure can be played;
tests/test_end_to_end.py drives the same loop with real containers.
"""

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agents.agent import Brief
from aira_bench.agents.catalog import SEARCHERS, SPACES
from aira_bench.agents.searchers.searcher import Searcher, evolve
from aira_bench.errors import AskedInVain, EngineAway, ModelError, SandboxError
from aira_bench.evaluation.cache import ScoreCache
from aira_bench.evaluation.catalog import open_evaluator
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.gpus.use import GpuUse
from aira_bench.images.ensure import ImageSet
from aira_bench.keys import MachineKey
from aira_bench.record.folder import SeedFolder
from aira_bench.record.manifest import RunPlan
from aira_bench.record.node import Node
from aira_bench.runs.line import Line
from aira_bench.runs.loop import run_seed
from aira_bench.runs.places import Place
from aira_bench.runs.session import Progress, SearchSession
from aira_bench.runs.slots import open_slots
from aira_bench.sandbox import patience
from aira_bench.sandbox.sandbox import (
    ContainerSpec,
    DeviceTaken,
    FilesTooLarge,
    Starved,
    StepLost,
)
from aira_bench.scaffolds.catalog import make_scaffold
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import find_task
from aira_bench.testing import Call, Done, InMemoryContainer, InMemorySandbox, captured
from aira_bench.waiting import Stopped, Waits
from aira_contract.reports import RESULT_MARKER
from eventually import stretched
from place import submitted

TASK = find_task("mad-2p")


Report = dict[str, Any]


def solve(call: Call) -> Done:
    """A solution that names its architecture writes it down; an empty program does nothing."""
    if call.command[-1] == "pass":
        return Done()
    line = next(line for line in call.files["solution.py"].decode().splitlines() if line.startswith("ARCHITECTURE"))
    return Done({"submission.csv": f"architecture\n{line.split(' = ')[1]}\n".encode()})


def report_of(architecture: str) -> Report:
    """Scores that are a function of the architecture."""
    test = random.Random(architecture).random()
    return {"schema": 1, "canonical": architecture, "validation": round(test * 0.9, 6), "test": test,
            "evaluator_version": "1", "seed_set": "search", "seconds": 1.0}  # fmt: skip


def engine(
    fails: Callable[[int, ContainerSpec], bool] = lambda call, spec: False,
    failure: Exception | None = None,
    seconds: Mapping[str, float] | None = None,
    reports: Callable[[str], Report] = report_of,
) -> InMemorySandbox:
    """Runs architecture solutions without containers; `fails` says which calls the engine breaks on."""

    def judge(request: bytes) -> bytes:
        asked = json.loads(request)
        report = reports(asked["architecture"])
        printed = f"{RESULT_MARKER}\n{json.dumps({'Accuracy': report['test']})}\n"
        answer = {"id": asked["id"], "status": 0, "stdout": printed, "stderr": "", "report": json.dumps(report)}
        return json.dumps(answer).encode()

    return InMemorySandbox(
        {"agent": solve}, {"judge": judge}, seconds=seconds or {"agent": 1.0, "judge": 10.0}, fails=fails,
        failure=failure or SandboxError("the engine broke"),
    )  # fmt: skip


def session(
    tmp: Path,
    sandbox: InMemorySandbox,
    *,
    steps: int = 6,
    hours: float = 10.0,
    cache: bool = True,
    scaffold: str = "greedy",
) -> SearchSession:
    plan = RunPlan(
        name="t", agent="evolution", task="mad-2p", profile="cpu", scaffold=scaffold, fitness="hidden", seeds=(0,),
        steps=steps, hours=hours, step_timeout_s=100.0,
        evaluation_timeout_s=TASK.profile("cpu").evaluation_timeout_s, concurrency=1,
    )  # fmt: skip
    spec = TASK.metadata.aira.artifact
    brief = Brief("mad-2p", "", spec, "Accuracy", False, "cpu", "hidden", 100.0, 1024)
    evaluation = EvaluationSetting(TASK, "cpu", TaskData(tmp), ImageSet("agent:1", "judge:1"), "r", draw_secret="00")
    agents = [ContainerSpec("agent:1", "agent", "r")]
    tmp.mkdir(parents=True, exist_ok=True)
    slots = open_slots(sandbox, agents, partial(open_evaluator, evaluation), Line([Place()], folder=tmp / "leases"))
    return SearchSession(
        plan=plan, brief=brief, agent=SEARCHERS["evolution"],
        policy=make_scaffold(scaffold, steps=steps, lower_is_better=False), evaluation=evaluation,
        cache=ScoreCache(tmp / "scores", ("t",), MachineKey(bytes(32))) if cache else None, slots=slots,
        world=sandbox.world, watch=lambda progress: None, retry_pauses_s=(0.0, 0.0),
    )  # fmt: skip


def tree(folder: SeedFolder) -> list[tuple[object, ...]]:
    """A journal without its times."""
    nodes = list(folder.nodes)
    return [(n.step, n.operator, n.parents, n.step_class, n.fitness, n.code_sha256, n.canonical) for n in nodes]


def play(tmp: Path, sandbox: InMemorySandbox, seed: int = 0, **options: object) -> SeedFolder:
    folder = SeedFolder(tmp / "seed")
    active = session(tmp, sandbox, **options)  # type: ignore[arg-type]
    try:
        run_seed(active, folder, seed)
    finally:
        active.slots.close()
    assert not sandbox.containers, "every container is closed"
    return folder


def test_a_seed_runs_exactly_its_steps_and_submits_the_best_by_validation(tmp_path: Path) -> None:
    folder = play(tmp_path, engine(), steps=7)
    events = folder.events
    scores = folder.scores.read()
    assert len(tree(folder)) == 7
    assert len(scores) == 7
    best = max(scores.values(), key=lambda score: score.validation or 0)
    assert events[-1].submitted == best.step  # type: ignore[union-attr]


def test_the_journal_holds_no_test_score(tmp_path: Path) -> None:
    folder = play(tmp_path, engine())
    text = folder.journal.read_text()
    for score in folder.scores.read().values():
        assert str(score.test) not in text
        assert str(score.test)[:8] not in text


@pytest.mark.parametrize("scaffold", ["greedy", "regularized-evolution"])
@given(kill_at=st.integers(1, 24), cut=st.integers(0, 200))
@settings(max_examples=25, deadline=None)
def test_a_run_killed_anywhere_resumes_to_the_tree_of_an_undisturbed_one(
    tmp_path_factory: pytest.TempPathFactory, scaffold: str, kill_at: int, cut: int
) -> None:
    whole = play(tmp_path_factory.mktemp("whole"), engine(), scaffold=scaffold)

    class Killed(BaseException):
        pass

    def kill(call: int, spec: ContainerSpec) -> bool:
        if call == kill_at:
            raise Killed
        return False

    broken = tmp_path_factory.mktemp("broken")
    try:
        play(broken, engine(kill), scaffold=scaffold)
    except Killed:
        journal = SeedFolder(broken / "seed").journal
        journal.write_bytes(journal.read_bytes()[: max(0, journal.stat().st_size - cut)])
    again = play(broken, engine(), scaffold=scaffold)
    assert tree(again) == tree(whole)
    assert {step: score.test for step, score in again.scores.read().items()} == {
        step: score.test for step, score in whole.scores.read().items()
    }


def test_different_seeds_take_different_paths(tmp_path: Path) -> None:
    one = play(tmp_path / "1", engine(), seed=1)
    two = play(tmp_path / "2", engine(), seed=2)
    assert tree(one) != tree(two)


def test_infrastructure_is_retried_and_the_tree_does_not_notice(tmp_path: Path) -> None:
    calm = play(tmp_path / "calm", engine())
    flaky = play(tmp_path / "flaky", engine(lambda call, spec: call % 4 == 0))
    assert tree(calm) == tree(flaky)
    attempts = [node.attempts for node in flaky.nodes]
    assert max(attempts) > 1


def test_a_dead_engine_halts_the_seed_without_a_node_and_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(SandboxError):
        play(tmp_path, engine(lambda call, spec: call > 2))
    assert len(tree(SeedFolder(tmp_path / "seed"))) == 1
    assert len(tree(play(tmp_path, engine()))) == 6


def test_a_step_that_alone_breaks_the_engine_is_an_infrastructure_error_and_no_score(tmp_path: Path) -> None:
    folder = play(tmp_path, engine(lambda call, spec: call in {3, 4, 5}))
    classes = [row[3] for row in tree(folder)]
    assert classes.count("infra_error") == 1
    assert len(folder.scores.read()) == 5


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that is away is waited for for a quarter of a second in all."""
    for name, seconds in {"MOST_S": 0.25, "_FIRST_S": 0.01, "_LONGEST_S": 0.02}.items():
        monkeypatch.setattr(patience, name, seconds)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("role", ["agent", "judge"])
@pytest.mark.parametrize("begun", [False, True], ids=["before the code began", "while it ran"])
def test_an_engine_that_is_restarted_is_waited_for_and_the_tree_does_not_notice(
    tmp_path: Path, role: str, begun: bool
) -> None:
    """It is away for eight tries, more than infrastructure has attempts."""
    calm = play(tmp_path / "calm", engine())
    away, said = iter(range(8)), list[str]()
    sandbox = engine(lambda call, spec: spec.role == role and call > 4 and next(away, None) is not None)
    lost = StepLost("the container went with the engine", why="away")
    sandbox.failure = EngineAway("no answer from the daemon")
    if begun:
        failures = iter([lost])
        plain = sandbox.spend

        def spend(container: InMemoryContainer, timeout_s: float) -> float:
            try:
                return plain(container, timeout_s)
            except EngineAway:
                raise next(failures, sandbox.failure) from None

        sandbox.spend = spend  # type: ignore[method-assign]
    folder = SeedFolder(tmp_path / "away" / "seeds" / "0")
    active = session(tmp_path / "away", sandbox)
    run_seed(replace(active, watch=lambda progress: said.append(progress.phase)), folder, 0)
    active.slots.close()
    assert tree(folder) == tree(calm)
    assert [node.attempts for node in folder.nodes].count(1) == (5 if begun else 6)
    assert sum("engine" in node.timings.waited_s for node in folder.nodes) == 1
    assert any("the container engine is away, next try in" in phase for phase in said)


@pytest.mark.usefixtures("quick")
def test_an_engine_that_stays_away_halts_the_seed_and_says_how_to_go_on(tmp_path: Path) -> None:
    calm = play(tmp_path / "calm", engine())
    folder = SeedFolder(tmp_path / "runs" / "a run" / "seeds" / "0")
    active = session(tmp_path, engine(lambda call, spec: call > 5, failure=EngineAway("no answer")))
    with pytest.raises(EngineAway, match="no answer It was waited for") as caught:
        run_seed(active, folder, 0)
    active.slots.close()
    assert caught.value.hint == f"aira-bench resume 'a run' --runs {tmp_path}/runs"
    assert "infra_error" not in {node.step_class for node in folder.nodes}
    assert len(folder.nodes) < 6
    again = session(tmp_path, engine())
    run_seed(again, folder, 0)
    again.slots.close()
    assert tree(folder) == tree(calm)


def test_who_waits_for_the_engine_can_be_stopped(tmp_path: Path) -> None:
    active = session(tmp_path, engine(lambda call, spec: call > 2, failure=EngineAway("no answer")))
    threading.Timer(0.2, active.stop.set).start()
    began_s = time.monotonic()
    with pytest.raises(Stopped):
        run_seed(active, SeedFolder(tmp_path / "seed"), 0)
    active.slots.close()
    assert time.monotonic() - began_s < stretched(5)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_somebody_killed_is_run_again_and_never_charged_to_the_step(tmp_path: Path, times: int) -> None:
    calm = play(tmp_path / "calm", engine())
    failure = StepLost("touched from outside (kill)", why="outside")
    sandbox = engine(lambda call, spec: 3 <= call < 3 + times, failure=failure)
    if times < 3:
        assert tree(play(tmp_path / "killed", sandbox)) == tree(calm)
    else:
        with pytest.raises(SandboxError, match="from outside") as caught:
            play(tmp_path / "killed", sandbox)
        assert str(caught.value.hint).startswith("aira-bench resume ")
    assert tree(play(tmp_path / "killed", engine())) == tree(calm), "halted or not, it ends in the same tree"


@pytest.mark.parametrize("failure", [Starved("Others kept its cores."), DeviceTaken("Others kept its cores.")])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_neighbours_kept_from_its_cores_or_device_is_waited_for_and_tried_again_and_at_last_halts(
    tmp_path: Path, times: int, failure: Starved
) -> None:
    calm = play(tmp_path / "calm", engine())
    sandbox = engine(lambda call, spec: 3 <= call < 3 + times, failure=failure)
    if times < 3:
        folder = play(tmp_path / "busy", sandbox)
        assert tree(folder) == tree(calm)
        assert [list(node.timings.waited_s) for node in folder.nodes].count(["load"]) == 1
    else:
        with pytest.raises(SandboxError, match="Others kept its cores") as caught:
            play(tmp_path / "busy", sandbox)
        assert str(caught.value.hint).startswith("aira-bench resume ")
    assert tree(play(tmp_path / "busy", engine())) == tree(calm)


def test_an_attempt_whose_device_was_taken_is_none_of_a_seed_s_hours(tmp_path: Path) -> None:
    seconds = {"agent": 60.0, "judge": 10.0}
    calm, sandbox, calls = play(tmp_path / "calm", engine(seconds=seconds)), engine(seconds=seconds), list[Call]()

    def solved(call: Call) -> Done:
        calls.append(call)
        if len(calls) in (3, 4):
            raise DeviceTaken("Others used the GPU of a container while it ran.")
        return solve(call)

    sandbox.programs = {"agent": solved}
    folder = play(tmp_path / "taken", sandbox)
    assert tree(folder) == tree(calm)
    assert [node.attempts for node in folder.nodes].count(3) == 1
    assert [n.timings.total_s for n in folder.nodes] == pytest.approx([n.timings.total_s for n in calm.nodes])


def test_a_node_records_how_its_devices_worked_and_says_if_one_was_throttled(tmp_path: Path) -> None:
    hot = GpuUse(9, 1410, 1980, 350.0, 700.0, 88, 9000, {"heat": 1.0}, ("heat",))
    sandbox = engine()
    sandbox.programs = {"agent": lambda call: replace(solve(call), gpu=hot)}
    told: list[str] = []
    active = replace(session(tmp_path, sandbox), watch=lambda progress: told.append(progress.last))
    folder = SeedFolder(tmp_path / "seed")
    try:
        run_seed(active, folder, 0)
    finally:
        active.slots.close()
    for node in folder.nodes:  # as they are read again
        assert node.gpu_use == {"step": hot}
        assert node.throttled == "step: heat"
    assert sum("GPU throttled, step: heat" in words for words in told) >= len(folder.nodes)


def test_time_that_neighbours_took_is_none_of_a_seed_s_hours(tmp_path: Path) -> None:
    """Its steps take sixty times longer beside others: the seed ends by its steps, in the tree it has alone."""
    calm = play(tmp_path / "calm", engine(), hours=0.1)
    sandbox = engine(seconds={"agent": 60.0, "judge": 10.0})
    sandbox.programs = {"agent": lambda call: replace(solve(call), lost_s=59.0)}
    folder = play(tmp_path / "busy", sandbox, hours=0.1)
    assert tree(folder) == tree(calm)
    assert [node.timings.waited_s for node in folder.nodes] == [{"load": 59.0}] * len(folder.nodes)
    assert [node.timings.execute_s for node in folder.nodes] == [1.0] * len(folder.nodes)


@pytest.mark.parametrize("status", [137, 143])
@pytest.mark.parametrize("times", [1, 2, 1000])
def test_a_kill_that_nothing_explains_is_run_again_once_and_then_the_code_s_own(
    tmp_path: Path, status: int, times: int
) -> None:
    kills, ran = iter(range(times)), list[bytes]()

    def dying(call: Call) -> Done:
        if call.command[-1] == "pass":
            return Done()
        ran.append(call.files["solution.py"])
        return solve(call) if next(kills, None) is None else Done(exit_code=status, stderr=b"Killed")

    sandbox = engine()
    sandbox.programs = {"agent": dying}
    folder = play(tmp_path, sandbox, steps=4)
    classes = [row[3] for row in tree(folder)]
    assert "infra_error" not in classes
    assert classes[0] == ("valid" if times == 1 else "buggy")
    assert folder.nodes[0].attempts == 2
    assert folder.nodes[0].reason == ("" if times == 1 else f"exit status {status}: Killed")
    assert len(ran) <= 8, "no code is run for ever"
    assert (folder.node(1) / "attempt_1" / "stderr.txt").read_text().strip() == "Killed"
    assert classes.count("buggy") == {1: 0, 2: 1, 1000: 4}[times]


def nodes(folder: SeedFolder) -> list[Node]:
    return list(folder.nodes)


def test_a_model_that_was_asked_in_vain_is_not_evaluated_from_the_start_again(tmp_path: Path) -> None:
    """An evaluator that has asked a trained model three times itself says so; all again would train it anew."""
    judged: list[int] = []

    def fails(call: int, spec: ContainerSpec) -> bool:
        if spec.role == "judge":
            judged.append(call)
        return spec.role == "judge"

    sandbox = engine(fails, failure=AskedInVain("the judge broke", attempts=3))
    folder = play(tmp_path, sandbox, steps=1)
    (node,) = nodes(folder)
    assert (node.step_class, node.attempts, len(judged)) == ("infra_error", 3, 1)


@pytest.mark.parametrize("code_ran", [True, False])
def test_what_infrastructure_took_is_no_draft_whether_or_not_its_code_ran(tmp_path: Path, code_ran: bool) -> None:
    failure = StepLost("killed", output=(captured(b"tokens"), captured(b""))) if code_ran else SandboxError("no start")
    sandbox = engine(lambda call, spec: call in {1, 2, 3}, failure=failure)
    folder = play(tmp_path, sandbox, scaffold="one-shot")
    first, *others = nodes(folder)
    assert (first.step_class, first.code_ran, first.attempts) == ("infra_error", code_ran, 3)
    assert [node.step_class for node in others] == ["valid"]
    kept = sorted(path.name for path in folder.node(1).iterdir())
    assert kept == ["attempt_1", "attempt_2", "attempt_3", "solution.py"]
    assert (folder.node(1) / "attempt_2" / "failure.txt").read_text().strip() == failure.message
    assert (folder.node(1) / "attempt_1" / "stdout.txt").exists() == code_ran


def test_what_an_interrupted_step_left_is_kept(tmp_path: Path) -> None:
    with pytest.raises(SandboxError):
        play(tmp_path, engine(lambda call, spec: call > 2))
    folder = play(tmp_path, engine())
    assert [(folder.node(2) / f"attempt_{number}" / "failure.txt").is_file() for number in (1, 3)] == [True] * 2
    assert (folder.node(2) / "attempt_4" / "solution.py").is_file()


def test_files_that_do_not_fit_are_the_step_s_own_fault(tmp_path: Path) -> None:
    sandbox = engine(lambda call, spec: call == 1, failure=FilesTooLarge("too many bytes"))
    folder = play(tmp_path, sandbox, scaffold="one-shot")
    assert [(node.step_class, node.reason, node.attempts) for node in nodes(folder)] == [("buggy", "too many bytes", 1)]


def test_an_evaluation_that_takes_the_whole_of_its_time_is_a_refusal_and_no_attempt_at_luck(tmp_path: Path) -> None:
    sandbox = engine(seconds={"agent": 1.0, "judge": 1000.0})
    folder = play(tmp_path, sandbox, steps=2)
    assert [(node.step_class, node.attempts) for node in nodes(folder)] == [("invalid_submission", 1)] * 2
    assert nodes(folder)[0].reason == "its evaluation did not end within 300 s"


def test_a_provider_that_refuses_what_the_code_printed_does_not_keep_it_from_a_score(tmp_path: Path) -> None:
    class Refused(Searcher):
        def analyze(self, *arguments: object) -> None:
            raise ModelError("the provider refuses this text")

    sandbox = engine()
    active = replace(session(tmp_path, sandbox, steps=1), agent=Refused("evolution", "", "greedy", evolve, SPACES))
    folder = SeedFolder(tmp_path / "seed")
    run_seed(active, folder, 0)
    active.slots.close()
    assert [node.step_class for node in nodes(folder)] == ["valid"]


def test_no_step_overshoots_the_hours(tmp_path: Path) -> None:
    sandbox = engine()
    folder = play(tmp_path, sandbox, steps=500, hours=100 / 3600)
    events = folder.events
    assert events[-1].why == "hours"  # type: ignore[union-attr]
    assert sandbox.world.now_s <= 100
    assert len(tree(folder)) == 9


def test_a_timeout_is_the_steps_own_and_the_search_goes_on(tmp_path: Path) -> None:
    sandbox = engine(seconds={"agent": 200.0, "judge": 1.0})
    folder = play(tmp_path, sandbox, steps=3)
    assert [row[3] for row in tree(folder)] == ["timeout"] * 3
    assert not folder.scores.read()


def test_a_known_architecture_is_scored_once(tmp_path: Path) -> None:
    sandbox = engine()
    first = play(tmp_path, sandbox)
    (tmp_path / "seed").rename(tmp_path / "before")
    calls = sandbox.calls
    again = play(tmp_path, sandbox)
    assert sandbox.calls - calls == 6, "only the solutions ran"
    assert tree(again) == tree(SeedFolder(tmp_path / "before"))
    assert all(score.cached for score in again.scores.read().values())
    assert first.path == again.path


def test_waiting_for_a_slot_is_none_of_the_hours_and_is_recorded_apart(tmp_path: Path) -> None:
    sandbox = engine()
    active = session(tmp_path, sandbox, steps=2, hours=1.0)
    busy = contextlib.ExitStack()
    busy.enter_context(active.slots.slot(Waits()))
    said: list[str] = []

    def watch(progress: Progress) -> None:
        said.append(progress.phase)
        if progress.phase == "waiting for a slot":  # the other seed needs two hours more
            sandbox.world.now_s += 7200
            busy.close()

    folder = SeedFolder(tmp_path / "seed")
    ended = run_seed(replace(active, watch=watch), folder, 0)
    active.slots.close()
    assert ended.why == "steps"
    assert said.count("waiting for a slot") == 1
    first, second = (node.timings for node in folder.nodes)
    assert (first.waited_s, second.waited_s) == ({"slot": 7200.0}, {})
    assert first.total_s < 3600


def test_a_seed_that_waits_for_a_slot_ends_when_the_run_is_stopped(tmp_path: Path) -> None:
    active = session(tmp_path, engine())
    with active.slots.slot(Waits()):
        threading.Timer(0.1, active.stop.set).start()
        with pytest.raises(Stopped):
            run_seed(active, SeedFolder(tmp_path / "seed"), 0)
    active.slots.close()


def test_a_stop_keeps_what_is_done_and_takes_no_half_step(tmp_path: Path) -> None:
    sandbox = engine()
    active = session(tmp_path, sandbox)

    def stop_at_four(call: int, spec: ContainerSpec) -> bool:
        if call == 4:
            active.stop.set()
        return False

    sandbox.fails = stop_at_four
    folder = SeedFolder(tmp_path / "seed")
    with pytest.raises(Stopped):
        run_seed(active, folder, 0)
    active.slots.close()
    assert len(tree(folder)) == 1
    assert not sandbox.containers


def test_a_judge_that_reads_another_architecture_is_an_infrastructure_error(tmp_path: Path) -> None:
    node = Node(1, "draft", (), "valid", "", 0.1, None, "0", "0")
    assert node.is_valid
    sandbox = engine(reports=lambda architecture: report_of("mA,mA"))
    active = session(tmp_path, sandbox, steps=1)
    folder = SeedFolder(tmp_path / "seed")
    run_seed(active, folder, 0)
    active.slots.close()
    assert [row[3] for row in tree(folder)] == ["infra_error"]
    assert not folder.scores.read()


def test_an_unranked_score_is_kept_and_takes_no_part_in_the_search(tmp_path: Path) -> None:
    """Every second candidate is disqualified by the judge: it is scored, never submitted, and best in neither list."""

    def reports(architecture: str) -> Report:
        out = {"flags": ["custom_gradient"], "unranked": ["custom_gradient"]} if len(architecture) % 2 else {}
        return report_of(architecture) | out

    folder = play(tmp_path, engine(reports=reports), steps=12)
    nodes = {node.step: node for node in folder.nodes}
    scores = folder.scores.read()
    out = [node for node in nodes.values() if node.step_class == "rule_violation"]
    assert 0 < len(out) < len(nodes)
    assert all(node.fitness is None and "custom_gradient" in node.reason for node in out)
    assert all(scores[node.step].unranked == ("custom_gradient",) for node in out), "the score is kept"
    assert submitted(folder) in {node.step for node in nodes.values() if node.step_class == "valid"}
