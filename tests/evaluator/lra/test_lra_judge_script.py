"""`evaluate.py` and `trace.py` before anything is trained: which file, which data, which settings, whose failure."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aira_contract.files import GRAPHS_FILE
from aira_evaluator.lra.agent.baselines.parts.classifier import CustomEncoder
from aira_evaluator.lra.agent.baselines.parts.embedder import CustomDualEncoder
from aira_evaluator.lra.agent.baselines.parts.trunk import Trunk
from aira_evaluator.lra.contract.bundle import TRAINED, Bundle, write_bundle
from aira_evaluator.lra.contract.profiles import PROFILES
from aira_evaluator.lra.contract.splits import LabelledSplit, Sequences, SplitManifest, write_split
from aira_evaluator.lra.contract.submission import CONTRACTS, MAX_SOURCE_BYTES
from aira_evaluator.lra.fit.trace import trace
from aira_evaluator.lra.judge.evaluate import evaluate
from aira_evaluator.task_scripts.hidden import hidden_folder

Captured = pytest.CaptureFixture[str]
PROFILE = PROFILES["cpu", "text"]
BUNDLE = Bundle("cpu", PROFILE.defaults, dict.fromkeys(TRAINED, b"module {}"))
HIDDEN = SplitManifest("cpu", "text", "test", "synthetic", False, "search", training_seed=5)


def texts(count: int = 4) -> LabelledSplit:
    sequences = Sequences(np.arange(3 * count, dtype=np.uint8), np.arange(0, 3 * count + 1, 3, dtype=np.int64))
    rows = np.arange(count, dtype=np.int32)[:, None]
    return LabelledSplit(sequences, rows, (np.arange(count) % 2).astype(np.uint8))


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A judge's folder with data of the text task and a bundle, in which the scripts are run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRA_PROFILE", "cpu")
    monkeypatch.delenv("AIRA_SEED_SET", raising=False)
    data = tmp_path / "data"
    for public in ("train", "validation"):
        write_split(data / public, texts(), replace(HIDDEN, split=public, seed_set=None, training_seed=None))
    for name in ("validation", "test"):
        write_split(hidden_folder(data, name, "search"), texts(), replace(HIDDEN, split=name))
    (tmp_path / GRAPHS_FILE).write_bytes(write_bundle(BUNDLE))
    return tmp_path


def without_bundle(judge: Path) -> None:
    (judge / GRAPHS_FILE).unlink()


def with_folder(judge: Path) -> None:
    without_bundle(judge)
    (judge / GRAPHS_FILE).mkdir()


def with_noise(judge: Path) -> None:
    (judge / GRAPHS_FILE).write_bytes(b"\0" * 100)


def for_another_device(judge: Path) -> None:
    (judge / GRAPHS_FILE).write_bytes(write_bundle(replace(BUNDLE, platform="cuda")))


def with_other_constants(judge: Path) -> None:
    wanted = replace(PROFILE.defaults, learning_rate=0.04)
    (judge / GRAPHS_FILE).write_bytes(write_bundle(replace(BUNDLE, hyperparameters=wanted)))


def without_train(judge: Path) -> None:
    (judge / "data/train/labels.npy").unlink()


def of_another_task(judge: Path) -> None:
    manifest = replace(HIDDEN, task="listops", source="generated")
    write_split(hidden_folder(judge / "data", "test", "search"), texts(), manifest)


def of_another_profile(judge: Path) -> None:
    write_split(hidden_folder(judge / "data", "test", "search"), texts(), replace(HIDDEN, profile="paper"))


def without_training_seed(judge: Path) -> None:
    write_split(hidden_folder(judge / "data", "test", "search"), texts(), replace(HIDDEN, training_seed=None))


@pytest.mark.parametrize(
    ("damage", "status", "line"),
    [
        (without_bundle, 2, "model.py: module.graphs cannot be read: No such file or directory"),
        (with_folder, 2, "model.py: module.graphs cannot be read: Is a directory"),
        (with_noise, 2, "model.py: the traced module has no readable header"),
        (for_another_device, 2, "model.py: the module was traced for cuda, and this judge runs on cpu"),
        (with_other_constants, 2, "model.py: the traced module changes hyperparameters that this task fixes"),
        (without_train, 1, "evaluate: data/train/labels.npy: [Errno 2] No such file or directory"),
        (of_another_task, 1, "evaluate: the data is of listops in profile cpu, expected text in cpu"),
        (of_another_profile, 1, "evaluate: the data is of text in profile paper, expected text in cpu"),
        (without_training_seed, 1, "evaluate: the hidden test split names no training seed"),
    ],
)
def test_nothing_is_trained_where_submission_or_data_will_not_do(
    judge: Path, capsys: Captured, damage: Callable[[Path], None], status: int, line: str
) -> None:
    damage(judge)
    assert evaluate("text", configurable=False, arguments=["--report-file", "report.json"]) == status
    printed = capsys.readouterr()
    assert printed.err.startswith(line)
    assert printed.err.count("\n") == 1
    assert printed.out == ""
    assert not (judge / "report.json").exists()


def test_graphs_that_are_none_are_refused_by_the_judge_and_not_run(judge: Path, capsys: Captured) -> None:
    assert evaluate("text", configurable=False, arguments=[]) == 2
    assert capsys.readouterr().err.startswith("model.py: ")


def test_a_configurable_task_takes_other_constants_as_far_as_its_graphs(judge: Path, capsys: Captured) -> None:
    with_other_constants(judge)
    assert evaluate("text", configurable=True, arguments=[]) == 2
    assert "hyperparameters that this task fixes" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("AIRA_PROFILE", "tiny", "AIRA_PROFILE is 'tiny', expected one of cpu, paper"),
        ("AIRA_SEED_SET", "both", "AIRA_SEED_SET is 'both', expected one of search, final"),
        ("AIRA_SEED_SET", "final", "data/validation_with_labels/final/manifest.json: No such file or directory"),
    ],
)
def test_settings_that_are_not_known_are_a_failure_of_the_evaluation(
    judge: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv(name, value)
    assert evaluate("text", configurable=False, arguments=[]) == 1
    assert capsys.readouterr().err == f"evaluate: {line}\n"


@pytest.mark.parametrize(
    ("content", "status", "line"),
    [
        (None, 2, "model.py: model.py cannot be read: No such file or directory"),
        (b"\xff\xfe", 2, "model.py: not UTF-8"),
        (b"#" * (MAX_SOURCE_BYTES + 1), 2, "model.py: model.py is larger than 131,072 bytes"),
        (b"LEARNING_RATE = 7.0", 2, "model.py: line 1: LEARNING_RATE is 7, expected"),
        (b"LEARNING_RATE = f()", 2, "model.py: line 1: LEARNING_RATE is not a literal number"),
        (b"import sys\nsys.exit(0)", 2, "model.py: ends the process that imports it"),
        (b"x = 1 / 0", 2, "model.py: "),
        (b"x = 1", 2, "model.py: "),
    ],
)
def test_a_module_that_cannot_be_traced_leaves_no_graphs(
    judge: Path, capsys: Captured, content: bytes | None, status: int, line: str
) -> None:
    without_bundle(judge)
    if content is not None:
        (judge / "model.py").write_bytes(content)
    assert trace("text", configurable=True, arguments=[]) == status
    printed = capsys.readouterr()
    assert printed.err.startswith(line)
    assert printed.err.count("\n") == 1
    assert not (judge / GRAPHS_FILE).exists()


def test_tracing_in_a_profile_that_is_not_known_is_no_fault_of_the_module(
    judge: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("AIRA_PROFILE", "tiny")
    assert trace("text", configurable=False, arguments=[]) == 1
    assert capsys.readouterr().err == "trace: AIRA_PROFILE is 'tiny', expected one of cpu, paper\n"


def test_the_parts_of_a_baseline_are_constructed_with_what_the_contract_gives() -> None:
    """Three classes list the same fields, as each is a text of a `model.py`; so their lists are held to one another."""
    for task, part in (("text", CustomEncoder), ("listops", CustomEncoder), ("retrieval", CustomDualEncoder)):
        defaults = PROFILES["cpu", task].defaults  # type: ignore[index]
        given = CONTRACTS[task].constructor_arguments(defaults, max_len=7)  # type: ignore[index]
        of_flax = {"parent", "name"}
        assert {*part.__annotations__} - of_flax == {*given}
        assert {*Trunk.__annotations__} - of_flax == {*given} - {"num_classes"}
