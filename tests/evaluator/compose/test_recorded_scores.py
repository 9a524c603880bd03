"""Scores of the cpu profile as they were recorded; a change of one means another number of the evaluator.

Training is cut short, to a few batches of which the last is not full. The profile itself is on record too. Rounding differs between processors and versions of torch, and training amplifies it. So the record counts only where it
was made; `test_training_steps` holds the training to a plain loop everywhere.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from aira_contract.architectures import parse_architecture
from aira_contract.compatibility import EVALUATORS
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.split_scores import train_and_score
from aira_evaluator.compose.mad.splits import draw_corpus
from aira_evaluator.compose.training.devices import make_deterministic

RECORD = json.loads((Path(__file__).parent / "recorded_scores.json").read_text(encoding="ascii"))


def processor() -> str:
    about = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = [re.search(rf"^{name}\s*: (.*)$", about, re.MULTILINE) for name in ("vendor_id", "cpu family")]
    vendor, family = (match[1] if match else "unknown" for match in found)
    return f"{vendor} family {family}, {torch.backends.cpu.get_cpu_capability()}"


def test_scores_are_those_on_record() -> None:
    here = {"torch": torch.__version__, "processor": processor(), "evaluator_version": str(EVALUATORS["architecture"])}
    recorded = {name: RECORD[name] for name in here}
    assert here["evaluator_version"] == recorded["evaluator_version"], "record the scores of the new version"
    assert repr(CPU) == RECORD["profile"], "another profile is another number of the evaluator"
    if here != recorded:
        pytest.skip(f"the scores were recorded with {recorded}, this is {here}")
    make_deterministic()
    seeds, short = RECORD["data_seeds"], replace(CPU, train_examples=RECORD["train_examples"])
    scores = train_and_score(
        parse_architecture(RECORD["architecture"]),
        short,
        draw_corpus(short, "train", seeds["train"]),
        {"validation": draw_corpus(CPU, "validation", seeds["validation"]),
         "test": draw_corpus(CPU, "test", seeds["test"])},
        seed=RECORD["training_seed"],
        device=torch.device("cpu"),
    )  # fmt: skip
    seen = {split: {name: task.micro for name, task in score.tasks.items()} for split, score in scores.items()}
    assert seen == RECORD["micro"]
