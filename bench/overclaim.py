"""How far does an honest claim on `mad-2p`, profile cpu, lie from the judge's number on the same public rows?

    python bench/overclaim.py --output bench/tables/mad_2p_overclaim.csv    # about 5 minutes of one core
    python bench/overclaim.py --output bench/tables/mad_2p_overclaim.csv --summarize

Random stacks, with as many mixers as those of `bench/cpu_profile.py`, drawn by another seed. Each is claimed as agents
claim, by `validate` with its default seed, and judged as a judge judges, by one training that scores the public rows
beside hidden ones. The two share the public train and validation splits and nothing else. Rows are added as they are
made; a second call goes on from there.

Printed: mean, standard deviation and extremes of claim less judge on the same rows (`overclaim`), and of claim less the
score on hidden rows (`claimed - trusted`); and the share of an evaluation's CPU time that public rows take.

Not covered: dishonest claims, which are what the column is for; other tasks.
"""

import argparse
import csv
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aira_contract.architectures import parse_architecture
from aira_contract.reports import PUBLIC
from aira_evaluator.compose.mad.profiles import CPU
from aira_evaluator.compose.mad.splits import (
    PUBLIC_TRAIN_SEED,
    PUBLIC_VALIDATION_SEED,
    MadManifest,
    draw_corpus,
    read_split,
    write_split,
)
from cpu_profile import stacks

STACK_SEED, JUDGE_SEED, COUNT = 91_001, 91_002, 22


class Claim(NamedTuple):
    """One stack, claimed and judged."""

    stack: str
    """In compact letters."""
    claimed: float
    public: float
    """The judge's, on the rows that were claimed on."""
    validation: float
    """The judge's, on hidden rows."""
    judged_s: float
    """CPU seconds of a judge's training that scores two hidden splits and the public one."""
    unasked_s: float
    """The same without the public one."""

    @property
    def overclaim(self) -> float:
        """How much better the claim is than the judge's number on the same rows."""
        return self.claimed - self.public


def claim(stack: str, data: Path) -> Claim:
    """Claim and judge one stack; `data` holds the public splits."""
    import torch

    from aira_evaluator.compose.agent.validate import validate
    from aira_evaluator.compose.mad.split_scores import train_and_score

    claimed = validate(stack, data)
    seed = int(np.random.SeedSequence([JUDGE_SEED, *stack.encode()]).generate_state(1)[0])
    train, public = read_split(data / "train")[0], read_split(data / "validation")[0]
    hidden = {
        "validation": draw_corpus(CPU, "validation", JUDGE_SEED),
        "test": draw_corpus(CPU, "test", JUDGE_SEED),
    }
    spent_s, found = [], []
    for held_out in ({**hidden, PUBLIC: public}, hidden):
        started_s = time.process_time()
        device = torch.device("cpu")
        found.append(train_and_score(parse_architecture(stack), CPU, train, held_out, seed=seed, device=device))
        spent_s.append(time.process_time() - started_s)
    judged, unasked = found
    assert all(judged[split] == unasked[split] for split in hidden), "public rows moved a hidden score"
    accuracies = (judged[PUBLIC].accuracy, judged["validation"].accuracy)
    return Claim(
        stack, round(claimed, 5), *(round(each, 5) for each in accuracies), *(round(each, 2) for each in spent_s)
    )


def read(path: Path) -> list[Claim]:
    """The rows so far."""
    if not path.exists():
        return []
    whole = [line for line in path.read_text(encoding="ascii").splitlines(keepends=True) if line.endswith("\n")]
    return [Claim(row[0], *map(float, row[1:])) for row in itertools.islice(csv.reader(whole), 1, None)]


def write(path: Path, rows: Sequence[Claim]) -> None:
    with path.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Claim._fields)
        writer.writerows(rows)


def summary(rows: Sequence[Claim]) -> Iterator[str]:
    """The lines that documents quote."""
    for name, values in (
        ("overclaim", [row.overclaim for row in rows]),
        ("claimed - trusted", [row.claimed - row.validation for row in rows]),
    ):
        mean, deviation = statistics.fmean(values), statistics.stdev(values)
        error = deviation / len(values) ** 0.5
        spread = f"{min(values):+.3f} to {max(values):+.3f}"
        yield f"{name}: mean {mean:+.3f} +- {error:.3f} (n = {len(rows)}), standard deviation {deviation:.3f}, {spread}"
    more = statistics.fmean(row.judged_s for row in rows) / statistics.fmean(row.unasked_s for row in rows) - 1
    yield f"public rows: {more:+.1%} CPU time of an evaluation"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--summarize", action="store_true", help="of what is there, without a training")
    options = parser.parse_args()
    rows = read(options.output)
    if not options.summarize:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder)
            for split, seed in (("train", PUBLIC_TRAIN_SEED), ("validation", PUBLIC_VALIDATION_SEED)):
                corpus = draw_corpus(CPU, split, seed)  # type: ignore[arg-type]
                write_split(data / split, corpus, MadManifest(CPU.name, split, ("M", "mA")))
            for stack in stacks("2", COUNT, STACK_SEED)[len(rows) :]:
                rows.append(claim(stack, data))
                write(options.output, rows)
    print("\n".join(summary(rows)))


if __name__ == "__main__":
    main()
