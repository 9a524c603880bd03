"""The task folders' scripts as processes, and the agents' own validation, at the cpu profile."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import aira_evaluator.compose
from aira_contract.training_series import TrainingPoint, require_series
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.splits import MadManifest, read_split, write_split
from aira_evaluator.split_manifest import DataError

TASKS = Path(__file__).resolve().parents[3] / "tasks"
TWO = TASKS / "NeuralArchitectureSearchMAD2PrimitivesAccuracy"
THREE = TASKS / "NeuralArchitectureSearchMAD3PrimitivesMbAccuracy"
Finished = subprocess.CompletedProcess[str]


def _python(*arguments: str | Path, cwd: Path, **environment: str) -> Finished:
    variables = {**os.environ, "AIRA_PROFILE": "cpu", "AIRA_SEED_SET": "search", **environment}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )


def _folders(root: Path) -> Path:
    for name in ("raw", "data", "logs"):
        (root / name).mkdir(parents=True)
    return root


def _places(submission: bool = True) -> list[str]:
    logs = ["--agent-log-dir", "logs"] if submission else []
    return ["--global-shared-data-dir", "raw", "--agent-data-mount-dir", "data", *logs]


def _keep_few(train: Path, count: int = 96) -> None:
    """Leave the first examples of a prepared train split: what a score is worth is tested elsewhere."""
    corpus, manifest = read_split(train)
    write_split(train, {name: examples.take(np.arange(count)) for name, examples in corpus.items()}, manifest)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """The whole way of one submission: hidden data, a short training, score."""
    root = _folders(tmp_path_factory.mktemp("judge"))
    (root / "logs" / "submission.csv").write_text(f"architecture\n{'M' * 16}\n")
    prepared = _python(TWO / "evaluate_prepare.py", *_places(), cwd=root)
    assert prepared.returncode == 0, prepared.stderr
    _keep_few(root / "data" / "train")
    arguments = ("--submission-file", "./data/submission.csv", "--report-file", "report.json")
    return root, _python(TWO / "evaluate.py", *arguments, cwd=root)


def test_the_score_block_follows_the_upstream_contract(judged: tuple[Path, Finished]) -> None:
    _, finished = judged
    assert finished.returncode == 0, finished.stderr
    block = re.search(r"--- EVALUATION RESULT ---\s*(\{.*?\})", finished.stdout, re.DOTALL)
    assert block is not None
    result = json.loads(block[1])
    assert list(result) == ["Accuracy"]
    assert 0 < result["Accuracy"] < 1


def test_the_report_agrees_with_the_printed_score(judged: tuple[Path, Finished]) -> None:
    root, finished = judged
    report = json.loads((root / "report.json").read_text())
    assert report.keys() == {
        *("schema", "canonical", "validation", "test", "public", "details", "evaluator_version", "seed_set", "seconds"),
        "series",
    }
    assert f'"Accuracy": {report["test"]}' in finished.stdout
    assert report["canonical"] == ",".join("M" * 16)
    assert report["seed_set"] == "search"
    assert [point[0] for point in report["series"]] == [36, 72, 108], "6 tasks, 96 examples by 16, 3 epochs"
    require_series([TrainingPoint(*point) for point in report["series"]])
    for split in ("validation", "test", "public"):
        tasks = report["details"][split]["tasks"]
        assert list(tasks) == list(CPU.tasks)
        assert report[split] == pytest.approx(np.mean([task["micro"] for task in tasks.values()]))


def test_a_stack_without_mixers_is_at_chance_on_recall(judged: tuple[Path, Finished]) -> None:
    root, _ = judged
    tasks = json.loads((root / "report.json").read_text())["details"]["test"]["tasks"]
    assert tasks["in-context-recall"]["micro"] < 0.25 + 0.06
    assert tasks["noisy-in-context-recall"]["micro"] < 0.25 + 0.06
    assert tasks["memorization"]["micro"] < 0.1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"architecture\nAMAM\n", "bad.csv: line 2: 4 layers found, expected exactly 16"),
        (b"architecture\nSMSMSMSMSMSMSMSM\n", "bad.csv: line 2: layer 1: Mb is not among"),
        (b"M" * 5000, "bad.csv: the file has 4097 bytes, at most 4096 are allowed"),
        (None, "bad.csv: cannot be read: No such file or directory"),
    ],
)
def test_an_unreadable_submission_is_one_line_and_status_2(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "bad.csv").write_bytes(content)
    finished = _python(TWO / "evaluate.py", "--submission-file", "bad.csv", cwd=tmp_path)
    assert finished.returncode == 2
    assert finished.stderr.startswith(message)
    assert finished.stderr.count("\n") == 1
    assert finished.stdout == ""


def test_missing_data_is_a_failure_of_the_evaluation(tmp_path: Path) -> None:
    (tmp_path / "submission.csv").write_text(f"architecture\n{'M' * 16}\n")
    finished = _python(TWO / "evaluate.py", cwd=tmp_path)
    assert finished.returncode == 1
    assert "manifest.json: No such file or directory" in finished.stderr


def test_data_of_another_profile_is_refused(judged: tuple[Path, Finished]) -> None:
    root, _ = judged
    finished = _python(TWO / "evaluate.py", "--submission-file", "data/submission.csv", cwd=root, AIRA_PROFILE="paper")
    assert finished.returncode == 1
    assert "the data is of profile cpu, AIRA_PROFILE asks for paper" in finished.stderr


@pytest.mark.parametrize("script", ["prepare.py", "evaluate_prepare.py"])
def test_a_missing_folder_is_status_1_and_a_missing_flag_2(tmp_path: Path, script: str) -> None:
    _folders(tmp_path)
    wrong = ["--global-shared-data-dir", "absent", "--agent-data-mount-dir", "data"]
    assert _python(TWO / script, *wrong, cwd=tmp_path).returncode == 1
    assert _python(TWO / script, *_places()[:2], cwd=tmp_path).returncode == 2
    assert _python(TWO / script, *_places(False), cwd=tmp_path, AIRA_PROFILE="huge").returncode == 1


@pytest.mark.parametrize("folder", [TWO, THREE], ids=["mad-2p", "mad-3p"])
def test_agents_get_the_public_splits_and_judges_the_same_ones(folder: Path, tmp_path: Path) -> None:
    agent, judge = _folders(tmp_path / "agent"), _folders(tmp_path / "judge")
    assert _python(folder / "prepare.py", *_places(), cwd=agent).returncode == 0
    assert _python(folder / "evaluate_prepare.py", *_places(False), cwd=judge).returncode == 0
    assert sorted(path.name for path in (agent / "data").iterdir()) == ["train", "validation"]
    for split, count in (("train", 800), ("validation", 320)):
        for name in CPU.tasks:
            ours, theirs = (np.load(root / "data" / split / name / "inputs.npy") for root in (agent, judge))
            assert len(ours) == count
            assert (ours == theirs).all()
    _, manifest = read_split(agent / "data" / "train")
    assert manifest.primitives == (("M", "mA") if folder is TWO else ("M", "mA", "Mb"))
    assert manifest.training_seed is None


def test_hidden_splits_differ_between_splits_seed_sets_and_tasks(tmp_path: Path) -> None:
    inputs, seeds = [], []
    for folder in (TWO, THREE):
        root = _folders(tmp_path / folder.name)
        assert _python(folder / "evaluate_prepare.py", *_places(False), cwd=root).returncode == 0
        for split in ("validation_with_labels", "test_with_labels"):
            for seed_set in ("search", "final"):
                corpus, manifest = read_split(root / "data" / split / seed_set)
                inputs.append(corpus["selective-copying"].inputs.tobytes())
                seeds.append(manifest.training_seed)
        inputs.append(read_split(root / "data" / "validation")[0]["selective-copying"].inputs.tobytes())
    assert len(set(inputs)) == 8 + 1, "the public split is the same in both tasks, and none of the hidden ones"
    assert len(set(seeds)) == 4


def test_no_hidden_seed_is_in_what_agents_can_read() -> None:
    package = Path(aira_evaluator.compose.__file__).parents[1]
    readable = "".join(path.read_text() for path in package.rglob("*.py"))
    for folder in (TWO, THREE):
        readable += (folder / "project_description.md").read_text() + (folder / "prepare.py").read_text()
        seeds = re.findall(r"0x([0-9A-F]{15})", (folder / "evaluate_prepare.py").read_text())
        assert len(set(seeds)) == 6
        assert not any(seed in readable.upper() or str(int(seed, 16)) in readable for seed in seeds)


def test_preparing_data_imports_no_torch(tmp_path: Path) -> None:
    _folders(tmp_path)
    finished = _python("-X", "importtime", TWO / "evaluate_prepare.py", *_places(False), cwd=tmp_path)
    assert finished.returncode == 0
    assert not re.search(r"\|\s+torch$", finished.stderr, re.MULTILINE)


def test_an_agent_validates_with_the_same_code(tmp_path: Path) -> None:
    _folders(tmp_path)
    assert _python(TWO / "prepare.py", *_places(), cwd=tmp_path).returncode == 0
    _keep_few(tmp_path / "data" / "train")
    _keep_few(tmp_path / "data" / "validation", 32)
    command = ("-m", "aira_evaluator.compose.agent.validate", "--architecture")
    finished = _python(*command, "M" * 16, "--data", "data", cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    claimed = json.loads((tmp_path / "validation.json").read_text())
    assert claimed["metric"] == "Accuracy"
    assert finished.stdout == f"Accuracy {claimed['value']:.4f}\n"
    refused = _python(*command, "S" * 16, "--data", "data", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith("validate: layer 1: Mb is not among")


def test_a_damaged_split_is_named(tmp_path: Path) -> None:
    corpus = {name: task.generate(4, np.random.default_rng(0), probing=False) for name, task in CPU.tasks.items()}
    write_split(tmp_path, corpus, MadManifest("cpu", "train", ("M", "mA")))
    read_split(tmp_path)
    np.save(tmp_path / "compression" / "inputs.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(DataError, match=r"compression: .*allow_pickle=False"):
        read_split(tmp_path)
    shutil.copy(tmp_path / "memorization" / "inputs.npy", tmp_path / "compression" / "inputs.npy")
    (tmp_path / "manifest.json").write_text('{"schema": 1, "surprise": 2}')
    with pytest.raises(DataError, match="not a manifest"):
        read_split(tmp_path)
