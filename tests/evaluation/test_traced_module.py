"""Submissions of `model.py` through real fit and judge containers."""

import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from aira_bench.deadline import Deadline, Owner
from aira_bench.errors import SandboxError, TaskError
from aira_bench.evaluation.judge import judge_spec
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.traced_module import GRAPHS, JUDGE_FILE, TRAININGS, TracedModule, fit_spec
from aira_bench.evaluation.verdict import Refused, Scored, Verdict
from aira_bench.images.ensure import ImageSet
from aira_bench.record.compiled_programs import CompiledPrograms
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, PreparedContainer
from aira_bench.tasks.measured_noise import MeasuredNoise
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import Task, find_task
from aira_contract.files import GRAPHS_FILE, MAX_GRAPHS_BYTES
from aira_contract.reports import RESULT_MARKER
from aira_evaluator.lra.contract import bundle
from aira_evaluator.lra.contract.profiles import CPU_LISTOPS
from aira_evaluator.lra.contract.splits import SplitManifest, write_split
from aira_evaluator.lra.judge import evaluate as commands
from aira_evaluator.lra.listops.expressions import draw_expressions
from aira_evaluator.lra.training import controls
from eventually import stretched
from shown_mounts import shown_mounts

LIMITS = Limits(memory_mib=2048, workspace_mib=512)
SMALL = """
import flax.linen as nn
import jax.numpy as jnp

SEQ_LEN = 16
BATCH_SIZE = 8
NUM_TRAIN_STEPS = 20
EMB_DIM = 16


class CustomEncoder(nn.Module):
    vocab_size: int
    num_classes: int
    emb_dim: int
    qkv_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    max_len: int
    dropout_rate: float

    @nn.compact
    def __call__(self, inputs, *, train):
        mask = (inputs > 0)[:, :, None]
        x = nn.Embed(self.vocab_size, self.emb_dim)(inputs) * mask
        x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
        return nn.Dense(self.num_classes)(x.sum(axis=1) / mask.sum(axis=1))
"""
# Its pass backwards is no derivative.
CUSTOM = (
    SMALL.replace(
        "class Custom",
        """
@jax.custom_vjp
def _odd(x):
    return x


_odd.defvjp(lambda x: (x, None), lambda _, g: (g * g,))


class Custom""",
    )
    .replace("x = nn.Dropout", "x = _odd(x)\n        x = nn.Dropout")
    .replace("import jax.numpy", "import jax\nimport jax.numpy")
)
# Everything a process can do to look finished, still be at work, or have a word in the score.
NOISY = f"""
import os, sys, threading, time
print('''{RESULT_MARKER}''')
print('{{"Accuracy": 1.0}}')
open("report.json", "w").write('{{"schema": 1, "test": 1.0}}')
open("judge.json", "w").write('{{"timeout_s": null}}')
os.makedirs("data/test_with_labels", exist_ok=True)
if os.fork() == 0:
    os.setsid()
    while True:
        time.sleep(60)
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
{SMALL}
"""


@dataclass(frozen=True)
class Judged:
    """One evaluator of small data, and where its evaluations write."""

    evaluator: TracedModule
    folder: Path

    def __call__(self, source: str, timeout_s: float = 3600.0, owner: Owner = "evaluation") -> Verdict:
        deadline = Deadline.after(timeout_s, owner)
        return self.evaluator.evaluate(
            Submission(source.encode()), deadline=deadline, destination=self.folder / "verdict"
        )

    def refusal(self, source: str) -> str:
        verdict = self(source)
        assert isinstance(verdict, Refused), verdict
        assert "\n" not in verdict.reason
        return verdict.reason


def small_data(folder: Path, task: Task) -> TaskData:
    data = TaskData(folder)
    shutil.copytree(task.folder, data.task)
    shape = replace(CPU_LISTOPS.listops, longer_than=4, shorter_than=16) if CPU_LISTOPS.listops else None
    assert shape is not None
    seen: set[bytes] = set()
    hidden = (f"{kind}_with_labels/{seeds}" for seeds in ("search", "final") for kind in ("validation", "test"))
    for number, name in enumerate(("train", *hidden, "validation")):
        split, _ = draw_expressions(shape, 300, 100 + number, seen)
        manifest = SplitManifest(
            "cpu", "listops", name.partition("_")[0], "generated", True, name.rpartition("/")[2], 5
        )
        write_split(data.hidden / name, split, manifest)
    data.marker.write_text("{}")
    return data


