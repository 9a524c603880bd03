"""The loop with an engine of our own: retries, stops, budgets, and resuming after a kill at any moment.

The engine here is a plain in-process `Sandbox`, so that thousands of steps and every kind of failure can be played;
tests/test_end_to_end.py drives the same loop with real containers.
"""

import hashlib
import json
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agents.catalog import SEARCHERS, SPACES
from aira_bench.agents.protocol import Brief
from aira_bench.agents.searchers.searcher import Searcher, evolve
from aira_bench.errors import AskedInVain, ModelError, SandboxError
from aira_bench.evaluation.cache import ScoreCache
from aira_bench.evaluation.catalog import open_evaluator
from aira_bench.evaluation.protocol import EvaluationSetting
from aira_bench.images.ensure import ImageSet
from aira_bench.keys import MachineKey
from aira_bench.output import CapturedOutput
from aira_bench.record.folder import SeedFolder
from aira_bench.record.manifest import RunPlan
from aira_bench.record.node import Node
from aira_bench.runs.loop import run_seed
from aira_bench.runs.session import Session, Stopped
from aira_bench.runs.slots import SlotPool
from aira_bench.sandbox.protocol import (
    Artifact,
    ArtifactRequest,
    ContainerSpec,
    ConversationTimeout,
    FilesTooLarge,
    RejectedArtifact,
    StepLost,
    StepOutcome,
)
from aira_bench.scaffolds.catalog import make_scaffold
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import find_task
from aira_contract.reports import RESULT_MARKER
from place import submitted

TASK = find_task("mad-2p")


def captured(text: bytes) -> CapturedOutput:
    return CapturedOutput(text, b"", len(text), hashlib.sha256(text).hexdigest())


@dataclass
class Clock:
    """Time that passes only when something is said to take time."""

    now_s: float = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)

    def monotonic_s(self) -> float:
        return self.now_s

    def new_id(self) -> str:
        return "0" * 12

    def host_name(self) -> str:
        return "test"


