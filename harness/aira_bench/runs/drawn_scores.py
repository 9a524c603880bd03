"""Draws recorded scores of runs at random, with the training that gave each.

Not covered: having them again (`rescore`).
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aira_bench.record.run_record import RunRecord
from aira_bench.record.scores import TrustedScore
from aira_bench.record.seed_record import SeedRecord
from aira_bench.runs.confirm import SEED_SET
from aira_bench.runs.retraining import Retraining
from aira_contract.settings import SeedSet


@dataclass(frozen=True)
class DrawnScore:
    """A score that a record has, and the training that gave it."""

    run: RunRecord
    training: Retraining
    seed_set: SeedSet
    recorded: TrustedScore

    @property
    def where(self) -> str:
        """Run, seed and step, and which training, for messages."""
        kind = f"training {self.training.number + 1}" if self.seed_set == SEED_SET else "as the search saw it"
        return f"run {self.run.name}, seed {self.training.seed} step {self.training.step}, {kind}"


def draw(records: Sequence[RunRecord], count: int, generator: random.Random) -> list[DrawnScore]:
    """Return so many scores of runs, half of them of trainings that confirm, as far as there are any.

    Args:
        records: of the runs.
        count: how many; all where there are no more.
        generator: draws; for a check that cannot be foreseen, one of the system's.
    """
    confirming = [each for record in records for seed in record.seeds for each in _confirming(record, seed)]
    searched = [each for record in records for seed in record.seeds for each in _searched(record, seed)]
    generator.shuffle(confirming)
    generator.shuffle(searched)
    first = min(len(confirming), max(-(-count // 2), count - len(searched)))
    return confirming[:first] + searched[: count - first]


def _searched(record: RunRecord, seed: SeedRecord) -> Iterator[DrawnScore]:
    for node in seed.nodes:
        score = seed.scores.get(node.step)
        if score is not None and node.artifact_sha256 is not None:
            training = Retraining(seed.seed, node.step, seed.folder, node.artifact_sha256, 0, 1)
            yield DrawnScore(record, training, record.manifest.plan.seed_set, score)


def _confirming(record: RunRecord, seed: SeedRecord) -> Iterator[DrawnScore]:
    node, known = seed.submitted, seed.confirmations
    if node is None or node.artifact_sha256 is None or known.refused.get(node.step):
        return
    numbers = sorted(number for key, step, number in known.done if (key, step) == (known.hidden_key, node.step))
    scores = known.scores.get(node.step, ())
    for number, score in zip(numbers, scores, strict=True):
        training = Retraining(seed.seed, node.step, seed.folder, node.artifact_sha256, number, len(scores))
        yield DrawnScore(record, training, SEED_SET, score)
