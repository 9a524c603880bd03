"""A small suite of generated runs that fills every figure and table, and its values read back by hand."""

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aira_bench.keys import KeyFolder, MachineKey
from aira_bench.record.folder import RunFolder
from aira_bench.record.normalized import Anchors
from generated_runs import manifest, write_run

Scores = Sequence[tuple[float, float] | None]
"""Validation and test of each step, None of a buggy one."""
ANCHORS = Anchors(worst=0.1, optimum=1.0, sota={"published": 0.9})
MODULES = (
    b"NUM_LAYERS = 2\nLR = 1e-3\nclass LinearAttention:\n    pass\n",
    b"NUM_LAYERS = 6\nLR = 5e-4\nBATCH_SIZE = 32\nclass DepthwiseConv:\n    gate = 1\n",
)
SCRIPTS = (
    b"DEPTH = 8\nWINDOW_PATTERN = 'SSSL'\nMATRIX_LR = 0.04\n",
    b"DEPTH = 10\nWINDOW_PATTERN = 'SSSL'\nMATRIX_LR = 0.04\n",
    b"DEPTH = 10\nWINDOW_PATTERN = 'SL'\nMATRIX_LR = 0.05\nZ_LOSS = 1e-4\n",
)


def machine_key(home: Path) -> MachineKey:
    """The key that signs all of them."""
    return KeyFolder(home / "keys").machine_key()


def write(runs: Path, home: Path, agent: str, task: str, scores: Mapping[int, Scores], **changes: object) -> RunFolder:
    """Write a signed run of one agent on a task of profile `paper`; `scores` by seed say all that it came to."""
    steps = len(next(iter(scores.values())))
    name = f"{hashlib.sha256(agent.encode()).hexdigest()[:6]}-{task}-{'-'.join(map(str, changes.values())) or 'greedy'}"
    lower = task.startswith(("autoresearch", "dclm"))
    metric = "BPB" if task.startswith("autoresearch") else "Loss" if lower else "Accuracy"
    record = manifest(
        name, seeds=tuple(scores), steps=steps, agent=agent, trainings=0, task_name=task, task_title=task, metric=metric,
        lower_is_better=lower, anchors=ANCHORS if task.startswith("lra") else None,
    )  # fmt: skip
    plan = {"profile": "paper", "task": task, "hours": 24.0, "scaffold": "greedy"}
    plan |= {key: value for key, value in changes.items() if key in ("scaffold", "profile")}
    record = record.model_copy(update={"plan": record.plan.model_copy(update=plan)})
    kind = {"lra": (MODULES, "model.py"), "aut": (SCRIPTS, "train.py")}.get(task[:3], ((), "submission.csv"))
    return write_run(
        runs, record, key=machine_key(home), artifacts=False, scores=scores, codes=kind[0], code_file=kind[1]
    )  # fmt: skip


def write_suite(runs: Path, home: Path) -> None:
    """Two greedy agents and one that answers once on the arena, two on scripts, two on architectures."""
    rng = random.Random(16)
    for task in ("lra-listops", "lra-listops-conf", "lra-text-conf"):
        for agent in ("opus45", "gpt5"):
            write(runs, home, agent, task, {seed: _accuracies(rng, 5) for seed in range(3)})
        once: dict[int, Scores] = {0: [None], 1: [(0.31, 0.3)], 2: [None]}
        write(runs, home, "gpt5", task, once, scaffold="one-shot")
    for task in ("autoresearch", "autoresearch-lit"):
        write(runs, home, "opus45", task, {seed: _losses(rng, 6) for seed in range(3)})
    for agent in ("opus45", "gpt5"):
        write(runs, home, agent, "mad-2p", {seed: _accuracies(rng, 8) for seed in range(3)})
    write(runs, home, "gpt5", "dclm-2p", {0: _losses(rng, 4), 1: [None, *_losses(rng, 3)]})


def _accuracies(rng: random.Random, steps: int) -> Scores:
    made: list[tuple[float, float] | None] = [
        (rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)) if rng.random() < 0.7 else None for _ in range(steps - 1)
    ]
    return [*made, (rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8))]


def _losses(rng: random.Random, steps: int) -> Scores:
    """Falling search scores, so that every step improves, and tests beside them."""
    return [(1.02 - 0.005 * step, 1.021 - 0.004 * step + rng.uniform(0, 0.002)) for step in range(steps)]


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a journal or of a file of scores, as JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_hand(runs: Path, agent: str, task: str, scaffold: str = "greedy") -> dict[int, list[tuple[float, float] | None]]:
    """By seed the fitness and test score of each step, from the run's files and nothing else of the product."""
    for folder in sorted(runs.iterdir()):
        record = json.loads((folder / "manifest.json").read_text())
        plan = record["plan"]
        if (plan["agent"], plan["task"], plan["scaffold"]) == (agent, task, scaffold):
            break
    else:
        raise AssertionError(f"no run of {agent} on {task}")
    found: dict[int, list[tuple[float, float] | None]] = {}
    for place in sorted((folder / "seeds").iterdir()):
        scored = place / "hidden" / "scores.jsonl"
        tests = {line["step"]: line["test"] for line in lines(scored)} if scored.exists() else {}
        bodies = [line["body"] for line in lines(place / "journal.jsonl")]
        nodes = [body["node"] for body in bodies if body["event"] == "step_ended"]
        found[int(place.name)] = [
            (node["fitness"], tests[node["step"]]) if node["step_class"] == "valid" else None for node in nodes
        ]
    return found