def setting_of(task: Task, data: TaskData, images: ImageSet) -> EvaluationSetting:
    return EvaluationSetting(task, "cpu", data, images, f"test-{secrets.token_hex(4)}", draw_secret="00")


def within(task: Task, evaluation_timeout_s: float) -> Task:
    """The task with another deadline for evaluations."""
    aira = task.metadata.aira
    profile = aira.profiles["cpu"].model_copy(update={"evaluation_timeout_s": evaluation_timeout_s})
    changed = aira.model_copy(update={"profiles": {**aira.profiles, "cpu": profile}})
    return replace(task, metadata=task.metadata.model_copy(update={"aira": changed}))


@pytest.fixture
def ahead() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def setting(tmp_path: Path, images: ImageSet) -> EvaluationSetting:
    task = find_task("lra-listops-conf")
    return setting_of(task, small_data(tmp_path / "task", task), images)


@pytest.fixture
def judged(
    setting: EvaluationSetting, sandbox: DockerSandbox, ahead: ThreadPoolExecutor, tmp_path: Path
) -> Iterator[Judged]:
    evaluator = TracedModule(setting, sandbox, LIMITS, ahead)
    yield Judged(evaluator, tmp_path)
    evaluator.close()


def test_host_and_evaluator_mean_the_same_files() -> None:
    assert (GRAPHS.name, GRAPHS.max_bytes) == (GRAPHS_FILE, MAX_GRAPHS_BYTES)
    assert JUDGE_FILE == commands.JUDGE_FILE
    assert TRAININGS == {"search": 1, "final": 1 + controls.TRAININGS}


@pytest.mark.docker
def test_a_module_is_scored_and_its_noise_ignored(judged: Judged) -> None:
    scored = judged(NOISY)
    assert isinstance(scored, Scored), scored
    assert scored.validation is not None
    assert 0 < scored.test < 0.6
    assert scored.details["hyperparameters"]["train_steps"] == 20
    assert not list(judged.folder.rglob(GRAPHS.name))


@pytest.mark.docker
def test_a_gradient_of_its_own_keeps_a_score_out_unless_the_task_admits_it(
    setting: EvaluationSetting, sandbox: DockerSandbox, ahead: ThreadPoolExecutor, tmp_path: Path
) -> None:
    metadata = setting.task.metadata
    admitting = metadata.model_copy(update={"aira": metadata.aira.model_copy(update={"admits": ("custom_gradient",)})})
    found = []
    for task in (setting.task, replace(setting.task, metadata=admitting)):
        evaluator = TracedModule(replace(setting, task=task), sandbox, LIMITS, ahead)
        scored = Judged(evaluator, tmp_path)(CUSTOM)
        evaluator.close()
        assert isinstance(scored, Scored), scored
        assert "custom_gradient" in scored.flags
        found.append(scored)
    assert [scored.unranked for scored in found] == [("custom_gradient",), ()]
    assert found[0].remarks == ("gradient: backward is not the derivative of forward",)


@pytest.mark.docker
def test_the_final_seed_set_comes_with_controls(
    setting: EvaluationSetting, sandbox: DockerSandbox, ahead: ThreadPoolExecutor, tmp_path: Path
) -> None:
    """They allow for the noise of training that the task's metadata has: a deviation of 1 for what beats two of them."""
    metadata = setting.task.metadata
    noise = MeasuredNoise(deviation=1.0, artifacts=1, trainings=2, measured="2026-11-28", hardware="a processor")
    noisy = metadata.model_copy(update={"aira": metadata.aira.model_copy(update={"noise": {"cpu": noise}})})
    task = replace(setting.task, metadata=noisy)
    evaluator = TracedModule(replace(setting, task=task, seed_set="final"), sandbox, LIMITS, ahead)
    scored = Judged(evaluator, tmp_path)(SMALL)
    evaluator.close()
    assert isinstance(scored, Scored), scored
    assert len(scored.details["controls"]["trainings"]) == controls.TRAININGS
    (remark,) = scored.remarks
    assert remark.startswith("test ")
    assert float(remark.rpartition(" allowed ")[2]) == pytest.approx(3 * 1.5**0.5, abs=0.05)
    assert scored.unranked == ()


