"""Run folders as the loop writes them, generated without containers, for tests and benchmarks of readers."""

import hashlib
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from aira_bench.files import write_json
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.record.confirmations import add_confirmation
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.journal import JournalFile, SeedEnded, StepEnded, StepStarted
from aira_bench.record.manifest import Manifest, RunPlan
from aira_bench.record.node import Node, Timings, best_node
from aira_bench.record.run_record import read_run
from aira_bench.record.schema import SCHEMA
from aira_bench.record.scores import TrustedScore
from aira_bench.record.sealing import Keeper, open_run, step_ended
from aira_bench.record.seen_chains import Witness

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def manifest(name: str, *, seeds: tuple[int, ...], steps: int, agent: str = "evolution", **changes: object) -> Manifest:
    """A manifest with plausible values; `changes` override fields."""
    plan = RunPlan(
        name=name, agent=agent, task="mad-2p", profile="cpu", scaffold="greedy", fitness="hidden", seeds=seeds,
        steps=steps, hours=1.0, step_timeout_s=60.0, evaluation_timeout_s=60.0, concurrency=1,
    )  # fmt: skip
    values: dict[str, object] = {
        "run_id": hashlib.sha256(name.encode()).hexdigest()[:12], "schema_version": 1, "created": "2026-01-01T00:00:00+00:00", "aira_bench": "0", "plan": plan,
        "task_name": "NeuralArchitectureSearchMAD2PrimitivesAccuracy", "task_title": "mad-2p", "metric": "Accuracy",
        "lower_is_better": False, "task_sha256": "a" * 64, "data": {"hidden": {"sha256": "b" * 64, "bytes": 1}},
        "images": {"agent": "agent:1", "evaluator": "evaluator:1"}, "packages": {}, "python": "3.11", "host": "host",
        "hardware": {}, "hardware_class": "test processor", "source_revision": None, "isolation": {},
    }  # fmt: skip
    return Manifest.model_validate(values | changes)


def write_run(
    runs: Path,
    record: Manifest,
    *,
    invalid_share: float = 0.2,
    end: bool = True,
    claims: Mapping[int, float] | None = None,
    flags: Mapping[int, tuple[str, ...]] | None = None,
    key: MachineKey | None = None,
    artifacts: bool = True,
    seen: Path | None = None,
    infra: Mapping[int, bool] | None = None,
    codes: Sequence[bytes] = (),
    scores: Mapping[int, Sequence[tuple[float, float] | None]] | None = None,
    code_file: str = "train.py",
    canonical: Callable[[int, int], str] | None = None,
    of_nodes: Mapping[str, object] | None = None,
    of_scores: Mapping[str, object] | None = None,
    public: float | None = None,
    leave: Callable[[SeedFolder, int], None] | None = None,
) -> RunFolder:
    """Write a run of random results; the seed decides them. `claims` are relative to the trusted score, by seed.

    With a key the run is signed, and each step leaves an artifact; without one it is as it was before 0.1.0.
    The steps of the seeds in `infra` are infrastructure errors; true where their code had run. Step i leaves
    `codes[i % len(codes)]` as its `code_file`, if there are any. `scores` are validation and test of each step by seed,
    None of a step that is buggy. `canonical` gives the normal form of a step's submission, by seed and step.
    `of_nodes` and `of_scores` override fields of every node and of every score. `public` is the judge's number on public
    rows, less the validation score. `leave` writes whatever else a step leaves, before its line names the files.
    """
    folder = RunFolder(runs / record.plan.name)
    keeper = None
    if key is None:
        write_json(folder.path / "manifest.json", record.model_dump(mode="json"))
    else:
        folder.path.mkdir(parents=True)
        keeper = open_run(
            folder, record.model_copy(update={"schema_version": SCHEMA}), key, lambda: LONG_AGO, Witness(seen)
        )
    for seed in record.plan.seeds:
        rng = random.Random(f"{record.plan.name}/{seed}")
        place = folder.seed(seed)
        (place.path / "hidden").mkdir(parents=True)
        journal = keeper.journal(seed) if keeper else JournalFile(place.journal)
        for step in range(1, record.plan.steps + 1):
            journal.append(StepStarted(step, "t"))
            broken = infra is not None and seed in infra
            valid = not broken and rng.random() >= invalid_share
            test, trusted = rng.random(), rng.random()
            if scores is not None:
                given = scores[seed][step - 1]
                valid, (trusted, test) = given is not None, given or (0.0, 0.0)
            claimed = trusted + claims[seed] if claims else None
            found = (flags or {}).get(seed, ())
            on_public = None if public is None else trusted + public
            score = TrustedScore(step, test, trusted, "1", "evaluator:1", 1.0, False, claimed, found, public=on_public)
            score = replace(score, **(of_scores or {}))  # type: ignore[arg-type]
            fitness = round(score.validation or 0.0, 4) if valid else None
            if valid:
                place.scores.append(score)
            artifact = f"{score.test}\n".encode()
            if keeper and artifacts:
                place.node(step).mkdir(parents=True)
                (place.node(step) / "submission.csv").write_bytes(artifact)
            if codes:
                artifact = codes[step % len(codes)]
                place.node(step).mkdir(parents=True, exist_ok=True)
                (place.node(step) / code_file).write_bytes(artifact)
            if leave is not None:
                leave(place, step)
            node = Node(
                step, "draft", (), "valid" if valid else "infra_error" if broken else "buggy", "", fitness, claimed,
                "c" * 64, hashlib.sha256(artifact).hexdigest() if valid and (keeper or codes) else None,
                timings=Timings(0.1, 0.2, 0.7, 1.0), attempts=3 if broken else 1,
                code_ran=infra is None or infra.get(seed, True),
                canonical=canonical(seed, step) if canonical and valid else None,
            )  # fmt: skip
            node = replace(node, **(of_nodes or {}))  # type: ignore[arg-type]
            journal.append(step_ended(place, node, "t") if keeper else StepEnded(node, "t"))
        best = best_node(journal.nodes, lower_is_better=record.lower_is_better)
        if end:
            journal.append(SeedEnded("steps", best.step if best else None, "t"))
        journal.close()
    if keeper and end:
        keeper.close(record.plan.seeds)
    return folder


def confirm(
    folder: RunFolder, key: MachineKey, scores: Mapping[int, Sequence[float]], hidden_key: str | None = None
) -> None:
    """Confirm what seeds of a signed run submitted by trainings of these scores."""
    record = read_run(folder, KeyRing(key.public))
    keeper = Keeper(folder, key, record.manifest.run_id, record.manifest_sha256, lambda: LONG_AGO, Witness(None))
    for seed, found in scores.items():
        node = record.seed(seed).submitted
        assert node is not None, "what was submitted is trained again"
        assert node.artifact_sha256 is not None
        for number, score in enumerate(found):
            trained = TrustedScore(node.step, score, score, "1", "judge:1", 2.0)
            add_confirmation(keeper, seed, node.artifact_sha256, trained, hidden_key, number)


def copy_seed(folder: RunFolder) -> None:
    """Put seed 0 in the place of seed 1."""
    shutil.rmtree(folder.seed(1).path)
    shutil.copytree(folder.seed(0).path, folder.seed(1).path)
