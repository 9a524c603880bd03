"""Scripts that fight their clock, their sandbox and their judge, in the real containers of an evaluation."""

import base64
import json
import math
import os
import re
import secrets
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from aira_bench.deadline import Deadline
from aira_bench.errors import AiraError, TaskError
from aira_bench.evaluation.judge import judge_spec
from aira_bench.evaluation.predictors import Predictors, predict_spec
from aira_bench.evaluation.script_training import fit_spec
from aira_bench.evaluation.served_script import ServedScript
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.evaluation.verdict import Refused, Scored, Verdict
from aira_bench.images.ensure import ImageSet
from aira_bench.sandbox.docker_sandbox import DockerSandbox
from aira_bench.sandbox.sandbox import Limits
from aira_bench.tasks.profile import FitClock
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import load_task
from aira_contract.files import HANDOVER_FILE
from aira_evaluator.autoresearch.contract.hidden_rows import SCHEMA, SplitRows, write_split
from aira_evaluator.autoresearch.contract.references import References
from aira_evaluator.autoresearch.handover.model_file import hand_over
from aira_evaluator.text.tokenizer import GPT4_SPLIT, BytePairTokenizer
from eventually import stretched
from shown_mounts import shown_mounts

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[2]
TASK = ROOT / "tasks" / "AutoregressiveLanguageModellingAutoresearchBPB"
LIMITS = Limits(memory_mib=2048, workspace_mib=160, tmp_mib=64, shm_mib=16)
ROWS, TOKENS, VOCABULARY = 20, 24, 280
CONTAINERS = 2
SOCKETS = ("socket-1", "socket-2")
LAST_STEPS_S = 30.0
"""From the fit container's deadline to a verdict, on a busy machine, is less."""

SHIM = """
import base64, json, os
from pathlib import Path

class Tokenizer: ...

def evaluate_bpb(model, tokenizer, batch_size):
    Path("handover.tmp").write_bytes(base64.b64decode(model))
    os.replace("handover.tmp", "handover.bin")
    Path("validation.json").write_text(json.dumps({"metric": "BPB", "value": 0.25}))
"""
"""A stand-in: models arrive pickled, so that a script need not import torch to hand one over."""
MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(1.7))

    def forward(self, x):
        a, b = torch.arange(280.0)[:, None], torch.arange(280.0)[None]
        return (3 * torch.sin(self.slope * a + 0.3 * b))[x]
"""
STAYING = (
    MODEL
    + """