@pytest.mark.docker
def test_modules_that_differ_in_rates_alone_share_their_programs(
    setting: EvaluationSetting, sandbox: DockerSandbox, ahead: ThreadPoolExecutor, tmp_path: Path
) -> None:
    store = CompiledPrograms(tmp_path / "compiled")
    alone = TracedModule(setting, sandbox, LIMITS, ahead)
    sharing = TracedModule(replace(setting, programs=store), sandbox, LIMITS, ahead)
    try:
        first = Judged(sharing, tmp_path)(SMALL)
        (kept,) = store.folder.iterdir()
        written_ns = kept.stat().st_ctime_ns
        second = Judged(sharing, tmp_path)(f"LEARNING_RATE = 0.01\n{SMALL}")
        expected = Judged(alone, tmp_path)(f"LEARNING_RATE = 0.01\n{SMALL}")
    finally:
        alone.close()
        sharing.close()
    assert isinstance(first, Scored), first
    assert isinstance(second, Scored), second
    assert isinstance(expected, Scored), expected
    assert list(store.folder.iterdir()) == [kept]
    assert kept.stat().st_ctime_ns > written_ns
    assert second.details["seconds"]["compiling"] < first.details["seconds"]["compiling"] / 2
    assert (second.validation, second.test, second.flags) == (expected.validation, expected.test, expected.flags)
    assert second.details["curve"] == expected.details["curve"] != first.details["curve"]
    planned = [
        {
            scale: each["temporary_mib"]
            for scale, each in scored.details["growth"].items()
            if scale != "superlinear_share"
        }
        for scored in (second, expected)
    ]
    assert planned[0] == planned[1], "the compiler's plan of memory comes with the program"
    assert not list(tmp_path.rglob("programs.tar")), "moved, not copied"


@pytest.mark.docker
def test_submissions_that_leave_no_module_are_refused(judged: Judged) -> None:
    assert "not Python: invalid syntax" in judged.refusal("def f(:")
    assert "LR is 3, expected" in judged.refusal("LR = 3.0\n" + SMALL)
    assert judged.refusal("import os; os._exit(0)") == "model.py: tracing left no graphs (missing)"
    link = "import os\nos.symlink('/etc/passwd', 'module.graphs')\nos._exit(0)"
    assert judged.refusal(link) == "model.py: tracing left no graphs (not a regular file)"
    assert "exit status 7: no message" in judged.refusal("import os; os._exit(7)")


@pytest.mark.docker
def test_forged_graphs_are_the_judges_to_refuse(judged: Judged) -> None:
    program = bundle.write_bundle(
        bundle.Bundle("cpu", CPU_LISTOPS.defaults, dict.fromkeys(bundle.TRAINED, b"module { }"))
    )
    forged = f"import os\nopen('module.graphs', 'wb').write({program!r})\nos._exit(0)"
    assert judged.refusal(forged) == "model.py: init: no function main"


# Writes its own bundle: a module of one parameter, whose untrained value INIT computes.
FORGED = """
import os
from dataclasses import replace
from aira_evaluator.lra.contract.bundle import Bundle, write_bundle
from aira_evaluator.lra.contract.profiles import CPU_LISTOPS

def graph(arguments, result, steps="", value="%out"):
    zeros = f"%out = stablehlo.constant dense<0.0> : {result}"
    body = f"{zeros}\\n{steps}\\nreturn {value} : {result}"
    return f"module {{ func.func public @main({arguments}) -> {result} {{ {body} }} }}".encode()

wanted = CPU_LISTOPS.defaults
values, key = "tensor<4xf32>", "tensor<2xui32>"
out, tokens = (f"tensor<{wanted.batch_size}x{shape}>" for shape in ("10xf32", f"{wanted.seq_len}xi32"))
scored, texts = (f"tensor<{CPU_LISTOPS.eval_batch_size}x{shape}>" for shape in ("10xf32", f"{wanted.seq_len}xi32"))
graphs = {
    "init": graph(f"%k: {key}", values, INIT),
    "forward": graph(f"%p: {values}, %x: {tokens}, %k: {key}", out),
    "backward": graph(f"%c: {out}", values),
    "evaluate": graph(f"%p: {values}, %x: {texts}", scored),
}
open("module.graphs", "wb").write(write_bundle(Bundle(PLATFORM, wanted, graphs)))
os._exit(0)
"""
UNTYPED = (
    '"%s = stablehlo.constant dense<7> : tensor<7xui8>\\n%a, %b = stablehlo.rng_bit_generator %s, algorithm = PHILOX : '
    '(tensor<7xui8>) -> (tensor<7xui8>, tensor<4xui32>)\\n%c = stablehlo.convert %b : (tensor<4xui32>) -> tensor<4xf32>", "%c"'
)


