"""What data a MAD judge and an agent's validation take, before anything is trained."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from aira_contract.architectures import parse_architecture
from aira_evaluator.compose.agent.validate import main, metric
from aira_evaluator.compose.judge.mad import evaluate, score
from aira_evaluator.compose.mad.copying import Memorization, SelectiveCopying
from aira_evaluator.compose.mad.metrics import TaskAccuracy
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.recall import FuzzyInContextRecall, InContextRecall
from aira_evaluator.compose.mad.split_scores import SplitScore
from aira_evaluator.compose.mad.splits import MadManifest, draw_corpus, read_split, write_split
from aira_evaluator.compose.text.windows import TOKENS
from aira_evaluator.compose.training.examples import IGNORED, Examples, next_token_examples
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.hidden import hidden_folder

Captured = pytest.CaptureFixture[str]
FEW = replace(CPU, train_examples=3, validation_examples=2, test_examples=2)
ARCHITECTURE = parse_architecture(",".join(["M"] * 16))
HIDDEN = MadManifest("cpu", "test", ("M", "mA"), "search", 5)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRA_PROFILE", "cpu")
    monkeypatch.delenv("AIRA_SEED_SET", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    for public in ("train", "validation"):
        write_split(folder / public, draw_corpus(FEW, public, 1), MadManifest("cpu", public, ("M", "mA")))  # type: ignore[arg-type]
    for name in ("validation", "test"):
        corpus = draw_corpus(FEW, name, 2)  # type: ignore[arg-type]
        write_split(hidden_folder(folder, name, "search"), corpus, replace(HIDDEN, split=name))
    return folder


def other_profile(data: Path) -> None:
    write_split(hidden_folder(data, "test", "search"), {}, replace(HIDDEN, profile="paper"))


def unknown_profile(data: Path) -> None:
    write_split(hidden_folder(data, "test", "search"), {}, replace(HIDDEN, profile="tiny"))


def no_training_seed(data: Path) -> None:
    write_split(hidden_folder(data, "test", "search"), {}, replace(HIDDEN, training_seed=None))


def a_task_is_missing(data: Path) -> None:
    (data / "train/compression/targets.npy").unlink()


def labels_of_another_shape(data: Path) -> None:
    np.save(data / "train/compression/targets.npy", np.zeros((3, 9), np.int16))


def labels_of_another_type(data: Path) -> None:
    np.save(data / "train/compression/targets.npy", np.zeros((3, 8), np.int64))


def sequences_of_another_length(data: Path) -> None:
    for field in fields(Examples):
        np.save(data / f"train/compression/{field.name}.npy", np.zeros((3, 9), np.int16))


def objects_in_an_array(data: Path) -> None:
    np.save(data / "train/compression/inputs.npy", np.array([{}]), allow_pickle=True)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_profile, r"test_with_labels/search/in-context-recall: sequences of 15 tokens, expected 127"),
        (unknown_profile, "unknown profile 'tiny', expected one of paper, cpu"),
        (no_training_seed, "the hidden test split names no training seed; run evaluate_prepare.py again"),
        (a_task_is_missing, "train/compression: .*No such file"),
        (labels_of_another_shape, r"train/compression: targets: int16 \(3, 9\), expected int16 \(3, 8\)"),
        (labels_of_another_type, r"train/compression: targets: int64 \(3, 8\), expected int16"),
        (sequences_of_another_length, "train/compression: sequences of 9 tokens, expected 8"),
        (objects_in_an_array, "train/compression: Object arrays cannot be loaded"),
    ],
)
def test_data_that_will_not_do_is_named_before_a_training(
    data: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(data)
    with pytest.raises(DataError, match=message):
        score(ARCHITECTURE, data)


def test_a_seed_set_that_was_not_prepared_is_a_failure_of_the_evaluation(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (data / "submission.csv").write_text(f"architecture\n{'M' * 16}\n")
    monkeypatch.setenv("AIRA_SEED_SET", "final")
    assert evaluate(("M", "mA"), ["--submission-file", "data/submission.csv"]) == 1
    line = capsys.readouterr().err
    assert line.startswith("evaluate: data/validation_with_labels/final/manifest.json: No such file")
    assert line.count("\n") == 1


def test_a_split_reads_back_as_drawn(data: Path) -> None:
    corpus, manifest = read_split(data / "train")
    assert manifest == MadManifest("cpu", "train", ("M", "mA"))
    drawn = draw_corpus(FEW, "train", 1)
    for name, examples in corpus.items():
        for field in fields(Examples):
            assert np.array_equal(getattr(examples, field.name), getattr(drawn[name], field.name))


def test_the_metric_of_a_folder_is_that_of_its_data(data: Path, tmp_path: Path) -> None:
    assert metric(data) == "Accuracy"
    (tmp_path / "text/train").mkdir(parents=True)
    (tmp_path / "text/train" / TOKENS).touch()
    assert metric(tmp_path / "text") == "Loss"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--architecture", "M" * 15], "validate: "),
        (["--architecture", "S" * 16], "validate: "),
        (["--architecture", "M" * 16, "--data", "nowhere"], "validate: nowhere/train/manifest.json: No such file"),
    ],
)
def test_an_agents_validation_says_in_a_line_what_it_cannot_do(
    data: Path, capsys: Captured, arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    line = capsys.readouterr().err
    assert line.startswith(message)
    assert line.count("\n") == 1
    assert not Path("validation.json").exists()


def test_the_score_of_a_split_is_the_mean_of_its_tasks_micro_accuracies() -> None:
    tasks = {"one": TaskAccuracy(0.5, 0.25, 8), "other": TaskAccuracy(0.0, 0.0, 4, diverged=True)}
    score = SplitScore(tasks)
    assert score.accuracy == 0.25
    assert json.loads(json.dumps(score.details())) == {
        "micro": 0.25,
        "macro": 0.125,
        "tasks": {
            "one": {"micro": 0.5, "macro": 0.25, "scored": 8, "diverged": False},
            "other": {"micro": 0.0, "macro": 0.0, "scored": 4, "diverged": True},
        },
    }


def test_examples_predict_the_token_after_each_and_score_what_is_recalled() -> None:
    found = next_token_examples(np.array([[1, 2, 3, 4]]), np.array([[False, False, True, False]]))
    assert found.inputs.tolist() == [[1, 2, 3]]
    assert found.targets.tolist() == [[2, 3, 4]]
    assert found.scored.tolist() == [[IGNORED, 3, IGNORED]]
    assert found.take(np.array([0, 0])).inputs.tolist() == [[1, 2, 3]] * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InContextRecall(length=7), "length must be even and at least 4"),
        (lambda: InContextRecall(length=2), "length must be even and at least 4"),
        (lambda: InContextRecall(vocabulary=5, noise_vocabulary=4, noise_fraction=0.2), "no keys and values left"),
        (lambda: InContextRecall(noise_fraction=0.1), "there are no noise ids"),
        (lambda: FuzzyInContextRecall(vocabulary=5, longest_key=3), "ids are too few for motifs"),
        (lambda: FuzzyInContextRecall(length=18), "cannot hold a probe"),
        (lambda: SelectiveCopying(length=32, copies=16), "cannot hold 16 tokens twice"),
        (lambda: SelectiveCopying(vocabulary=2), "positions cannot hold"),
        (lambda: Memorization(length=31), "length must be even"),
        (lambda: Memorization(vocabulary=2), "the vocabulary at least 3"),
    ],
)
def test_a_task_that_cannot_be_drawn_is_refused_when_it_is_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