def search():
    import os, socket, time
    ours = open("/proc/self/cmdline", "rb").read().split(b"\\0")
    own = ours[ours.index(b"--socket") + 1].decode()
    for _ in range(300):
        try:
            print("listed", os.listdir("/sockets"), flush=True)
        except OSError as error:
            print("not listed", error.errno, flush=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stream:
            try:
                stream.connect(own)
                print("let in", flush=True)
            except OSError:
                pass
        time.sleep(0.01)

class Staying(Net):
    def forward(self, x):
        import threading
        if not hasattr(self, "stays"):
            self.stays = True
            threading.Thread(target=search, daemon=False).start()
        return super().forward(x)
"""
)
"""A predictor that is told to go stays, and looks for the socket of the next one."""
LOST = (
    MODEL
    + """
class Lost(Net):
    def forward(self, x):
        import contextlib, os, signal
        with contextlib.suppress(OSError):
            os.kill(-1, signal.SIGKILL)
        os._exit(7)
"""
)
"""Takes every process of its container with it."""
SLOW = (
    MODEL
    + """
class Slow(Net):
    def forward(self, x):
        import time
        time.sleep(0.1)
        return super().forward(x)
"""
)
HANGING = (
    MODEL
    + """
class Hanging(Net):
    def forward(self, x):
        import signal, time
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        time.sleep(1000)
"""
)
BEGIN = """
import os, signal, sys, time
import prepare
open("training_began", "w").close()
MODEL = %r
"""
TRICKS = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
time.time = time.monotonic = time.perf_counter = lambda: 0.0
prepare.Tokenizer = None
prepare.get_token_bytes = lambda device=None: [1000] * 280
for path in ("data/tokenizer", "/workspace/data"):
    try:
        os.makedirs(path, exist_ok=True)
        open(path + "/token_bytes.npy", "w").write("x" * 9999)
    except OSError as error:
        print("refused", error.errno)
prepare.evaluate_bpb(MODEL, None, 8)
print('--- EVALUATION RESULT ---\\n{"BPB": 0.001}')
open("report.json", "w").write('{"schema": 1, "validation": 0.001, "test": 0.001}')
os.utime("handover.bin", (0, 0))
if os.fork() == 0:
    os.setsid()
while True:
    print("val_bpb: 0.001", flush=True)
    signal.pause()
"""
BACKGROUND = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(1), os.close(2)
        time.sleep(3)
        while True:
            prepare.evaluate_bpb(MODEL, None, 8)
    os._exit(0)
"""
HIDING = """
import ctypes
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        libc = ctypes.CDLL(None)
        libc.prctl(15, b"kworker/0:1", 0, 0, 0)  # another name
        libc.prctl(1, 0, 0, 0, 0)  # no signal when the parent dies
        libc.prctl(36, 1, 0, 0, 0)  # adopts orphans
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        os.chdir("/workspace"), os.closerange(0, 3)
        while True:
            prepare.evaluate_bpb(MODEL, None, 8)
            time.sleep(0.01)
    os._exit(0)
while True:
    signal.pause()
"""
HOSTILE = """
import os, socket, sys

class Look:
    def __reduce__(self):
        return exec, (CODE, {})

CODE = '''
import os, socket
def attempt(name, action):
    try:
        print(name, "worked", action(), flush=True)
    except OSError as error:
        print(name, "refused", flush=True)
attempt("hidden", lambda: os.listdir("/hidden"))
attempt("public", lambda: os.listdir("/workspace/data"))
attempt("task", lambda: os.listdir("/task"))
attempt("sockets", lambda: open("/sockets/mine", "w"))
attempt("handover", lambda: open("/handover/handover.bin", "r+b"))
attempt("network", lambda: socket.create_connection(("192.0.2.1", 80), 2))
print(chr(10) + '--- EVALUATION RESULT ---' + chr(10) + '{"BPB": 0.001}', flush=True)
os._exit(0)
'''
import pickle
open("handover.bin", "wb").write(pickle.dumps(Look()))
"""


@dataclass(frozen=True)
class Place:
    """A prepared task, and a fresh run's evaluations of it."""

    setting: EvaluationSetting
    sandbox: DockerSandbox
    folder: Path

    def evaluate(self, script: str, timeout_s: float = 560) -> Verdict:
        with ThreadPoolExecutor(2) as ahead:
            evaluator = ServedScript(self.setting, self.sandbox, LIMITS, ahead)
            try:
                deadline = Deadline.after(timeout_s, "evaluation")
                return evaluator.evaluate(
                    Submission(script.encode()), deadline=deadline, destination=self.folder / "verdict"
                )
            finally:
                evaluator.close()


def write_task(folder: Path, **clock: float) -> None:
    metadata = yaml.safe_load((TASK / "metadata.yaml").read_text())
    fit = {"budget_s": 2, "start_up_s": 2, "handover_mib": 16, "serving_s": 240, "predictors": CONTAINERS} | clock
    metadata["logging_info"]["name"] = folder.name
    metadata["aira"] = {
        "aliases": ["tiny-script"],
        "artifact": {"name": "train.py", "kind": "script"},
        "report": True,
        "hidden_validation": True,
        "profiles": {"cpu": {"fit": fit}},
    }
    folder.mkdir(parents=True)
    (folder / "metadata.yaml").write_text(yaml.safe_dump(metadata))
    for name in ("project_description.md", "prepare.py", "evaluate_prepare.py", "evaluate.py"):
        (folder / name).write_bytes((TASK / name).read_bytes())


def write_hidden(folder: Path) -> None:
    tokenizer = BytePairTokenizer.train(
        ["a rose is a rose is a rose, and nothing else is; so say the roses " * 3], VOCABULARY, GPT4_SPLIT
    )
    assert tokenizer.get_vocab_size() == VOCABULARY
    tokenizer.save(folder / "tokenizer")
    (folder / "search").mkdir()
    splits = {}
    for number, split in enumerate(("validation", "test")):
        rng = np.random.default_rng(number)
        tokens = rng.integers(0, VOCABULARY, (ROWS, TOKENS + 1)).astype(np.uint16)
        tokens[:, 0] = tokenizer.get_bos_token_id()
        rows = SplitRows(split, tokens, tokenizer.byte_lengths(), np.arange(ROWS) % CONTAINERS, ROWS)
        said = rng.normal(5, 1, (ROWS, TOKENS, 2)).astype(np.float16)
        splits[split] = write_split(folder / "search", rows, References.of(said, rows.bytes_of_targets()))
    manifest = {
        "schema": SCHEMA, "profile": "cpu", "seed_set": "search", "seed": 3, "public_corpus": False, "splits": splits,
    }  # fmt: skip
    (folder / "search" / "manifest.json").write_text(json.dumps(manifest))
    (folder / "public").mkdir()
    tokens = np.random.default_rng(9).integers(0, VOCABULARY, (ROWS, TOKENS + 1)).astype(np.uint16)
    rows = SplitRows("public", tokens, tokenizer.byte_lengths(), np.zeros(ROWS, dtype=np.int64), ROWS)
    said = np.ones((ROWS, TOKENS, 1), dtype=np.float16)
    public = write_split(folder / "public", rows, References.of(said, rows.bytes_of_targets()))
    manifest = {"schema": SCHEMA, "profile": "cpu", "seed_set": None, "splits": {"public": public}}
    (folder / "public" / "manifest.json").write_text(json.dumps(manifest))


def pickled_model(source: str = MODEL, name: str = "Net") -> str:
    """A model handed over, in base64. Its class belongs to no module that anybody could import."""
    namespace: dict[str, Any] = {"__name__": "script_of_an_agent"}
    exec(source, namespace)
    with tempfile.TemporaryDirectory() as folder:
        return base64.b64encode(hand_over(namespace[name](), Path(folder)).read_bytes()).decode()


def true_bpb(hidden: Path, split: str) -> float:
    """What `MODEL` earns, computed from scratch."""
    rows = np.load(hidden / "search" / f"{split}.npy").astype(int)
    lengths = np.load(hidden / "tokenizer" / "token_bytes.npy")
    a, b = np.arange(VOCABULARY)[:, None], np.arange(VOCABULARY)[None]
    logits = 3 * np.sin(1.7 * a + 0.3 * b)
    nats = np.log(np.exp(logits).sum(axis=1))[rows[:, :-1]] - logits[rows[:, :-1], rows[:, 1:]]
    counted = lengths[rows[:, 1:]]
    return float(nats[counted > 0].sum() / math.log(2) / counted.sum())


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest) -> str:
    """The cpu agent image, or AIRA_TEST_IMAGE."""
    chosen = os.environ.get("AIRA_TEST_IMAGE")
    return chosen if chosen else str(request.getfixturevalue("images").agent)


