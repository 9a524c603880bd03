"""Evaluators of code, with containers that are played: whose time ran out, whose failure it was, who is told what.

What real containers do with real modules and scripts: test_traced_module.py and test_served_script.py.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from aira_bench.deadline import Deadline, Owner
from aira_bench.errors import AskedInVain, SandboxError, TaskError
from aira_bench.evaluation.served_script import ServedScript
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.traced_module import TracedModule
from aira_bench.evaluation.verdict import Refused, Scored, Verdict, trusted_score
from aira_bench.gpus.use import GpuUse
from aira_bench.images.ensure import ImageSet
from aira_bench.record.compiled_programs import CompiledPrograms
from aira_bench.sandbox.sandbox import ContainerSpec, DeviceTaken, EndReason, Limits, Role, Starved, StepLost
from aira_bench.tasks.profile import FitClock
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import Task, find_task
from aira_bench.testing import Call, Done, InMemorySandbox
from aira_contract.files import COMPANION_FILES, FIT_FILE, GRAPHS_FILE, HANDOVER_FILE, JUDGE_FILE, PROGRAMS_FILE
from aira_contract.invocation import PROGRAMS_OPTION
from aira_contract.reports import RESULT_MARKER
from aira_contract.training_series import TrainingPoint

LIMITS = Limits(memory_mib=512)
MODULE = find_task("lra-listops")
SCRIPT = find_task("AutoregressiveLanguageModellingAutoresearchBPB")
GRAPHS = b'{"dim": 64}\ngraphs'


def scored(metric: str, **more: object) -> Done:
    report = {"schema": 1, "validation": 0.25, "test": 0.5, "evaluator_version": "1", "seed_set": "search",
              "seconds": 1.0} | more  # fmt: skip
    printed = f"{RESULT_MARKER}\n{json.dumps({metric: 0.5})}\n"
    return Done({"report.json": json.dumps(report).encode()}, stdout=printed.encode())


@dataclass
class Played:
    """Containers by role, and what each was called with."""

    programs: Mapping[Role, Callable[[Call], Done]]
    seconds: Mapping[str, float] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        def noted(program: Callable[[Call], Done]) -> Callable[[Call], Done]:
            return lambda call: (self.calls.append(call), program(call))[1]

        self.sandbox = InMemorySandbox(
            {role: noted(program) for role, program in self.programs.items()}, seconds=self.seconds
        )

    def of(self, role: Role) -> list[Call]:
        return [call for call in self.calls if call.spec.role == role and call.command[-1] != "pass"]

    def deadline(self, limit_s: float, owner: Owner = "evaluation") -> Deadline:
        return Deadline.after(limit_s, owner, self.sandbox.world.monotonic_s)


@pytest.fixture
def ahead() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def setting(task: Task, folder: Path) -> EvaluationSetting:
    data = TaskData(folder / "data")
    data.folder.mkdir(parents=True, exist_ok=True)
    data.marker.write_text("{}")
    for path in (data.task / "trace.py", *(data.public / name for name in COMPANION_FILES)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("script")
    return EvaluationSetting(task, "cpu", data, ImageSet("agent:1", "judge:1"), "r", draw_secret="00ff")


# A module: traced, then judged.


@dataclass
class Module:
    """A `TracedModule` with played containers."""

    folder: Path
    ahead: ThreadPoolExecutor
    fit: Done = field(default_factory=lambda: Done({GRAPHS_FILE: GRAPHS}))
    judge: Done = field(default_factory=lambda: scored(MODULE.metric))
    seconds: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, object] = field(default_factory=dict)
    synthetic: bool = False

    def __post_init__(self) -> None:
        self.played = Played({"fit": lambda call: self.fit, "judge": lambda call: self.judge}, self.seconds)

    def evaluate(self, limit_s: float = 3600, owner: Owner = "evaluation") -> Verdict:
        where = replace(setting(MODULE, self.folder), **self.changes)  # type: ignore[arg-type]
        where.data.marker.write_text(json.dumps({"synthetic": self.synthetic}))
        evaluator = TracedModule(where, self.played.sandbox, LIMITS, self.ahead)
        try:
            return evaluator.evaluate(
                Submission(b"code"), deadline=self.played.deadline(limit_s, owner), destination=self.folder / "verdict"
            )
        finally:
            evaluator.close()


def test_a_judge_gets_the_graphs_and_no_byte_of_the_module(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    module = Module(tmp_path, ahead, seconds={"fit": 40})
    verdict = module.evaluate(3600)
    assert isinstance(verdict, Scored)
    (fit,), (judge,) = module.played.of("fit"), module.played.of("judge")
    assert set(fit.files) == {"trace.py", MODULE.metadata.aira.artifact.name}
    assert (fit.spec.mounts, fit.spec.limits.gpu_uuid) == ((), None)
    assert set(judge.files) == {f"data/{GRAPHS_FILE}", f"data/{JUDGE_FILE}"}
    told = json.loads(judge.files[f"data/{JUDGE_FILE}"])
    assert (told["timeout_s"], told["memory_mib"]) == (3560, 512), "what tracing left of its own time"
    assert not list(tmp_path.rglob(GRAPHS_FILE)), "up to 160 MiB a step"
    assert PROGRAMS_OPTION not in judge.command


@pytest.mark.parametrize(
    ("limit_s", "owner", "reason"),
    [
        (3600, "evaluation", "model.py: tracing did not end within 600 s"),
        (3600, "hours", "model.py: tracing did not end within 600 s"),
        (60, "evaluation", "model.py: tracing did not end within 60 s"),
        (600, "hours", "model.py: tracing did not end within 600 s"),
        (60, "hours", None),
    ],
)
def test_slow_tracing_is_the_module_s_fault_unless_the_run_had_less_than_its_cap(
    tmp_path: Path, ahead: ThreadPoolExecutor, limit_s: float, owner: Owner, reason: str | None
) -> None:
    module = Module(tmp_path, ahead, seconds={"fit": 10_000})
    if reason is None:
        with pytest.raises(SandboxError, match="time of the run ended while a submission was traced"):
            module.evaluate(limit_s, owner)
    else:
        verdict = module.evaluate(limit_s, owner)
        assert isinstance(verdict, Refused)
        assert verdict.reason == reason


@pytest.mark.parametrize(
    ("fit", "reason"),
    [
        (Done(exit_code=2, stderr=b"model.py: no class Model\n"), "model.py: no class Model"),
        (Done(exit_code=2), "model.py: cannot be traced"),
        (Done(exit_code=1, stderr=b"x\nValueError: bad\n"), "ended with exit status 1: ValueError: bad"),
        (Done(exit_code=1), "ended with exit status 1: no message"),
        (Done(ended="out_of_memory"), "tracing needs more than"),
        (Done(), "tracing left no graphs (missing)"),
        (Done(others=[GRAPHS_FILE]), "tracing left no graphs (not a regular file)"),
    ],
)
def test_each_way_to_leave_no_graphs_has_its_reason(
    tmp_path: Path, ahead: ThreadPoolExecutor, fit: Done, reason: str
) -> None:
    verdict = Module(tmp_path, ahead, fit=fit).evaluate()
    assert isinstance(verdict, Refused)
    assert reason in verdict.reason


@pytest.mark.parametrize(("owner", "refused"), [("evaluation", True), ("hours", False)])
def test_time_that_tracing_used_up_is_the_module_s_where_it_was_its_own(
    tmp_path: Path, ahead: ThreadPoolExecutor, owner: Owner, refused: bool
) -> None:
    module = Module(tmp_path, ahead, seconds={"fit": 100})
    if refused:
        verdict = module.evaluate(100, owner)
        assert verdict == Refused("tracing took all the time there is for an evaluation", 100)
    else:
        with pytest.raises(SandboxError, match="before a traced submission was judged"):
            module.evaluate(100, owner)


@pytest.mark.parametrize(("owner", "seed_set", "scores"), [
    ("evaluation", "search", False), ("evaluation", "final", True), ("hours", "search", False),
])  # fmt: skip
def test_training_that_does_not_end_is_refused_by_its_own_time_which_controls_triple(
    tmp_path: Path, ahead: ThreadPoolExecutor, owner: Owner, seed_set: str, scores: bool
) -> None:
    module = Module(tmp_path, ahead, seconds={"fit": 10, "judge": 250}, changes={"seed_set": seed_set})
    if owner == "hours":
        with pytest.raises(SandboxError, match="time of the run ended"):
            module.evaluate(100, owner)
        return
    verdict = module.evaluate(100, owner)
    if scores:
        assert isinstance(verdict, Scored)
    else:
        assert verdict == Refused("model.py: training and scoring did not end within 90 s", 100)


@pytest.mark.parametrize(
    ("task", "profile", "synthetic", "seed_set", "floor"),
    [
        ("lra-text", "cpu", True, "final", "synthetic_noise"),
        ("lra-text", "cpu", False, "final", None),  # nobody measured it on the real reviews
        ("lra-text", "cpu", True, "search", None),  # no controls
        ("lra-listops", "cpu", False, "final", "noise"),
        ("lra-listops", "paper", False, "final", None),
    ],
)
def test_a_judge_that_trains_on_controls_is_told_the_noise_of_training_on_its_own_data(
    tmp_path: Path,
    ahead: ThreadPoolExecutor,
    task: str,
    profile: str,
    synthetic: bool,
    seed_set: str,
    floor: str | None,
) -> None:
    changes = {"task": find_task(task), "profile": profile, "seed_set": seed_set}
    module = Module(tmp_path, ahead, changes=changes, synthetic=synthetic)
    module.evaluate()
    (judge,) = module.played.of("judge")
    known = 0.0 if floor is None else getattr(find_task(task).metadata.aira, floor)[profile].deviation
    assert json.loads(judge.files[f"data/{JUDGE_FILE}"])["training_deviation"] == known


def test_graphs_that_crash_the_compiler_are_refused_and_other_failures_are_not(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    crashed = Module(tmp_path, ahead, judge=Done(exit_code=139)).evaluate()
    assert isinstance(crashed, Refused)
    assert "crash the compiler" in crashed.reason
    with pytest.raises(SandboxError, match="exit status 1: no data"):
        Module(tmp_path, ahead, judge=Done(exit_code=1, stderr=b"no data\n")).evaluate()


def test_programs_go_from_judge_to_judge_of_the_same_graphs_alone(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    made = scored(MODULE.metric)
    judge = replace(made, files={**made.files, PROGRAMS_FILE: b"compiled"})
    changes = {"programs": CompiledPrograms(tmp_path / "compiled")}
    module = Module(tmp_path, ahead, judge=judge, changes=changes)
    module.evaluate()
    module.fit = Done({GRAPHS_FILE: b'{"dim": 128}\ngraphs'})  # hyperparameters alone differ
    module.evaluate()
    module.fit = Done({GRAPHS_FILE: b'{"dim": 64}\nothers'})
    module.evaluate()
    given = [call.files.get(PROGRAMS_FILE) for call in module.played.of("judge")]
    assert given == [None, b"compiled", None]
    assert all(PROGRAMS_OPTION in call.command for call in module.played.of("judge"))
    assert not [call for call in module.played.of("fit") if PROGRAMS_FILE in call.files]


def test_flags_that_the_task_admits_keep_no_score_out(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    flags = {"flags": ["custom_gradient", "growth"], "unranked": ["custom_gradient", "growth"]}
    aira = MODULE.metadata.aira.model_copy(update={"admits": ("custom_gradient",)})
    admitting = replace(MODULE, metadata=MODULE.metadata.model_copy(update={"aira": aira}))
    for task, unranked in ((MODULE, ("custom_gradient", "growth")), (admitting, ("growth",))):
        module = Module(tmp_path, ahead, judge=scored(MODULE.metric, **flags), changes={"task": task})
        verdict = module.evaluate()
        assert isinstance(verdict, Scored)
        assert (verdict.flags, verdict.unranked) == (("custom_gradient", "growth"), unranked)


def test_a_task_without_a_script_that_traces_is_named(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    where = setting(MODULE, tmp_path)
    (where.data.task / "trace.py").unlink()
    with pytest.raises(TaskError, match=r"has no readable trace\.py"):
        TracedModule(where, InMemorySandbox({}), LIMITS, ahead)


# A script: trained, then served to a judge.

CLOCK = FitClock(budget_s=20, start_up_s=5, handover_mib=1, serving_s=60, predictors=2)
HANDED = Done({HANDOVER_FILE: b"model", "validation.json": b'{"metric": "Loss", "value": 1.5}'})


def script_task() -> Task:
    """The task, with clocks of a few seconds."""
    aira = SCRIPT.metadata.aira
    profiles = {**aira.profiles, "cpu": aira.profiles["cpu"].model_copy(update={"fit": CLOCK})}
    changed = aira.model_copy(update={"profiles": profiles})
    return replace(SCRIPT, metadata=SCRIPT.metadata.model_copy(update={"aira": changed}))


@dataclass
class Training:
    """A `ServedScript` with played containers."""

    folder: Path
    ahead: ThreadPoolExecutor
    fit: Done = HANDED
    judge: Callable[[Call], Done] = lambda call: scored(SCRIPT.metric)
    predict: Callable[[Call], Done] = lambda call: Done()
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        programs: dict[Role, Callable[[Call], Done]] = {
            "fit": lambda call: Done() if call.command[-1] == "pass" else self.fit,
            "judge": self.judge,
            "predict": self.predict,
        }
        self.played = Played(programs, self.seconds)

    def evaluate(self, limit_s: float = 600, owner: Owner = "evaluation") -> Verdict:
        evaluator = ServedScript(setting(script_task(), self.folder), self.played.sandbox, LIMITS, self.ahead)
        try:
            return evaluator.evaluate(
                Submission(b"code"), deadline=self.played.deadline(limit_s, owner), destination=self.folder / "verdict"
            )
        finally:
            evaluator.close()


def test_the_judge_is_told_of_the_model_and_never_given_it(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    script = Training(tmp_path, ahead)
    verdict = script.evaluate()
    assert isinstance(verdict, Scored)
    (fit,), (judge,) = script.played.of("fit"), script.played.of("judge")
    assert set(fit.files) == {"train.py", *COMPANION_FILES}
    assert fit.timeout_s == 25
    assert judge.files["data/train.py"] == b"", "the layout wants the file; nobody reads it"
    told = json.loads(judge.files[f"data/{FIT_FILE}"])
    assert len(told["sockets"]) == len(set(told["sockets"])) == CLOCK.predictors
    assert not [data for data in judge.files.values() if data == b"model"]
    for call in script.played.of("predict"):
        assert [mount.target.name for mount in call.spec.mounts] == [HANDOVER_FILE], "and no data"
    assert not list(tmp_path.rglob(HANDOVER_FILE)), "hundreds of MB; its hash is in the report"


def test_what_a_script_prints_of_its_training_is_kept_as_claimed(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    printed = b"GPT()\nstep     1    0 %  loss 9.0112  epoch 1\nstep    40  100 %  loss 5.5000  epoch 1\n---\n"
    verdict = Training(tmp_path, ahead, replace(HANDED, stdout=printed)).evaluate()
    assert isinstance(verdict, Scored)
    assert verdict.series == ()
    assert verdict.claimed_series == (TrainingPoint(1, 9.0112, None, None), TrainingPoint(40, 5.5, None, None))
    kept = trusted_score(1, verdict, "image", synthetic=False)
    assert (kept.series, kept.claimed_series) == ((), verdict.claimed_series)


@pytest.mark.parametrize(
    ("fit", "reason"),
    [
        (Done(exit_code=1, stderr=b"OSError: no\n"), "train.py ended with exit status 1: OSError: no"),
        (Done(exit_code=1, stdout=b"bye\n"), "exit status 1: bye"),
        (Done(exit_code=3), "exit status 3: no message"),
        (Done(), "ended without handing a model over"),
        (Done(others=[HANDOVER_FILE]), "cannot be used: not a regular file"),
        (Done({HANDOVER_FILE: bytes(2 << 20)}), "cannot be used: too large"),
        (Done(ended="out_of_memory"), "killed above"),
    ],
)
def test_each_way_to_hand_no_model_over_has_its_reason(
    tmp_path: Path, ahead: ThreadPoolExecutor, fit: Done, reason: str
) -> None:
    script = Training(tmp_path, ahead, fit=fit)
    verdict = script.evaluate()
    assert isinstance(verdict, Refused)
    assert reason in verdict.reason
    assert script.played.of("judge") == []


OWN_CLOCK = "train.py was killed after 25 s (budget 20 s, start-up allowance 5 s)"


@pytest.mark.parametrize(
    ("limit_s", "owner", "refusal"),
    [
        (600, "evaluation", OWN_CLOCK), (600, "hours", OWN_CLOCK), (25, "hours", OWN_CLOCK), (24, "hours", None),
        (24, "evaluation", "train.py was killed after 24 s, all of its evaluation, and had handed no model over"),
    ],
)  # fmt: skip
def test_a_script_answers_for_its_clock_and_its_evaluation_and_not_for_the_hours(
    tmp_path: Path, ahead: ThreadPoolExecutor, limit_s: float, owner: Owner, refusal: str | None
) -> None:
    script = Training(tmp_path, ahead, seconds={"fit": 1000})
    if refusal is None:
        with pytest.raises(SandboxError, match="time of the run ended while a script trained"):
            script.evaluate(limit_s, owner)
    else:
        verdict = script.evaluate(limit_s, owner)
        assert isinstance(verdict, Refused)
        assert verdict.reason.startswith(refusal)


def test_a_model_is_asked_three_times_and_never_trained_again(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    script = Training(tmp_path, ahead, judge=lambda call: Done(exit_code=1, stderr=b"a socket broke\n"))
    with pytest.raises(AskedInVain, match="a socket broke") as caught:
        script.evaluate()
    assert caught.value.attempts == 3
    assert (len(script.played.of("fit")), len(script.played.of("judge"))) == (1, 3)
    asked = [json.loads(call.files[f"data/{FIT_FILE}"]) for call in script.played.of("judge")]
    assert len({tuple(told["sockets"]) for told in asked}) == 3, "fresh names, so that no old socket answers"
    assert len({told["handover_sha256"] for told in asked}) == 1


def test_what_earlier_parts_left_is_nobody_s_time_to_keep(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    """A judge that does not end in what training left of the evaluation's time is infrastructure's failure."""
    script = Training(tmp_path, ahead, seconds={"fit": 20, "judge": 10_000})
    with pytest.raises(AskedInVain, match="time of the run ended") as caught:
        script.evaluate(100)
    assert caught.value.attempts == 1, "no time is left to ask again"
    assert script.played.of("judge") == [], "it was killed at its deadline"


def lost(number: int, spec: ContainerSpec) -> bool:
    return spec.role == "predict"


@pytest.mark.parametrize("engine_works", [True, False])
def test_a_serving_container_that_is_lost_each_time_is_the_model_s_doing_if_the_engine_works(
    tmp_path: Path, ahead: ThreadPoolExecutor, engine_works: bool
) -> None:
    script = Training(tmp_path, ahead, judge=lambda call: Done(exit_code=1, stderr=b"it hung up\n"))
    sandbox = script.played.sandbox
    sandbox.failure = StepLost("The container is gone.")
    trained: list[int] = []

    def fails(number: int, spec: ContainerSpec) -> bool:
        if spec.role == "fit":
            trained.append(number)
        return lost(number, spec) or (not engine_works and spec.role == "fit" and len(trained) > 1)

    sandbox.fails = fails
    if engine_works:
        verdict = script.evaluate()
        assert verdict == Refused("the container that served the model was lost 3 times", attempts=3)
    else:
        with pytest.raises(AskedInVain, match="The container is gone"):
            script.evaluate()


@pytest.mark.parametrize(
    ("ended", "reason"),
    [("out_of_memory", "killed above 512 MiB of memory while it was served"), ("output_flood", "printed more than")],
)
def test_a_judge_s_refusal_is_told_in_the_engine_s_words_where_the_engine_ended_the_model(
    tmp_path: Path, ahead: ThreadPoolExecutor, ended: EndReason, reason: str
) -> None:
    refusal = Done(exit_code=2, stderr=b"evaluate: error: the model hung up\n")
    script = Training(tmp_path, ahead, judge=lambda call: refusal, predict=lambda call: Done(ended=ended))
    verdict = script.evaluate()
    assert isinstance(verdict, Refused)
    assert reason in verdict.reason
    plain = Training(tmp_path, ahead, judge=lambda call: refusal).evaluate()
    assert isinstance(plain, Refused)
    assert plain.reason == "the model hung up"


def under_load(told: list[str], *lost_s: float) -> Callable[[Call], Done]:
    """Trainings of 20 s of which others take so much, one after the other."""
    left = iter(lost_s)

    def train(call: Call) -> Done:
        told.append(" ".join(call.command))
        return replace(HANDED, lost_s=next(left))

    return train


def loaded(script: Training, fit: Callable[[Call], Done], seconds: float = 20.0) -> Training:
    script.played.sandbox.programs = {**script.played.sandbox.programs, "fit": fit}
    script.played.sandbox.seconds = {"fit": seconds, **script.seconds}
    return script


def test_a_training_beside_neighbours_is_told_as_much_more_as_it_loses_and_scored_when_that_was_fair(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    """On a machine with load 20 the shipped baseline was refused, 3 of 3, or would have been scored on a tenth."""
    told: list[str] = []
    script = loaded(Training(tmp_path, ahead), under_load(told, 15.0, 15.0))
    deadline = script.played.deadline(600)
    evaluator = ServedScript(setting(script_task(), tmp_path), script.played.sandbox, LIMITS, ahead)
    verdict = evaluator.evaluate(Submission(b"code"), deadline=deadline, destination=tmp_path / "verdict")
    evaluator.close()
    assert isinstance(verdict, Scored)
    assert told == ["python3 train.py", "env AIRA_TIME_BUDGET_S=80.000 python3 train.py"]
    (judge,) = script.played.of("judge")
    record = json.loads(judge.files[f"data/{FIT_FILE}"])
    assert (record["seconds"]["stretch"], record["seconds"]["lost_to_others"]) == (4.0, 15.0)
    assert record["stretch"] == 8.0, "the judge waits for the model's answers with room to spare"
    assert deadline.used_s == 5.0, "of forty seconds, the rest was its neighbours' doing"


def test_a_training_that_sleeps_where_it_was_told_of_neighbours_is_scored_and_not_done_again(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    """It loses nothing to others, since it wants nothing; else it could have itself done again until its seed halts."""
    left = iter([replace(HANDED, lost_s=15.0), replace(HANDED, lost_s=0.0, taken_s=15.5)])
    assert isinstance(loaded(Training(tmp_path, ahead), lambda call: next(left)).evaluate(), Scored)
    assert next(left, None) is None


@pytest.mark.parametrize("lost_s", [(15.0, 0.0, 15.0), (15.0, 19.8, 0.0), (19.0, 12.0, 19.0)])
def test_a_training_that_never_has_its_share_has_no_class_and_shows_the_model_nothing(
    tmp_path: Path, ahead: ThreadPoolExecutor, lost_s: tuple[float, ...]
) -> None:
    """Less than its share, or more of it once neighbours have left: neither is a score."""
    told: list[str] = []
    script = loaded(Training(tmp_path, ahead), under_load(told, *lost_s), seconds=24.9)
    with pytest.raises(Starved, match="Others used the cores of a training, 3 times") as caught:
        script.evaluate()
    assert caught.value.hint is None, "whoever knows the run names the command that goes on with it"
    assert (len(told), script.played.of("judge")) == (3, [])
    assert not list(tmp_path.rglob(HANDOVER_FILE))


@pytest.mark.parametrize(("lost_s", "trainings"), [(5.0, 1), (8.8, 1), (9.0, 2)])
def test_a_training_that_had_its_cores_for_its_budget_is_scored_whatever_it_was_told(
    tmp_path: Path, ahead: ThreadPoolExecutor, lost_s: float, trainings: int
) -> None:
    """Its budget, 20 s, has grown while it trained; 9.0 s of 24.9 lost leave it less than 16."""
    told: list[str] = []
    script = loaded(Training(tmp_path, ahead), under_load(told, lost_s, lost_s), seconds=24.9)
    assert isinstance(script.evaluate(), Scored)
    assert told[:1] == ["python3 train.py"]
    assert len(told) == trainings


def test_on_a_gpu_a_training_that_lost_its_cores_is_not_scored_for_having_had_them_long_enough(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    told: list[str] = []
    script = loaded(Training(tmp_path, ahead), under_load(told, 5.0, 5.0, 5.0), seconds=24.9)
    limits = replace(LIMITS, gpu_uuid="GPU-1")
    evaluator = ServedScript(setting(script_task(), tmp_path), script.played.sandbox, limits, ahead)
    try:
        with pytest.raises(Starved):
            evaluator.evaluate(Submission(b"code"), deadline=script.played.deadline(600), destination=tmp_path / "v")
    finally:
        evaluator.close()


def test_a_training_that_ends_long_before_its_budget_is_scored_beside_any_neighbours(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    told: list[str] = []
    assert isinstance(loaded(Training(tmp_path, ahead), under_load(told, 3.0), 4.0).evaluate(), Scored)


@pytest.mark.parametrize("gpu", [None, "GPU-1"])
def test_on_a_gpu_no_script_is_told_more_time(tmp_path: Path, ahead: ThreadPoolExecutor, gpu: str | None) -> None:
    told: list[str] = []
    script = loaded(Training(tmp_path, ahead), under_load(told, 15.0, 15.0, 15.0))
    limits = replace(LIMITS, gpu_uuid=gpu)
    evaluator = ServedScript(setting(script_task(), tmp_path), script.played.sandbox, limits, ahead)
    try:
        with contextlib.suppress(Starved):
            evaluator.evaluate(Submission(b"code"), deadline=script.played.deadline(600), destination=tmp_path / "v")
    finally:
        evaluator.close()
    assert len([call for call in told if "AIRA_TIME_BUDGET_S" in call]) == (0 if gpu else 1)


def test_a_refusal_for_time_that_neighbours_took_is_asked_again_and_others_are_not(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    slow = b"evaluate: train.py: error: the model gave no answer within 30 s\n"
    for said, lost_s, asked in ((slow, 30.0, 2), (slow, 0.0, 1), (b"evaluate: train.py: error: no logits\n", 30.0, 1)):
        stretches: list[float] = []

        def judge(call: Call, said: bytes = said, lost_s: float = lost_s, told: list[float] = stretches) -> Done:
            told.append(json.loads(call.files[f"data/{FIT_FILE}"])["stretch"])
            return Done(exit_code=2, stderr=said, lost_s=lost_s)

        verdict = Training(tmp_path, ahead, judge=judge, seconds={"judge": 40.0}).evaluate()
        assert isinstance(verdict, Refused)
        assert (len(stretches), verdict.attempts) == (asked, asked)
        assert stretches == [1.0, 8.0][:asked]


def test_a_model_that_is_asked_in_vain_for_want_of_cores_is_no_lost_container(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    script = Training(tmp_path, ahead)
    script.played.sandbox.failure = Starved("Others kept the cores.")
    script.played.sandbox.fails = lost
    with pytest.raises(AskedInVain, match="Others kept the cores"):
        script.evaluate()


HOT = GpuUse(9, 1410, 1980, 350.0, 700.0, 88, 9000, {"heat": 1.0}, ("heat",))


def test_a_verdict_says_how_the_device_of_its_training_worked(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    script = loaded(Training(tmp_path / "script", ahead), lambda call: replace(HANDED, gpu=HOT))
    verdict = script.evaluate()
    assert isinstance(verdict, Scored)
    assert verdict.gpu == HOT
    failing = loaded(Training(tmp_path / "failing", ahead), lambda call: Done(exit_code=1, gpu=HOT))
    refused = failing.evaluate()
    assert isinstance(refused, Refused)
    assert refused.gpu == HOT
    module = Module(tmp_path / "module", ahead)
    judge = module.played.sandbox.programs["judge"]
    module.played.sandbox.programs = {
        **module.played.sandbox.programs, "judge": lambda call: replace(judge(call), gpu=HOT)
    }  # fmt: skip
    assert module.evaluate().gpu == HOT


def test_a_training_beside_another_process_on_its_device_is_neither_scored_nor_refused(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    def shared(call: Call) -> Done:
        raise DeviceTaken("Others used the GPU of a container while it ran.")

    script = loaded(Training(tmp_path, ahead), shared)
    with pytest.raises(DeviceTaken, match="Others used the GPU"):
        script.evaluate()
    assert script.played.of("judge") == [], "no hidden text was shown"
    served = Training(tmp_path / "served", ahead)
    served.played.sandbox.failure = DeviceTaken("Others used the GPU.")
    served.played.sandbox.fails = lost
    with pytest.raises(AskedInVain, match="Others used the GPU"):
        served.evaluate()


def test_what_others_took_from_tracing_and_judging_is_none_of_the_evaluation_s_time(
    tmp_path: Path, ahead: ThreadPoolExecutor
) -> None:
    module = Module(tmp_path, ahead, seconds={"fit": 500.0, "judge": 500.0})
    programs = module.played.sandbox.programs
    slow: dict[Role, Callable[[Call], Done]] = {
        role: lambda call, role=role: replace(programs[role](call), lost_s=450.0)  # type: ignore[misc]
        for role in programs
    }
    module.played.sandbox.programs = slow
    assert isinstance(module.evaluate(600.0), Scored), "of 1,000 s it had its cores for 100"
