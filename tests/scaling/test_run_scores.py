"""Scores collected from run folders, written by the code that writes runs."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from aira_bench.cli import aggregate as command
from aira_bench.errors import UsageError
from aira_bench.files import write_json
from aira_bench.keys import KeyRing
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import JournalFile, StepEnded, StepStarted
from aira_bench.record.node import Node
from aira_bench.record.run_record import read_run
from aira_bench.record.scores import TrustedScore
from aira_bench.scaling.aggregate import ScoredArchitecture
from aira_bench.scaling.notation import read_pattern
from aira_bench.scaling.run_scores import Split, collect_scores
from generated_runs import manifest, write_run


def add_step(run: RunFolder, step: int, canonical: str | None, validation: float | None, test: float) -> None:
    journal = JournalFile(run.seed(0).journal)
    journal.append(StepStarted(step, "t"))
    run.seed(0).scores.append(TrustedScore(step, test, validation, "1", "evaluator:1", 1.0))
    node = Node(step, "draft", (), "valid", "", validation, None, "c" * 64, None, canonical=canonical)
    journal.append(StepEnded(node, "t"))
    journal.close()


def unended(runs: Path, name: str, seeds: tuple[int, ...] = (0,), **changes: object) -> RunFolder:
    """A run whose seeds have a step that has no architecture, and no end."""
    folder = write_run(runs, manifest(name, seeds=seeds, steps=1, **changes), end=False)
    write_json(folder.path / "manifest.json", manifest(name, seeds=seeds, steps=9, **changes).model_dump(mode="json"))
    return folder


def collect(runs: Sequence[RunFolder], split: Split = "validation") -> list[ScoredArchitecture]:
    return collect_scores([read_run(run, KeyRing()) for run in runs], split)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return unended(tmp_path, "searched", (0, 1))


def test_collects_every_scored_step_with_the_split_asked_for(run: RunFolder) -> None:
    add_step(run, 2, "mA,M,mA,M", 0.5, 0.4)
    add_step(run, 3, "M,M,M,mA", 0.7, 0.2)
    validation, test = collect([run]), collect([run], "test")
    assert [(item.architecture, item.score) for item in validation] == [
        (read_pattern("2(A-M)"), 0.5),
        (read_pattern("3M-A"), 0.7),
    ]
    assert [item.score for item in test] == [0.4, 0.2]
    assert len({item.dataset for item in validation}) == 1


def test_other_data_is_another_dataset(run: RunFolder, tmp_path: Path) -> None:
    other = unended(tmp_path, "other", data={"hidden": {"sha256": "d"}})
    for folder in (run, other):
        add_step(folder, 2, "mA,M", 0.5, 0.4)
    assert len({item.dataset for item in collect([run, other])}) == 2


def test_synthetic_runs_vote_among_themselves_alone_and_say_so(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"hidden": {"sha256": "b" * 64, "bytes": 1}, "synthetic": True}
    other = unended(tmp_path, "made-up", data=data)
    for folder in (run, other):
        add_step(folder, 2, "mA,M", 0.5, 0.4)
    assert [item.dataset.startswith("SYNTHETIC DATA") for item in collect([other])] == [True]
    with pytest.raises(UsageError, match=r"synthetic data \(made-up\) and on real data"):
        collect([run, other])
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    args = parser.parse_args(["aggregate", "made-up", "--runs", str(tmp_path), "--json"])
    assert args.handle(args) == 0
    assert "SYNTHETIC" in capsys.readouterr().err


def test_runs_that_hold_no_architectures_are_refused(run: RunFolder) -> None:
    with pytest.raises(UsageError, match="searched has no scored architecture"):
        collect([run])
    add_step(run, 2, "some other answer", 0.5, 0.4)
    with pytest.raises(UsageError, match="seed 0, step 2: the submission is no pattern"):
        collect([run])


def test_a_task_without_hidden_validation_names_the_flag(run: RunFolder) -> None:
    add_step(run, 2, "mA,M", None, 0.4)
    with pytest.raises(UsageError, match="--split test"):
        collect([run])


def test_command_aggregates_a_run_by_name(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    for step, (canonical, score) in enumerate([("mA,M,M", 0.9), ("M,M,M", 0.2)], start=2):
        add_step(run, step, canonical, score, score)
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    args = parser.parse_args(["aggregate", "searched", "--runs", str(run.path.parent), "--json"])
    assert args.handle(args) == 0
    assert json.loads(capsys.readouterr().out)["patterns"][0]["pattern"] == "A-2M"