@pytest.fixture
def place(image: str, sandbox: DockerSandbox, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    data = TaskData(tmp_path / "store")
    data.folder.mkdir()
    clock: dict[str, Any] = getattr(request, "param", {})
    write_task(data.task, **clock)
    data.public.mkdir()
    data.hidden.mkdir()
    (data.public / "prepare.py").write_text(SHIM)
    (data.public / "kernels.py").touch()
    write_hidden(data.hidden)
    run_id = f"test-{secrets.token_hex(6)}"
    setting = EvaluationSetting(load_task(data.task), "cpu", data, ImageSet(image, image), run_id, draw_secret="00")
    for folder in (tmp_path, data.folder):
        folder.chmod(0o755)
    yield Place(setting, sandbox, tmp_path)
    sandbox.sweep(run_id)


def test_a_script_that_fights_its_clock_its_sandbox_and_its_judge_gets_its_honest_score(place: Place) -> None:
    """Ignored signals, a patched clock, a replaced tokenizer, forged output and reports, children, forged times."""
    verdict = place.evaluate(BEGIN % pickled_model() + TRICKS)
    assert isinstance(verdict, Scored), verdict
    hidden = place.setting.data.hidden
    assert verdict.test == pytest.approx(true_bpb(hidden, "test"), abs=1e-5)
    assert verdict.validation == pytest.approx(true_bpb(hidden, "validation"), abs=1e-5)
    assert verdict.claimed == 0.25
    assert verdict.flags == ()
    assert verdict.details["claimed_less_trusted"] == pytest.approx(0.25 - true_bpb(hidden, "validation"), abs=1e-5)
    seconds = verdict.details["seconds"]
    assert 4.0 <= seconds["fit"] < stretched(12.0)  # killed at the deadline, not before and not long after
    assert 0 < seconds["start_up"] < seconds["until_handed_over"] + 0.1 < 4.1  # clocks are compared for each file
    assert not (place.folder / "verdict" / "handover" / HANDOVER_FILE).exists()
    printed = (place.folder / "verdict" / "handover" / "fit_stdout.txt").read_text()
    assert len(re.findall("refused (13|30)\n", printed)) == 2, "the data is another user's, and read-only"


def test_a_trainer_that_hides_hands_nothing_over_after_the_deadline(place: Place) -> None:
    verdict = place.evaluate(BEGIN % pickled_model() + HIDING)
    assert isinstance(verdict, Scored), verdict
    seconds = verdict.details["seconds"]
    assert 3.0 < seconds["until_handed_over"] <= seconds["fit"] + 0.5
    assert 4.0 <= seconds["fit"] < stretched(12.0)


def test_a_predictor_that_stays_does_not_find_the_next_ones_socket(place: Place) -> None:
    """All targets are asked for, so the score is exact; whoever heard both containers' questions could do better."""
    verdict = place.evaluate(BEGIN % pickled_model(STAYING, "Staying") + "prepare.evaluate_bpb(MODEL, None, 8)")
    assert isinstance(verdict, Scored), verdict
    assert verdict.test == pytest.approx(true_bpb(place.setting.data.hidden, "test"), abs=1e-5)
    assert verdict.test_standard_error == pytest.approx(0, abs=1e-9)
    printed = (place.folder / "verdict" / "predict_1.txt").read_text()
    assert "not listed 13" in printed
    assert not {"listed [", "let in"} & set(printed.splitlines())
    assert (place.folder / "verdict" / "predict_2.txt").exists()


@pytest.mark.parametrize(
    ("place", "source", "name", "reason"),
    [
        ({}, LOST, "Lost", "the process that served the model ended early"),
        ({"serving_s": 20}, HANGING, "Hanging", "serving the model took longer than 20 s"),
    ],
    indirect=["place"],
)
def test_a_predictor_that_dies_or_hangs_is_refused_and_nothing_is_tried_again(
    source: str, name: str, reason: str, place: Place
) -> None:
    verdict = place.evaluate(BEGIN % pickled_model(source, name) + "prepare.evaluate_bpb(MODEL, None, 8)")
    assert verdict == Refused(reason, pytest.approx(0, abs=60), attempts=1)
    assert not list((place.folder / "verdict").glob("attempt_*"))


def test_judge_and_predictors_see_what_they_need_and_no_more(place: Place) -> None:
    (place.folder / HANDOVER_FILE).write_bytes(b"")
    socket_volume = f"aira-sockets-{secrets.token_hex(6)}"
    seen: dict[str, dict[str, bool]] = {}
    for spec in (
        fit_spec(place.setting, LIMITS, FitClock(budget_s=2, start_up_s=2)),
        replace(judge_spec(place.setting, LIMITS), socket_volume=socket_volume),
        predict_spec(place.setting, LIMITS, place.folder, socket_volume),
    ):
        container = place.sandbox.prepare(spec)
        seen[spec.role] = shown_mounts(container)
        container.close()
    assert seen == {
        "fit": {"/workspace": True, "/workspace/data/prepare.py": False, "/workspace/data/kernels.py": False},
        "judge": {"/workspace": True, "/task": False, "/hidden": False, "/sockets": True},
        "predict": {"/workspace": True, "/handover/handover.bin": False, "/sockets": False},
    }


@pytest.mark.parametrize("place", [{"budget_s": 60, "start_up_s": 60}], indirect=True)
def test_what_a_script_leaves_running_ends_with_it(place: Place) -> None:
    """The background trainer hands a model over 3 s after the script's end, or would; the deadline is far off."""
    verdict = place.evaluate(BEGIN % pickled_model() + BACKGROUND)
    assert isinstance(verdict, Refused)
    assert verdict.reason == "train.py ended without handing a model over: it must call evaluate_bpb(model, ...)"


@pytest.mark.parametrize("place", [{"budget_s": 1, "start_up_s": 1}], indirect=True)
def test_a_script_that_is_too_slow_is_told_its_clock(place: Place) -> None:
    verdict = place.evaluate("import time\nwhile True: time.sleep(9)")
    assert isinstance(verdict, Refused)
    assert verdict.reason.startswith("train.py was killed after 2 s (budget 1 s, start-up allowance 1 s)")


def test_other_ways_to_leave_no_model_are_told_apart(place: Place) -> None:
    for script, reason in {
        "raise SystemExit('no such layer')": "exit status 1: no such layer",
        "print('loss 7', end=chr(13)); print('FAIL'); exit(1)": "exit status 1: FAIL",
        "open('handover.bin', 'wb').truncate(17 << 20)": "too large",
        "import os; os.symlink('/etc/passwd', 'handover.bin')": "not a regular file",
    }.items():
        verdict = place.evaluate(script)
        assert isinstance(verdict, Refused)
        assert reason in verdict.reason


def test_code_in_a_handed_over_file_meets_nothing_hidden_and_ends_its_own_evaluation(place: Place) -> None:
    verdict = place.evaluate(HOSTILE)
    assert isinstance(verdict, Refused)
    assert verdict.reason == "the process that served the model ended early"
    printed = (place.folder / "verdict" / "predict_1.txt").read_text().splitlines()
    assert printed[:6] == [f"{name} refused" for name in ("hidden", "public", "task", "sockets", "handover", "network")]


def test_predictors_live_no_longer_than_they_may_together(place: Place) -> None:
    """They find no judge here, and wait: so would one that ignores a judge who has hung up."""
    (place.folder / HANDOVER_FILE).write_bytes(b"")
    spec = predict_spec(place.setting, LIMITS, place.folder, f"aira-sockets-{secrets.token_hex(6)}")
    told = threading.Event()
    predictors = Predictors(place.sandbox, spec, SOCKETS, 2.0, place.folder, on_failure=told.set)
    predictors.start()
    assert told.wait(LAST_STEPS_S), "a judge need not wait for one that will not come"
    predictors.stop()
    assert (predictors.endings, predictors.failure) == (["timeout"], None)


def test_stopped_predictors_are_gone_and_nobodys_failure(place: Place) -> None:
    (place.folder / HANDOVER_FILE).write_bytes(b"")
    spec = predict_spec(place.setting, LIMITS, place.folder, f"aira-sockets-{secrets.token_hex(6)}")
    predictors = Predictors(place.sandbox, spec, SOCKETS, 60.0, place.folder, on_failure=lambda: None)
    predictors.start()
    time.sleep(1.0)
    predictors.stop()
    assert (predictors.endings, predictors.failure) == ([], None)


def test_an_engine_that_cannot_start_a_predictor_is_the_engines_failure(place: Place) -> None:
    (place.folder / HANDOVER_FILE).write_bytes(b"")
    setting = EvaluationSetting(
        place.setting.task,
        "cpu",
        place.setting.data,
        ImageSet("no-such-image:1", "x"),
        place.setting.run_id,
        draw_secret="00",
    )
    called: list[bool] = []
    spec = predict_spec(setting, LIMITS, place.folder, f"aira-sockets-{secrets.token_hex(6)}")
    predictors = Predictors(place.sandbox, spec, SOCKETS, 2.0, place.folder, on_failure=lambda: called.append(True))
    predictors.start()
    predictors.stop()
    assert isinstance(predictors.failure, AiraError) or predictors.endings == []
    assert called == ([True] if predictors.failure else [])


def test_a_container_that_the_engine_loses_is_replaced_and_the_same_model_asked_the_same(place: Place) -> None:
    """The first predictor's container is removed while it answers, by somebody else."""
    lost: list[str] = []
    stopped = threading.Event()

    def lose_one() -> None:
        label = f"label=aira-bench.run={place.setting.run_id}"
        while not stopped.wait(0.2) and not lost:
            listed = subprocess.run(
                ["docker", "ps", "-q", "--filter", label, "--filter", "label=aira-bench.role=predict"],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            for name in listed.stdout.split():
                if "reader" in subprocess.run(["docker", "inspect", "-f", "{{.Name}}", name],
                                              capture_output=True, text=True, check=False).stdout:  # fmt: skip
                    continue
                time.sleep(4)  # so that it answers
                subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)
                lost.append(name)

    thread = threading.Thread(target=lose_one)
    thread.start()
    verdict = place.evaluate(BEGIN % pickled_model(SLOW, "Slow") + "prepare.evaluate_bpb(MODEL, None, 8)")
    stopped.set()
    thread.join()
    assert isinstance(verdict, Scored), verdict
    assert verdict.attempts == 2
    assert len(lost) == 1
    assert verdict.test == pytest.approx(true_bpb(place.setting.data.hidden, "test"), abs=1e-5)
    folder = place.folder / "verdict"
    assert (folder / "report.json").exists()
    assert "container" in (folder / "attempt_1" / "failure.txt").read_text(), "what the first attempt left is kept"
    assert verdict.details["handover_sha256"]


def test_a_task_without_a_clock_is_refused(place: Place) -> None:
    profile = place.setting.task.profile("cpu").model_copy(update={"fit": None})
    task = place.setting.task
    metadata = task.metadata.model_copy(
        update={"aira": task.metadata.aira.model_copy(update={"profiles": {"cpu": profile}})}
    )
    setting = EvaluationSetting(
        type(task)(task.folder, metadata),
        "cpu",
        place.setting.data,
        place.setting.images,
        place.setting.run_id,
        draw_secret="00",
    )
    with ThreadPoolExecutor(1) as ahead, pytest.raises(TaskError, match=r"no aira\.profiles\.cpu\.fit"):
        ServedScript(setting, place.sandbox, LIMITS, ahead)


def test_data_of_an_earlier_version_is_refused_before_anything_runs(place: Place) -> None:
    (place.setting.data.public / "kernels.py").unlink()
    with (
        ThreadPoolExecutor(1) as ahead,
        pytest.raises(TaskError, match=r"has no kernels\.py: another version") as raised,
    ):
        ServedScript(place.setting, place.sandbox, LIMITS, ahead)
    assert raised.value.hint is not None
    assert raised.value.hint.startswith(f"rm -r {place.setting.data.folder} ")
