"""The six task folders' preparation scripts as processes, at the cpu profile."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from raw_archives import release, reviews, write_archive

import aira_evaluator
from aira_evaluator.lra.contract.splits import read_split, read_split_manifest
from aira_evaluator.lra.prepare import aan, imdb

TASKS = Path(__file__).resolve().parents[3] / "tasks"
NAMES = ("Text", "ListOps", "Retrieval")
FOLDERS = [TASKS / f"LongContextReasoningLRA{name}{kind}Accuracy" for name in NAMES for kind in ("", "Configurable")]
Finished = subprocess.CompletedProcess[str]


def run(script: Path, root: Path, *, logs: bool = False, **environment: str) -> Finished:
    for name in ("raw", "data", "logs"):
        (root / name).mkdir(parents=True, exist_ok=True)
    places = ["--global-shared-data-dir", "raw", "--agent-data-mount-dir", "data"]
    variables = {**os.environ, "AIRA_PROFILE": "cpu", "AIRA_DATA_SOURCE": "synthetic", **environment}
    return subprocess.run(
        [sys.executable, script, *places, *(["--agent-log-dir", "logs"] if logs else [])],
        cwd=root, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name[23:-8])
def test_agents_get_public_splits_and_judges_the_same_ones(folder: Path, tmp_path: Path) -> None:
    agent, judge = tmp_path / "agent", tmp_path / "judge"
    (judge / "logs").mkdir(parents=True)
    (judge / "logs" / "model.py").write_text("submitted")
    for script, root in (("prepare.py", agent), ("evaluate_prepare.py", judge)):
        finished = run(folder / script, root, logs=True)
        assert finished.returncode == 0, finished.stderr
    assert sorted(path.name for path in (agent / "data").iterdir()) == ["train", "validation"]
    assert (judge / "data" / "model.py").read_text() == "submitted"
    for name in ("symbols", "offsets", "rows", "labels"):
        for split in ("train", "validation"):
            ours, theirs = (root / "data" / split / f"{name}.npy" for root in (agent, judge))
            assert ours.read_bytes() == theirs.read_bytes()
    contents, seeds = set(), set()
    for split in ("validation", "test"):
        for seed_set in ("search", "final"):
            hidden, manifest = read_split(judge / "data" / f"{split}_with_labels" / seed_set)
            assert (manifest.split, manifest.seed_set) == (split, seed_set)
            contents.add(hidden.sequences.symbols.tobytes())
            seeds.add(manifest.training_seed)
    assert (len(contents), len(seeds)) == (4, 2)
    manifest = read_split_manifest(agent / "data" / "train")
    assert manifest.training_seed is None
    assert manifest.configurable == ("Configurable" in folder.name)
    assert manifest.source == ("generated" if "ListOps" in folder.name else "synthetic")


def test_hidden_seeds_differ_but_within_pairs_and_are_nowhere_agents_look() -> None:
    package = Path(aira_evaluator.__file__).parent
    readable = "".join(path.read_text() for path in package.rglob("*.py"))
    found: list[str] = []
    for folder in FOLDERS:
        readable += (folder / "project_description.md").read_text() + (folder / "prepare.py").read_text()
        seeds = re.findall(r"=(0x[0-9A-F]+)", (folder / "evaluate_prepare.py").read_text())
        assert len(seeds) == 6
        found += seeds
    assert len(set(found)) == 18, "a task and its configurable twin share hidden data"
    assert not any(seed[2:] in readable.upper() or str(int(seed, 16)) in readable for seed in found)


@pytest.mark.parametrize(("name", "module"), [("Text", imdb), ("Retrieval", aan)])
def test_a_public_archive_that_is_not_whole_is_one_line_and_status_1(tmp_path: Path, name: str, module: object) -> None:
    folder = TASKS / f"LongContextReasoningLRA{name}Accuracy"
    absent = run(folder / "prepare.py", tmp_path, AIRA_DATA_SOURCE="public")
    archive = imdb.ARCHIVE if name == "Text" else aan.ARCHIVE
    path = write_archive(tmp_path / "raw" / archive, reviews(300) if name == "Text" else release(100))
    path.write_bytes(path.read_bytes()[:-300])
    broken = run(folder / "prepare.py", tmp_path, AIRA_DATA_SOURCE="public")
    for finished in (absent, broken):
        assert finished.returncode == 1
        assert finished.stderr.startswith(f"prepare: raw/{archive}: ")
        assert finished.stderr.count("\n") == 1
    assert list((tmp_path / "data").iterdir()) == []


def test_public_archives_are_used_when_they_are_there(tmp_path: Path) -> None:
    write_archive((tmp_path / "raw").mkdir() or tmp_path / "raw" / imdb.ARCHIVE, reviews(300))
    folder = TASKS / "LongContextReasoningLRATextAccuracy"
    for script in ("prepare.py", "evaluate_prepare.py"):
        finished = run(folder / script, tmp_path, AIRA_DATA_SOURCE="public")
        assert finished.returncode == 0, finished.stderr
    split, manifest = read_split(tmp_path / "data" / "train")
    assert (manifest.source, len(split)) == ("public", 100)
    assert "search test: 150 examples" in finished.stdout


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"AIRA_PROFILE": "huge"}, "AIRA_PROFILE is 'huge', expected one of cpu, paper"),
        ({"AIRA_DATA_SOURCE": "rumour"}, "AIRA_DATA_SOURCE is 'rumour', expected one of public, synthetic"),
    ],
)
def test_wrong_settings_are_status_1(tmp_path: Path, environment: dict[str, str], message: str) -> None:
    finished = run(FOLDERS[0] / "prepare.py", tmp_path, **environment)
    assert (finished.returncode, finished.stderr) == (1, f"prepare: {message}\n")


def test_preparing_data_imports_no_jax(tmp_path: Path) -> None:
    probe = "import sys, aira_evaluator.lra.prepare.preparation; print({'jax', 'flax', 'torch'} & set(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert finished.stdout == "set()\n"
