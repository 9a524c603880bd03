"""The judge that stays, from the host's side: scores as from fresh containers, and a new container after any failure."""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from aira_bench.deadline import Deadline
from aira_bench.docker_engine import DockerEngine
from aira_bench.errors import SandboxError
from aira_bench.evaluation.judge import JudgeAlone, verdict_of
from aira_bench.evaluation.resident import ResidentJudge, may_stay
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Refused, Scored, Verdict
from aira_bench.images.ensure import ImageSet
from aira_bench.output import CapturedOutput
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import (
    ArtifactRequest,
    ContainerSpec,
    ConversationTimeout,
    EndReason,
    Limits,
    StepOutcome,
)
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import find_task, load_task
from aira_contract.reports import RESULT_MARKER
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.splits import MadManifest, draw_corpus, write_split

TASK = find_task("mad-3p")
MIXED, PLAIN = ",".join(("Mb", "mA", "M", "M") * 4), ",".join(("mA", "M") * 8)


def submission(architecture: str, training: int = 0) -> Submission:
    return Submission.of(TASK.metadata.aira.artifact, f'architecture\n"{architecture}"\n'.encode(), training)


def seconds(limit_s: float) -> Deadline:
    """What a run has left, unless it is the whole time of an evaluation."""
    return Deadline.after(limit_s, "evaluation" if limit_s >= TASK.profile("cpu").evaluation_timeout_s else "hours")


# Against a scripted judge: what counts as a failure, and what follows.


@dataclass
class Script:
    """An engine whose judges answer as told; `answer` gets the asked architecture and the honest answer."""

    answer: Callable[[str, dict[str, Any]], object] = lambda asked, honest: honest
    begun: int = 0
    open: int = 0
    fresh: int = 0
    asked: list[str] = field(default_factory=list)
    trainings: list[int] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    """What the engine says of a judge that broke off."""

    def prepare(self, spec: ContainerSpec) -> "ScriptedContainer":
        self.open += 1
        return ScriptedContainer(self)

    def sweep(self, run_id: str) -> int:
        return 0


@dataclass
class ScriptedContainer:
    script: Script

    @property
    def lost_s(self) -> float:
        """Others took two seconds while it greeted, and five of each request."""
        return 2.0 + 5.0 * len(self.script.asked)

    def converse(
        self, command: Sequence[str], *, files: Mapping[str, bytes], most_bytes: int, timeout_s: float
    ) -> "ScriptedContainer":
        self.script.begun += 1
        return self

    def ask(self, request: bytes, *, timeout_s: float) -> bytes:
        asked = json.loads(request)
        assert asked.keys() == {"id", "architecture", "training"}
        self.script.trainings.append(asked["training"])
        self.script.asked.append(asked["architecture"])
        report = {"schema": 1, "canonical": asked["architecture"], "validation": 0.4, "test": 0.5,
                  "evaluator_version": "1", "seed_set": "search", "seconds": 1.0}  # fmt: skip
        honest = {"id": asked["id"], "status": 0, "stdout": f'{RESULT_MARKER}\n{{"Accuracy": 0.5}}\n', "stderr": "",
                  "report": json.dumps(report)}  # fmt: skip
        answer = self.script.answer(asked["architecture"], honest)
        return answer if isinstance(answer, bytes) else json.dumps(answer).encode()

    def run(
        self,
        command: Sequence[str],
        *,
        files: Mapping[str, bytes],
        timeout_s: float,
        artifacts: Sequence[ArtifactRequest],
        destination: Path,
    ) -> StepOutcome:
        self.script.fresh += 1
        raise SandboxError("a fresh container")

    @property
    def is_waiting(self) -> bool:
        return True

    def inspect(self) -> Mapping[str, Any]:
        return {"State": self.script.state}

    def close(self) -> None:
        self.script.open -= 1


@pytest.fixture
def ahead() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def setting(folder: Path, run_id: str = "r", images: ImageSet | None = None) -> EvaluationSetting:
    return EvaluationSetting(
        TASK, "cpu", TaskData(folder), images or ImageSet("agent:1", "judge:1"), run_id, draw_secret="00"
    )