@dataclass
class InProcessContainer:
    engine: "InProcessEngine"
    spec: ContainerSpec

    def run(
        self,
        command: Sequence[str],
        *,
        files: Mapping[str, bytes],
        timeout_s: float,
        artifacts: Sequence[ArtifactRequest],
        destination: Path,
    ) -> StepOutcome:
        self.engine.before_run(self.spec)
        role, clock = self.spec.role, self.engine.clock
        took_s = self.engine.seconds[role]
        if took_s > timeout_s:
            clock.now_s += timeout_s
            rejected = {request.name: RejectedArtifact(request.name, "missing") for request in artifacts}
            return StepOutcome("timeout", None, timeout_s, captured(b""), captured(b""), rejected, None)
        clock.now_s += took_s
        if command[-1] == "pass":
            return StepOutcome("exited", 0, 0.0, captured(b""), captured(b""), {}, None)
        made = self._solve(files["solution.py"]) if role == "agent" else self._judge(files["data/submission.csv"])
        stdout = made.pop("stdout", b"")
        found: dict[str, Artifact | RejectedArtifact] = {}
        for request in artifacts:
            if request.name in made:
                path = destination / request.name
                path.write_bytes(made[request.name])
                found[request.name] = Artifact(request.name, path, path.stat().st_size, "0")
            else:
                found[request.name] = RejectedArtifact(request.name, "missing")
        return StepOutcome("exited", 0, took_s, captured(stdout), captured(b""), found, None)

    def _solve(self, code: bytes) -> dict[str, bytes]:
        line = next(line for line in code.decode().splitlines() if line.startswith("ARCHITECTURE"))
        return {"submission.csv": f"architecture\n{line.split(' = ')[1]}\n".encode()}

    def _judge(self, submission: bytes) -> dict[str, bytes]:
        canonical = submission.decode().splitlines()[1].strip('"')
        test = random.Random(canonical).random()
        report = {"schema": 1, "canonical": canonical, "validation": round(test * 0.9, 6), "test": test,
                  "evaluator_version": "1", "seed_set": "search", "seconds": 1.0}  # fmt: skip
        block = f"{RESULT_MARKER}\n{json.dumps({'Accuracy': test})}\n"
        return {"report.json": json.dumps(report).encode(), "stdout": block.encode()}

    def converse(
        self, command: Sequence[str], *, files: Mapping[str, bytes], most_bytes: int, timeout_s: float
    ) -> "InProcessConversation":
        return InProcessConversation(self)

    def inspect(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None:
        self.engine.open -= 1


@dataclass
class InProcessConversation:
    """A judge that stays: the same answers, by message."""

    container: InProcessContainer

    def ask(self, request: bytes, *, timeout_s: float) -> bytes:
        engine = self.container.engine
        engine.before_run(self.container.spec)
        took_s = engine.seconds["judge"]
        engine.clock.now_s += min(took_s, timeout_s)
        if took_s > timeout_s:
            raise ConversationTimeout("A container did not answer in time and was killed.")
        asked = json.loads(request)
        made = self.container._judge(f'architecture\n"{asked["architecture"]}"\n'.encode())
        answer = {"id": asked["id"], "status": 0, "stdout": made["stdout"].decode(), "stderr": "",
                  "report": made["report.json"].decode()}  # fmt: skip
        return json.dumps(answer).encode()


@dataclass
class InProcessEngine:
    """Runs architecture solutions without containers; `fails` says which calls the engine breaks on."""

    clock: Clock
    fails: Callable[[int, ContainerSpec], bool] = lambda call, spec: False
    seconds: dict[str, float] = field(default_factory=lambda: {"agent": 1.0, "judge": 10.0})
    failure: SandboxError = field(default_factory=lambda: SandboxError("the engine broke"))
    calls: int = 0
    open: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def prepare(self, spec: ContainerSpec) -> InProcessContainer:
        with self.lock:
            self.open += 1
        return InProcessContainer(self, spec)

    def before_run(self, spec: ContainerSpec) -> None:
        self.calls += 1
        if self.fails(self.calls, spec):
            raise self.failure

    def sweep(self, run_id: str) -> int:
        return 0


def session(
    tmp: Path,
    engine: InProcessEngine,
    *,
    steps: int = 6,
    hours: float = 10.0,
    cache: bool = True,
    scaffold: str = "greedy",
) -> Session:
    plan = RunPlan(
        name="t", agent="evolution", task="mad-2p", profile="cpu", scaffold=scaffold, fitness="hidden", seeds=(0,),
        steps=steps, hours=hours, step_timeout_s=100.0,
        evaluation_timeout_s=TASK.profile("cpu").evaluation_timeout_s, concurrency=1,
    )  # fmt: skip
    spec = TASK.metadata.aira.artifact
    brief = Brief("mad-2p", "", spec, "Accuracy", False, "cpu", "hidden", 100.0, 1024)
    evaluation = EvaluationSetting(TASK, "cpu", TaskData(tmp), ImageSet("agent:1", "judge:1"), "r", draw_secret="00")
    slots = SlotPool(engine, [ContainerSpec("agent:1", "agent", "r")], partial(open_evaluator, evaluation))
    return Session(
        plan=plan, brief=brief, agent=SEARCHERS["evolution"],
        policy=make_scaffold(scaffold, steps=steps, lower_is_better=False), evaluation=evaluation,
        cache=ScoreCache(tmp / "scores", ("t",), MachineKey(bytes(32))) if cache else None, slots=slots,
        world=engine.clock, watch=lambda progress: None, retry_pauses_s=(0.0, 0.0),
    )  # fmt: skip


def tree(folder: SeedFolder) -> list[tuple[object, ...]]:
    """A journal without its times."""
    nodes = list(folder.nodes)
    return [(n.step, n.operator, n.parents, n.step_class, n.fitness, n.code_sha256, n.canonical) for n in nodes]


def play(tmp: Path, engine: InProcessEngine, seed: int = 0, **options: object) -> SeedFolder:
    folder = SeedFolder(tmp / "seed")
    active = session(tmp, engine, **options)  # type: ignore[arg-type]
    try:
        run_seed(active, folder, seed)
    finally:
        active.slots.close()
    assert engine.open == 0, "every container is closed"
    return folder


def test_a_seed_runs_exactly_its_steps_and_submits_the_best_by_validation(tmp_path: Path) -> None:
    folder = play(tmp_path, InProcessEngine(Clock()), steps=7)
    events = folder.events
    scores = folder.scores.read()
    assert len(tree(folder)) == 7
    assert len(scores) == 7
    best = max(scores.values(), key=lambda score: score.validation or 0)
    assert events[-1].submitted == best.step  # type: ignore[union-attr]


def test_the_journal_holds_no_test_score(tmp_path: Path) -> None:
    folder = play(tmp_path, InProcessEngine(Clock()))
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
    whole = play(tmp_path_factory.mktemp("whole"), InProcessEngine(Clock()), scaffold=scaffold)

    class Killed(BaseException):
        pass

    def kill(call: int, spec: ContainerSpec) -> bool:
        if call == kill_at:
            raise Killed
        return False

    broken = tmp_path_factory.mktemp("broken")
    try:
        play(broken, InProcessEngine(Clock(), kill), scaffold=scaffold)
    except Killed:
        journal = SeedFolder(broken / "seed").journal
        journal.write_bytes(journal.read_bytes()[: max(0, journal.stat().st_size - cut)])
    again = play(broken, InProcessEngine(Clock()), scaffold=scaffold)
    assert tree(again) == tree(whole)
    assert {step: score.test for step, score in again.scores.read().items()} == {
        step: score.test for step, score in whole.scores.read().items()
    }


def test_different_seeds_take_different_paths(tmp_path: Path) -> None:
    one = play(tmp_path / "1", InProcessEngine(Clock()), seed=1)
    two = play(tmp_path / "2", InProcessEngine(Clock()), seed=2)
    assert tree(one) != tree(two)


def test_infrastructure_is_retried_and_the_tree_does_not_notice(tmp_path: Path) -> None:
    calm = play(tmp_path / "calm", InProcessEngine(Clock()))
    flaky = play(tmp_path / "flaky", InProcessEngine(Clock(), lambda call, spec: call % 4 == 0))
    assert tree(calm) == tree(flaky)
    attempts = [node.attempts for node in flaky.nodes]
    assert max(attempts) > 1


def test_a_dead_engine_halts_the_seed_without_a_node_and_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(SandboxError):
        play(tmp_path, InProcessEngine(Clock(), lambda call, spec: call > 2))
    assert len(tree(SeedFolder(tmp_path / "seed"))) == 1
    assert len(tree(play(tmp_path, InProcessEngine(Clock())))) == 6


def test_a_step_that_alone_breaks_the_engine_is_an_infrastructure_error_and_no_score(tmp_path: Path) -> None:
    folder = play(tmp_path, InProcessEngine(Clock(), lambda call, spec: call in {3, 4, 5}))
    classes = [row[3] for row in tree(folder)]
    assert classes.count("infra_error") == 1
    assert len(folder.scores.read()) == 5


def nodes(folder: SeedFolder) -> list[Node]:
    return list(folder.nodes)


def test_a_model_that_was_asked_in_vain_is_not_evaluated_from_the_start_again(tmp_path: Path) -> None:
    """An evaluator that has asked a trained model three times itself says so; all again would train it anew."""
    judged: list[int] = []

    def fails(call: int, spec: ContainerSpec) -> bool:
        if spec.role == "judge":
            judged.append(call)
        return spec.role == "judge"

    engine = InProcessEngine(Clock(), fails, failure=AskedInVain("the judge broke", attempts=3))
    folder = play(tmp_path, engine, steps=1)
    (node,) = nodes(folder)
    assert (node.step_class, node.attempts, len(judged)) == ("infra_error", 3, 1)


@pytest.mark.parametrize("code_ran", [True, False])
def test_infrastructure_that_fails_after_the_code_ran_buys_no_second_draft(tmp_path: Path, code_ran: bool) -> None:
    failure = StepLost("killed", output=(captured(b"tokens"), captured(b""))) if code_ran else SandboxError("no start")
    engine = InProcessEngine(Clock(), lambda call, spec: call in {1, 2, 3}, failure=failure)
    folder = play(tmp_path, engine, scaffold="one-shot")
    first, *others = nodes(folder)
    assert (first.step_class, first.code_ran, first.attempts) == ("infra_error", code_ran, 3)
    assert [node.step_class for node in others] == ([] if code_ran else ["valid"])
    kept = sorted(path.name for path in folder.node(1).iterdir())
    assert kept == ["attempt_1", "attempt_2", "attempt_3", "solution.py"]
    assert (folder.node(1) / "attempt_2" / "failure.txt").read_text().strip() == failure.message
    assert (folder.node(1) / "attempt_1" / "stdout.txt").exists() == code_ran


def test_what_an_interrupted_step_left_is_kept(tmp_path: Path) -> None:
    with pytest.raises(SandboxError):
        play(tmp_path, InProcessEngine(Clock(), lambda call, spec: call > 2))
    folder = play(tmp_path, InProcessEngine(Clock()))
    assert [(folder.node(2) / f"attempt_{number}" / "failure.txt").is_file() for number in (1, 3)] == [True] * 2
    assert (folder.node(2) / "attempt_4" / "solution.py").is_file()


def test_files_that_do_not_fit_are_the_step_s_own_fault(tmp_path: Path) -> None:
    engine = InProcessEngine(Clock(), lambda call, spec: call == 1, failure=FilesTooLarge("too many bytes"))  # type: ignore[arg-type]
    folder = play(tmp_path, engine, scaffold="one-shot")
    assert [(node.step_class, node.reason, node.attempts) for node in nodes(folder)] == [("buggy", "too many bytes", 1)]


def test_an_evaluation_that_takes_the_whole_of_its_time_is_a_refusal_and_no_attempt_at_luck(tmp_path: Path) -> None:
    engine = InProcessEngine(Clock(), seconds={"agent": 1.0, "judge": 1000.0})
    folder = play(tmp_path, engine, steps=2)
    assert [(node.step_class, node.attempts) for node in nodes(folder)] == [("invalid_submission", 1)] * 2
    assert nodes(folder)[0].reason == "its evaluation did not end within 300 s"


def test_a_provider_that_refuses_what_the_code_printed_does_not_keep_it_from_a_score(tmp_path: Path) -> None:
    class Refused(Searcher):
        def analyze(self, *arguments: object) -> None:
            raise ModelError("the provider refuses this text")

    engine = InProcessEngine(Clock())
    active = replace(session(tmp_path, engine, steps=1), agent=Refused("evolution", "", "greedy", evolve, SPACES))
    folder = SeedFolder(tmp_path / "seed")
    run_seed(active, folder, 0)
    active.slots.close()
    assert [node.step_class for node in nodes(folder)] == ["valid"]


def test_no_step_overshoots_the_hours(tmp_path: Path) -> None:
    clock = Clock()
    folder = play(tmp_path, InProcessEngine(clock), steps=500, hours=100 / 3600)
    events = folder.events
    assert events[-1].why == "hours"  # type: ignore[union-attr]
    assert clock.now_s <= 100
    assert len(tree(folder)) == 9


def test_a_timeout_is_the_steps_own_and_the_search_goes_on(tmp_path: Path) -> None:
    engine = InProcessEngine(Clock(), seconds={"agent": 200.0, "judge": 1.0})
    folder = play(tmp_path, engine, steps=3)
    assert [row[3] for row in tree(folder)] == ["timeout"] * 3
    assert not folder.scores.read()


def test_a_known_architecture_is_scored_once(tmp_path: Path) -> None:
    engine = InProcessEngine(Clock())
    first = play(tmp_path, engine)
    (tmp_path / "seed").rename(tmp_path / "before")
    calls = engine.calls
    again = play(tmp_path, engine)
    assert engine.calls - calls == 6, "only the solutions ran"
    assert tree(again) == tree(SeedFolder(tmp_path / "before"))
    assert all(score.cached for score in again.scores.read().values())
    assert first.path == again.path


def test_a_stop_keeps_what_is_done_and_takes_no_half_step(tmp_path: Path) -> None:
    engine = InProcessEngine(Clock())
    active = session(tmp_path, engine)

    def stop_at_four(call: int, spec: ContainerSpec) -> bool:
        if call == 4:
            active.stop.set()
        return False

    engine.fails = stop_at_four
    folder = SeedFolder(tmp_path / "seed")
    with pytest.raises(Stopped):
        run_seed(active, folder, 0)
    active.slots.close()
    assert len(tree(folder)) == 1
    assert engine.open == 0


def test_a_judge_that_reads_another_architecture_is_an_infrastructure_error(tmp_path: Path) -> None:
    node = Node(1, "draft", (), "valid", "", 0.1, None, "0", "0")
    assert node.is_valid
    engine = InProcessEngine(Clock())

    class Liar(InProcessContainer):
        def _judge(self, submission: bytes) -> dict[str, bytes]:
            return super()._judge(b'architecture\n"mA,mA"\n')

    engine.prepare = lambda spec: Liar(engine, spec)  # type: ignore[method-assign]
    active = session(tmp_path, engine, steps=1)
    folder = SeedFolder(tmp_path / "seed")
    run_seed(active, folder, 0)
    active.slots.close()
    assert [row[3] for row in tree(folder)] == ["infra_error"]
    assert not folder.scores.read()


def test_an_unranked_score_is_kept_and_takes_no_part_in_the_search(tmp_path: Path) -> None:
    """Every second candidate is disqualified by the judge: it is scored, never submitted, and best in neither list."""

    class Disqualifying(InProcessContainer):
        def _judge(self, submission: bytes) -> dict[str, bytes]:
            made = super()._judge(submission)
            report = json.loads(made["report.json"])
            if len(report["canonical"]) % 2:
                report |= {"flags": ["custom_gradient"], "unranked": ["custom_gradient"]}
            return made | {"report.json": json.dumps(report).encode()}

    class Engine(InProcessEngine):
        def prepare(self, spec: ContainerSpec) -> InProcessContainer:
            with self.lock:
                self.open += 1
            return Disqualifying(self, spec)

    folder = play(tmp_path, Engine(Clock()), steps=12)
    nodes = {node.step: node for node in folder.nodes}
    scores = folder.scores.read()
    out = [node for node in nodes.values() if node.step_class == "rule_violation"]
    assert 0 < len(out) < len(nodes)
    assert all(node.fitness is None and "custom_gradient" in node.reason for node in out)
    assert all(scores[node.step].unranked == ("custom_gradient",) for node in out), "the score is kept"
    assert submitted(folder) in {node.step for node in nodes.values() if node.step_class == "valid"}