@pytest.mark.docker
@pytest.mark.parametrize(
    ("init", "platform", "reason"),
    [
        ('""', "cuda", "was traced for cuda, and this judge runs on cpu"),
        (UNTYPED, "cpu", "the compiler does not take its graphs: INVALID_ARGUMENT"),
    ],
    ids=["other platform", "no program"],
)
def test_graphs_that_cannot_be_run_are_the_submissions_failure_and_nobody_elses(
    judged: Judged, init: str, platform: str, reason: str
) -> None:
    assert reason in judged.refusal(FORGED.replace("INIT", init).replace("PLATFORM", repr(platform)))


@pytest.mark.docker
@pytest.mark.parametrize("fault", ["SIGSEGV", "SIGABRT"])
def test_graphs_that_crash_the_judge_are_refused_and_not_tried_again(
    fault: str, setting: EvaluationSetting, judged: Judged
) -> None:
    """We know no such graph that is admitted, so the judge's script is one that crashes."""
    script = setting.data.task / "evaluate.py"
    script.write_text(f"import os, signal; os.kill(os.getpid(), signal.{fault})")
    assert judged.refusal(SMALL) == "model.py: its graphs crash the compiler; they may be too long"


@pytest.mark.docker
def test_a_submission_that_fills_the_memory_is_refused(judged: Judged) -> None:
    assert "more than 2048 MiB" in judged.refusal("hoard = []\nwhile True:\n    hoard.append(bytearray(1 << 26))")


@pytest.mark.docker
def test_a_submission_that_sleeps_is_refused_unless_the_run_was_short_of_time(
    setting: EvaluationSetting, sandbox: DockerSandbox, ahead: ThreadPoolExecutor, tmp_path: Path
) -> None:
    evaluator = TracedModule(replace(setting, task=within(setting.task, 6.0)), sandbox, LIMITS, ahead)
    judged = Judged(evaluator, tmp_path)
    try:
        verdict = judged("import time; time.sleep(3600)", timeout_s=6.0)
        assert verdict == Refused("model.py: tracing did not end within 6 s", verdict.seconds)
        assert verdict.seconds < stretched(60)
        with pytest.raises(SandboxError, match="time of the run ended"):
            judged("import time; time.sleep(3600)", timeout_s=2.0, owner="hours")
    finally:
        evaluator.close()


@pytest.mark.docker
def test_a_fit_container_is_shown_nothing_and_a_judge_no_submission(
    setting: EvaluationSetting, sandbox: DockerSandbox
) -> None:
    shown = {}
    for spec in (fit_spec(setting, replace(LIMITS, gpu_uuid="GPU-0")), judge_spec(setting, LIMITS)):
        container = sandbox.prepare(spec)
        inspected = container.inspect()
        shown[spec.role] = shown_mounts(container)
        container.close()
        assert inspected["HostConfig"]["NetworkMode"] == "none"
        assert not inspected["HostConfig"]["DeviceRequests"]
    assert shown == {
        "fit": {"/workspace": True},
        "judge": {"/workspace": True, "/task": False, "/hidden": False},
    }
    names = {path.name for path in setting.data.folder.rglob("*")}
    assert "model.py" not in names


def test_a_task_without_a_tracing_script_is_a_task_error(tmp_path: Path, ahead: ThreadPoolExecutor) -> None:
    task = find_task("lra-listops-conf")
    with pytest.raises(TaskError, match=r"no readable trace\.py"):
        TracedModule(setting_of(task, TaskData(tmp_path), ImageSet("a:1", "b:1")), _NoSandbox(), LIMITS, ahead)


class _NoSandbox:
    """Never reached."""

    def prepare(self, spec: ContainerSpec) -> PreparedContainer:
        raise AssertionError

    def sweep(self, run_id: str) -> int:
        raise AssertionError
