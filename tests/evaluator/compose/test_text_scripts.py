"""The text tasks' scripts as processes, on the synthetic stand-in at the cpu profile."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

import aira_evaluator.compose
from aira_contract.training_series import TrainingPoint, require_series
from aira_evaluator.compose.prepare.corpora import CORPORA
from aira_evaluator.compose.text.profiles import PROFILES
from aira_evaluator.compose.text.windows import TOKENS, read_text_split, write_text_manifest

TASKS = Path(__file__).resolve().parents[3] / "tasks"
STORIES = TASKS / "NeuralArchitectureSearchBabiStories2PrimitivesLoss"
PAGES = TASKS / "NeuralArchitectureSearchDCLM2PrimitivesLoss"
CORPUS = {STORIES: "babistories", PAGES: "dclm"}
Finished = subprocess.CompletedProcess[str]


def _python(*arguments: str | Path, cwd: Path, **environment: str) -> Finished:
    variables = {**os.environ, "AIRA_PROFILE": "cpu", "AIRA_SEED_SET": "search", "AIRA_DATA_SOURCE": "synthetic"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env={**variables, **environment}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def _places(root: Path, *, submission: bool = False) -> list[str]:
    for name in ("raw", "data", "logs"):
        (root / name).mkdir(parents=True, exist_ok=True)
    logs = ["--agent-log-dir", "logs"] if submission else []
    return ["--global-shared-data-dir", "raw", "--agent-data-mount-dir", "data", *logs]


def _keep_few(train: Path, windows: int = 768) -> None:
    """Leave the first windows of a prepared train split: what a loss is worth is tested elsewhere."""
    kept, manifest = read_text_split(train)
    stream = kept.part(0, windows).tokens().tobytes()
    (train / TOKENS).write_bytes(stream)
    write_text_manifest(train, replace(manifest, windows=windows, tokens=len(stream) // 2))


@pytest.fixture(scope="module")
def hidden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("judge")
    places = _places(root, submission=True)
    (root / "logs" / "submission.csv").write_text(f"architecture\n{'M' * 16}\n")
    prepared = _python(STORIES / "evaluate_prepare.py", *places, cwd=root)
    assert prepared.returncode == 0, prepared.stderr
    return root


@pytest.fixture(scope="module")
def judged(hidden: Path) -> Finished:
    """The whole way of one submission: hidden data, a short training, score."""
    whole, short = hidden / "whole", hidden / "data" / "train"
    shutil.copytree(short, whole)
    _keep_few(short)
    arguments = ("--submission-file", "./data/submission.csv", "--report-file", "report.json")
    return _python(STORIES / "evaluate.py", *arguments, cwd=hidden)


def test_the_score_block_and_the_report_agree_and_say_what_the_text_is(hidden: Path, judged: Finished) -> None:
    assert judged.returncode == 0, judged.stderr
    block = re.search(r"--- EVALUATION RESULT ---\s*(\{.*?\})", judged.stdout, re.DOTALL)
    assert block is not None
    report = json.loads((hidden / "report.json").read_text())
    assert json.loads(block[1]) == {"Loss": report["test"]}
    assert report.keys() == {
        *("schema", "canonical", "validation", "test", "public", "details", "evaluator_version", "seed_set", "seconds"),
        "series",
    }
    assert report["canonical"] == ",".join("M" * 16)
    series = [TrainingPoint(*point) for point in report["series"]]
    require_series(series)
    assert series[-1].tokens == 64 * report["details"]["data"]["train_windows"]
    assert report["details"]["data"]["source"] == "synthetic"
    assert report["details"]["test"]["tokens"] == report["details"]["public"]["tokens"] == 384 * 64
    assert report["public"] == report["details"]["public"]["loss"]
    assert report["public"] == pytest.approx(report["validation"], rel=0.1)
    assert 1.0 < report["test"] < report["details"]["test"]["loss"] + 1e-9 < 6.3


@pytest.mark.parametrize(
    ("row", "reason"), [("M" * 15, "15 layers"), ("M" * 15 + "X", "'X'"), ("S" * 16, "Mb is not among")]
)
def test_a_wrong_submission_is_one_line_and_exit_status_2(tmp_path: Path, row: str, reason: str) -> None:
    (tmp_path / "submission.csv").write_text(f"architecture\n{row}\n")
    finished = _python(PAGES / "evaluate.py", cwd=tmp_path)
    assert finished.returncode == 2
    assert reason in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("folder", [STORIES, PAGES])
def test_missing_public_text_is_one_line_and_exit_status_1(tmp_path: Path, folder: Path) -> None:
    finished = _python(folder / "prepare.py", *_places(tmp_path), cwd=tmp_path, AIRA_DATA_SOURCE="public")
    assert finished.returncode == 1
    assert "lacks" in finished.stderr
    assert len(finished.stderr.strip().splitlines()) == 1


def test_a_truncated_shard_is_one_line_and_leaves_it_alone(tmp_path: Path) -> None:
    shard, places = tmp_path / "raw" / CORPORA["dclm"].files[0], _places(tmp_path)
    shard.write_bytes(b"\x28\xb5\x2f\xfd\x24")
    finished = _python(PAGES / "prepare.py", *places, cwd=tmp_path, AIRA_DATA_SOURCE="public")
    assert finished.returncode == 1
    assert finished.stderr == f"prepare: {shard.name}: truncated: it ends in the middle of a Zstandard frame\n"
    assert shard.read_bytes() == b"\x28\xb5\x2f\xfd\x24"


def test_data_made_at_different_times_does_not_mix(hidden: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for entry in (hidden / "data").iterdir():
        (tmp_path / "data" / entry.name).symlink_to(entry)
    for public in ("train", "validation"):
        (tmp_path / "data" / public).unlink()
    assert _python(PAGES / "prepare.py", *_places(tmp_path), cwd=tmp_path).returncode == 0
    finished = _python(STORIES / "evaluate.py", "--submission-file", "data/submission.csv", cwd=tmp_path)
    assert finished.returncode == 1
    assert "is not of this train split" in finished.stderr


def test_an_agent_validates_on_the_public_half(hidden: Path, judged: Finished, tmp_path: Path) -> None:
    assert _python(STORIES / "prepare.py", *_places(tmp_path), cwd=tmp_path).returncode == 0
    names = {path.relative_to(tmp_path / "data").as_posix() for path in (tmp_path / "data").rglob("*.*")}
    assert names == {
        *("train/manifest.json", "train/tokens.bin", "train/tokenizer.json", "train/token_bytes.npy"),
        *("validation/manifest.json", "validation/tokens.bin"),
    }
    for name in names:
        assert (tmp_path / "data" / name).read_bytes() == (
            hidden / name.replace("train", "whole").replace("validation", "data/validation")
        ).read_bytes()
    _keep_few(tmp_path / "data" / "train")
    finished = _python("-m", "aira_evaluator.compose.agent.validate", "--architecture", "M" * 16, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    claimed = json.loads((tmp_path / "validation.json").read_text())
    assert claimed["metric"] == "Loss"
    assert finished.stdout == f"Loss {claimed['value']:.4f}\n"


def test_preparing_text_imports_no_torch(tmp_path: Path) -> None:
    finished = _python("-X", "importtime", STORIES / "prepare.py", *_places(tmp_path), cwd=tmp_path)
    assert finished.returncode == 0
    assert not re.search(r"\|\s+torch$", finished.stderr, re.MULTILINE)


def test_no_seed_of_hidden_data_is_readable_for_agents() -> None:
    (package,) = aira_evaluator.compose.__path__
    readable = "".join(path.read_text() for path in Path(package).rglob("*.py"))
    for folder in (STORIES, PAGES):
        readable += (folder / "project_description.md").read_text() + (folder / "prepare.py").read_text()
        seeds = re.findall(r"0x([0-9A-F]{15})", (folder / "evaluate_prepare.py").read_text())
        assert len(set(seeds)) == 6
        assert not any(seed in readable.upper() or str(int(seed, 16)) in readable for seed in seeds)


@pytest.mark.parametrize("folder", [STORIES, PAGES])
def test_metadata_names_the_files_that_the_scripts_read(folder: Path) -> None:
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    corpus = CORPORA[CORPUS[folder]]
    assert tuple(source["name"] for source in metadata["aira"]["sources"]) == corpus.files
    assert tuple(metadata["aira"]["unpacked"]) == corpus.unpacked
    assert metadata["logging_info"]["estimated_worst_score"] == PROFILES[corpus.name]["paper"].worst_loss
    text = (folder / "project_description.md").read_text()
    for profile in PROFILES[corpus.name].values():
        assert f"{profile.vocabulary:,}" in text
        assert f"{profile.train_windows:,}" in text
        assert f"{profile.hidden_windows:,}" in text
