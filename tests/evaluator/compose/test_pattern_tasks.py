"""The two tasks of patterns: their scripts on the synthetic stand-in, their trainings, and what their folders tell agents."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aira_bench.scaling.aggregate import ScoredArchitecture, select_by_rank, vote
from aira_bench.scaling.extrapolate import extrapolate
from aira_bench.tasks.task import find_task
from aira_contract.architectures import SubmissionError, compact, parse_architecture
from aira_contract.model_sizes import TOY_SCALE, model_size
from aira_contract.patterns import read_pattern
from aira_contract.training_arithmetic import layer_flops_per_token, layer_parameters, toy_parameters
from aira_evaluator.compose.grown.tasks import PATTERN_TASKS, is_pattern_task, read_pattern_task
from aira_evaluator.compose.grown.training import train_and_score
from aira_evaluator.compose.text.windows import TOKENS, read_text_split, write_text_manifest
from aira_evaluator.compose.validate import validate

TASKS = {name: find_task(f"compose-{name}").folder for name in PATTERN_TASKS}
STACKED = "SSMSMSMAMSMAMSMASMSMSMM"
KINDS = ("mA", "M", "Mb")
Finished = subprocess.CompletedProcess[str]


def _python(*arguments: str | Path, cwd: Path, **environment: str) -> Finished:
    variables = {**os.environ, "AIRA_PROFILE": "cpu", "AIRA_SEED_SET": "search", "AIRA_DATA_SOURCE": "synthetic"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={**variables, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def _prepared(root: Path, name: str, script: str) -> Path:
    for place in ("raw", "data", "logs"):
        (root / place).mkdir(parents=True, exist_ok=True)
    (root / "logs" / "submission.csv").write_text("")
    logs = ["--agent-log-dir", "logs"] if script == "evaluate_prepare.py" else []
    places = ["--global-shared-data-dir", "raw", "--agent-data-mount-dir", "data", *logs]
    done = _python(TASKS[name] / script, *places, cwd=root)
    assert done.returncode == 0, done.stderr
    return root


def _keep_few(train: Path, windows: int = 256) -> None:
    """Leave the first windows of a prepared train split: what a loss is worth is tested elsewhere."""
    kept, manifest = read_text_split(train)
    stream = kept.part(0, windows).tokens().tobytes()
    (train / TOKENS).write_bytes(stream)
    write_text_manifest(train, replace(manifest, windows=windows, tokens=len(stream) // 2))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = _prepared(tmp_path_factory.mktemp("judge"), "scale", "evaluate_prepare.py")
    _keep_few(root / "data" / "train")
    return root


def test_a_grown_pattern_is_trained_and_scored_on_hidden_text(judged: Path) -> None:
    (judged / "submission.csv").write_text(f"architecture\n{STACKED}\n")
    done = _python(TASKS["scale"] / "evaluate.py", "--report-file", "report.json", cwd=judged)
    assert done.returncode == 0, done.stderr
    report = json.loads((judged / "report.json").read_text())
    assert report["canonical"].count(",") == 22
    assert 2.0 < report["validation"] < 7.0
    assert report["test"] != report["validation"]
    assert (report["details"]["data"]["steps"], report["details"]["data"]["parameters"]) == (8, 694_284)
    assert report["series"][-1][0] == 8
    final = _python(TASKS["scale"] / "evaluate.py", cwd=judged, AIRA_SEED_SET="final")
    assert final.returncode == 0, final.stderr
    assert final.stdout != done.stdout, "other hidden text, another training"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("M" * 23, "849,408 parameters without embedding, at most 700,000 are allowed"),
        ("SSMSMSMAMSMAMSMA", "16 layers found, expected exactly 23"),
        ("X" * 23, "is not a compact letter"),
    ],
)
def test_what_is_no_grown_pattern_within_the_budget_is_refused(judged: Path, row: str, said: str) -> None:
    (judged / "bad.csv").write_text(f"architecture\n{row}\n")
    done = _python(TASKS["scale"] / "evaluate.py", "--submission-file", "bad.csv", cwd=judged)
    assert done.returncode == 2
    assert said in done.stderr


def test_public_data_has_no_hidden_split_and_says_what_is_asked_for(tmp_path: Path) -> None:
    data = _prepared(tmp_path, "aggregate", "prepare.py") / "data"
    assert {path.name for path in data.iterdir()} == {"pattern_task.json", "searched.csv", "train", "validation"}
    assert is_pattern_task(data)
    assert read_pattern_task(data) == PATTERN_TASKS["aggregate"]
    assert (data / "searched.csv").read_bytes() == (TASKS["aggregate"] / "searched.csv").read_bytes()


def test_an_agent_validates_with_the_judges_training(judged: Path) -> None:
    value = validate(STACKED, judged / "data")
    assert 2.0 < value < 7.0
    with pytest.raises(SubmissionError, match="at most 700,000"):
        validate("M" * 23, judged / "data")


def test_every_pattern_gets_the_same_flops() -> None:
    task, spent = PATTERN_TASKS["aggregate"], set()
    for pattern in ("16mA", "16M", "16Mb", "8(mA-M)"):
        steps = task.steps(read_pattern(pattern), "cpu", windows=4096, length=64, vocabulary=512)
        layers = read_pattern(pattern)
        size = task.size(layers)
        each = sum(layer_flops_per_token(symbol, size, 64) for symbol in layers) + 6 * 64 * 512
        spent.add(round(steps * each * 32 * 64 / 6e11, 2))
    assert spent <= {0.99, 1.0, 1.01}


def test_a_training_learns_and_one_that_diverges_counts_as_the_worst(judged: Path) -> None:
    train, about = read_text_split(judged / "data" / "train")
    task = replace(PATTERN_TASKS["aggregate"], layers=4, flop_budgets={"cpu": 3e10})

    def loss(worst: float = 12.0) -> float:
        found = train_and_score(
            task, ("Mb", "mA", "M", "M"), "cpu", about.vocabulary, worst, train, {"validation": train.part(0, 64)},
            seed=3, device=torch.device("cpu"),
        )  # fmt: skip
        return found["validation"].loss

    assert loss() < 5.0 < torch.tensor(float(about.vocabulary)).log() < 6.3
    assert loss() == loss()
    assert loss(worst=1.0) == 1.0


def test_the_published_votes_that_agents_are_told_are_those_of_aggregate() -> None:
    lines = (TASKS["aggregate"] / "searched.csv").read_text().splitlines()[1:]
    scored = [
        ScoredArchitecture("mad", read_pattern(stack), float(score), False)
        for stack, _, score, *_ in (line.split(",") for line in lines)
    ]
    told = dict(re.findall(r"^\| (N\d) \| `(\w+)` \|", find_task("compose-aggregate").description, re.MULTILINE))
    voters = select_by_rank(scored)
    assert told == {f"N{condition}": compact(vote(voters, condition).pattern) for condition in (0, 1, 2)}


def test_the_grown_patterns_that_agents_are_told_are_those_of_extrapolate() -> None:
    task, size = PATTERN_TASKS["scale"], model_size(TOY_SCALE, "3-primitive")
    assert task.base is not None
    assert task.most_parameters is not None
    rows = re.findall(r"^\| (stretch|stack) \| `([\w ]+)` \|", find_task("compose-scale").description, re.MULTILINE)
    assert [rule for rule, _ in rows] == ["stretch", "stack"]
    for rule, told in rows:
        grown = extrapolate(read_pattern(task.base), task.most_parameters, rule, size=size)
        assert grown.pattern == parse_architecture(told, KINDS, task.layers)
        assert toy_parameters(grown.pattern) == grown.parameters <= task.most_parameters


@pytest.mark.parametrize("name", list(TASKS))
def test_folders_tell_what_is_enforced(name: str) -> None:
    task, loaded = PATTERN_TASKS[name], find_task(f"compose-{name}")
    artifact, size = loaded.metadata.aira.artifact, model_size(TOY_SCALE, "3-primitive")
    assert (artifact.layers, artifact.most_parameters) == (task.layers, task.most_parameters)
    for symbol in KINDS:
        figures = f"{layer_parameters(symbol, size):,} | {layer_flops_per_token(symbol, size, 64):,}"
        assert figures in loaded.description, "the table of layers"


@pytest.mark.parametrize("name", list(TASKS))
def test_the_baseline_of_a_folder_submits_what_the_task_admits(name: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "searched.csv").write_bytes((TASKS["aggregate"] / "searched.csv").read_bytes())
    done = _python(TASKS[name] / "baseline_solution.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    pattern = parse_architecture(
        (tmp_path / "submission.csv").read_text().split("\n")[1], KINDS, PATTERN_TASKS[name].layers
    )
    assert find_task(f"compose-{name}").metadata.aira.artifact.admits(pattern)