def test_one_judge_serves_all_and_leaves_its_report(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    script = Script()
    judge = ResidentJudge(setting(tmp_path), script, Limits(), ahead)
    for training, architecture in enumerate((MIXED, PLAIN, MIXED)):
        verdict = judge.evaluate(submission(architecture, training), deadline=seconds(9), destination=tmp_path / "kept")
        assert isinstance(verdict, Scored)
        assert (verdict.test, verdict.validation, verdict.canonical) == (0.5, 0.4, architecture)
        assert json.loads((tmp_path / "kept" / "report.json").read_text())["canonical"] == architecture
    assert (script.begun, script.asked, script.trainings) == (1, [MIXED, PLAIN, MIXED], [0, 1, 2])
    judge.close()
    judge.close()
    assert script.open == 0


def raises(asked: str, honest: dict[str, Any]) -> object:
    raise SandboxError("it did not answer in time")


def stays_silent(asked: str, honest: dict[str, Any]) -> object:
    raise ConversationTimeout("it did not answer in time")


@pytest.mark.parametrize("whole", [True, False])
def test_silence_for_the_whole_time_refuses_and_for_what_the_run_has_left_does_not(
    tmp_path: Path, ahead: ThreadPoolExecutor, whole: bool
) -> None:
    judge = ResidentJudge(setting(tmp_path), Script(stays_silent), Limits(), ahead)
    timeout_s = TASK.profile("cpu").evaluation_timeout_s - (0 if whole else 1)

    def evaluate() -> Verdict:
        return judge.evaluate(submission(MIXED), deadline=seconds(timeout_s), destination=tmp_path / "kept")

    if whole:
        verdict = evaluate()
        assert isinstance(verdict, Refused)
        assert "did not end within 300 s" in verdict.reason
    else:
        with pytest.raises(SandboxError, match="time of the run ended"):
            evaluate()
    judge.close()


def test_a_judge_killed_for_memory_refuses_by_the_word_of_the_engine(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    script = Script(raises, state={"OOMKilled": True})
    judge = ResidentJudge(setting(tmp_path), script, Limits(), ahead)
    verdict = judge.evaluate(submission(MIXED), deadline=seconds(9), destination=tmp_path / "kept")
    assert isinstance(verdict, Refused)
    assert "above 4096 MiB of memory" in verdict.reason
    judge.close()
    assert script.open == 0


@pytest.mark.parametrize("ended", ["out_of_memory", "output_flood", "timeout"])
def test_a_judge_that_the_host_or_the_kernel_ends_refuses(tmp_path: Path, ended: EndReason) -> None:
    captured = CapturedOutput(b"", b"", 0, "")
    outcome = StepOutcome(ended, None, 7.0, captured, captured, {}, None, "9 MiB of something")
    verdict = verdict_of(setting(tmp_path), outcome, Deadline.after(300, "evaluation"))
    assert isinstance(verdict, Refused)
    assert ("did not end" if ended == "timeout" else "above 9 MiB of something") in verdict.reason


FAILURES: dict[str, Callable[[str, dict[str, Any]], object]] = {
    "silence": raises,
    "another request's answer": lambda asked, honest: {**honest, "id": "0" * 16},
    "another architecture's score": lambda asked, honest: {**honest, "report": honest["report"].replace("mA", "M")},
    "no JSON": lambda asked, honest: b"\xff",
    "an unknown key": lambda asked, honest: {**honest, "more": 1},
    "a failed evaluation": lambda asked, honest: {**honest, "status": 1, "report": None},
    "no report": lambda asked, honest: {**honest, "report": None},
    "a broken report": lambda asked, honest: {**honest, "report": "{}"},
    "another score printed than reported": lambda asked, honest: {
        **honest, "stdout": honest["stdout"].replace("0.5", "0.6")
    },
}  # fmt: skip


def test_what_others_took_puts_the_deadline_off(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    judge = ResidentJudge(setting(tmp_path), Script(), Limits(), ahead)
    deadline = seconds(60)
    for _ in range(3):
        judge.evaluate(submission(PLAIN), deadline=deadline, destination=tmp_path / "verdict")
    judge.close()
    assert deadline.clock.lost_s == 17.0


def test_a_judge_that_does_not_greet_in_time_refuses_nobody(
    tmp_path: Path, ahead: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows no submission yet: on a busy machine its imports took all the time, and the architecture was refused."""

    def silent(*_: object, **__: object) -> None:
        raise ConversationTimeout("A container did not answer in time and was killed.")

    judge = ResidentJudge(setting(tmp_path), Script(), Limits(), ahead)
    with monkeypatch.context() as patch:
        patch.setattr(ScriptedContainer, "converse", silent)
        with pytest.raises(SandboxError, match="did not greet in time"):
            judge.evaluate(submission(PLAIN), deadline=seconds(1e6), destination=tmp_path / "verdict")
    assert isinstance(
        judge.evaluate(submission(PLAIN), deadline=seconds(1e6), destination=tmp_path / "verdict"), Scored
    )
    judge.close()


@pytest.mark.parametrize("failure", list(FAILURES))
def test_after_any_failure_the_next_candidate_gets_a_new_judge(
    tmp_path: Path, ahead: ThreadPoolExecutor, failure: str
) -> None:
    script = Script()
    judge = ResidentJudge(setting(tmp_path), script, Limits(), ahead)
    script.answer = FAILURES[failure]
    with pytest.raises(SandboxError):
        judge.evaluate(submission(MIXED), deadline=seconds(9), destination=tmp_path / "kept")
    script.answer = Script.answer
    assert isinstance(judge.evaluate(submission(MIXED), deadline=seconds(9), destination=tmp_path / "kept"), Scored)
    assert script.begun == 2
    judge.close()
    assert script.open == 0


def test_a_refusal_is_a_verdict_and_also_the_end_of_its_judge(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    refuse: dict[str, Any] = {"status": 2, "stderr": "evaluate: error: no\n", "report": None}
    script = Script(lambda asked, honest: {**honest, **refuse})
    judge = ResidentJudge(setting(tmp_path), script, Limits(), ahead)
    for begun in (1, 2):
        verdict = judge.evaluate(submission(PLAIN), deadline=seconds(9), destination=tmp_path)
        assert isinstance(verdict, Refused)
        assert verdict.reason == "no"
        assert script.begun == begun
    judge.close()


@pytest.mark.parametrize(
    "content", [b"architecture\nAMSMAMSMAMSMAMSM\n", b"", b"architecture\nimport os\n", b"\xff" * 99]
)
def test_what_is_not_in_normal_form_never_meets_the_judge_that_stays(
    tmp_path: Path, ahead: ThreadPoolExecutor, content: bytes
) -> None:
    script = Script()
    judge = ResidentJudge(setting(tmp_path), script, Limits(), ahead)
    with pytest.raises(SandboxError, match="a fresh container"):
        judge.evaluate(Submission.of(TASK.metadata.aira.artifact, content), deadline=seconds(9), destination=tmp_path)
    assert (script.fresh, script.begun) == (1, 0)
    judge.close()
    assert script.open == 0


def test_a_closed_judge_begins_nothing(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    script = Script()
    judge = ResidentJudge(setting(tmp_path), script, Limits(), ahead)
    judge.close()
    with pytest.raises(SandboxError, match="being stopped"):
        judge.evaluate(submission(MIXED), deadline=seconds(9), destination=tmp_path)
    assert script.open == 0


def test_only_shipped_architecture_tasks_off_the_agents_gpu_have_one(tmp_path: Path) -> None:
    assert may_stay(TASK, Limits())
    assert not may_stay(TASK, Limits(gpu_uuid="GPU-1"))
    copied = shutil.copytree(TASK.folder, tmp_path / TASK.name)
    assert not may_stay(load_task(copied), Limits())
    assert not may_stay(find_task("lra-listops"), Limits())


# In real containers, on data small enough to train in a second.


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TaskData:
    made = TaskData(tmp_path_factory.mktemp("task-data"))
    shutil.copytree(TASK.folder, made.task)
    small = replace(CPU, train_examples=40, validation_examples=30, test_examples=30)
    manifest = MadManifest("cpu", "train", ("M", "mA", "Mb"))
    write_split(made.hidden / "train", draw_corpus(small, "train", 1), manifest)
    public = draw_corpus(small, "validation", 1)
    write_split(made.hidden / "validation", public, replace(manifest, split="validation"))
    for split, seed in (("validation", 2), ("test", 3)):
        hidden = replace(manifest, split=split, seed_set="search", training_seed=4)
        corpus = draw_corpus(small, "validation" if split == "validation" else "test", seed)
        write_split(made.hidden / f"{split}_with_labels" / "search", corpus, hidden)
    made.hidden.chmod(0o755)
    return made


LIMITS = Limits(memory_mib=2048, workspace_mib=64, tmp_mib=64)


def running(engine: DockerEngine, run_id: str) -> int:
    return sum(info.state == "running" for info in engine.containers(f"aira-bench.run={run_id}"))


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_in_containers_it_scores_as_a_fresh_judge_does_and_survives_its_own_death(
    engine: DockerEngine, sandbox: DockerSandbox, images: ImageSet, data: TaskData, tmp_path: Path,
    ahead: ThreadPoolExecutor,
) -> None:  # fmt: skip
    run_id = f"test-{secrets.token_hex(6)}"
    where = replace(setting(tmp_path, run_id, images), data=data)

    def score(judge: JudgeAlone | ResidentJudge, architecture: str, timeout_s: float = 600) -> object:
        verdict = judge.evaluate(submission(architecture), deadline=seconds(timeout_s), destination=tmp_path / "kept")
        assert isinstance(verdict, Scored)
        return verdict.test, verdict.validation, verdict.canonical, verdict.details

    alone, resident = (kind(where, sandbox, LIMITS, ahead) for kind in (JudgeAlone, ResidentJudge))
    try:
        fresh = {architecture: score(alone, architecture) for architecture in (MIXED, PLAIN)}
        alone.close()
        assert [score(resident, some) for some in (PLAIN, MIXED, PLAIN)] == [fresh[PLAIN], fresh[MIXED], fresh[PLAIN]]
        assert running(engine, run_id) == 4, "one judge, the container started ahead, and their readers"
        judges = [info.id for info in engine.containers(f"aira-bench.run={run_id}")]
        for container in judges:
            engine.kill_container(container)
        with pytest.raises(SandboxError):
            score(resident, MIXED)
        assert score(resident, MIXED) == fresh[MIXED], "the container started ahead was killed too, and is replaced"
        with pytest.raises(SandboxError, match="time of the run ended"):
            score(resident, PLAIN, timeout_s=0.2)
        assert score(resident, PLAIN) == fresh[PLAIN]
    finally:
        alone.close()
        resident.close()
    assert sandbox.sweep(run_id) == 0
