"""Trainings of a module on control tasks, which tell what it learns from what was written into it.

A module that holds the rules of its task scores on the task and nowhere else. So `aira-bench confirm` has the judge
train it again on tasks that are as hard for whoever knows nothing:

| task | control | flagged `hard_wired` where |
| --- | --- | --- |
| ListOps | twice: other operators, each under a secret order of the digits, and another number of arguments | the test score is above the mean of the controls by 0.15 |
| Text, Retrieval | byte values renamed by a secret | the test score is above the control's by 0.1 |
| Text, Retrieval | train labels shuffled; scored on true ones | the control is off chance, either way, by 0.15 |

and by three standard errors: of the examples, and in the first two of the training that made each score, where its
deviation was measured (`aira-bench noise`). A module whose loss or output is not finite on a control is wrong on all of
it. An honest module cannot tell digits or bytes under one order from those under another, as embeddings are drawn alike
for all. What the margins let pass, and how far honest modules stay from them, is in docs/lra_trust.md.

Not covered: rules that fit all controls as well, such as a parser of brackets around a learned table.
"""  # noqa: E501

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.lra.contract.profiles import LraProfile
from aira_evaluator.lra.contract.splits import LabelledSplit
from aira_evaluator.lra.contract.submission import PADDING_ID
from aira_evaluator.lra.listops.expressions import draw_expressions
from aira_evaluator.lra.listops.operators import drawn_operators
from aira_evaluator.lra.training.predictions import Logits, accuracy, predictions, rounded

FLAG = "hard_wired"
TRAININGS = 2
"""Of a module, besides the one that is scored."""
_MARGINS = {"variant": 0.15, "renamed": 0.1, "shuffled": 0.15}
_STANDARD_ERRORS = 3.0


@dataclass(frozen=True)
class Control:
    """A task to train a module on. Sizes and shapes are those of the real one, so its programs serve."""

    kind: str
    """`variant`, `renamed` or `shuffled`."""
    told: str
    """What is different, for people."""
    train: LabelledSplit
    held_out: LabelledSplit
    ids: NDArray[np.uint16]
    """What each token id becomes."""


@dataclass(frozen=True)
class ControlResult:
    """How a module did on a control after training on it."""

    kind: str
    told: str
    accuracy: float
    chance: float
    """Accuracy if its answers and the labels were independent."""
    examples: int

    @classmethod
    def of(cls, control: Control, logits: Logits) -> "ControlResult":
        """From the logits of the held-out examples."""
        labels = control.held_out.labels
        shares = np.bincount(labels, minlength=logits.shape[1]) / len(labels)
        answers = predictions(logits)
        chance = float(shares[answers[answers >= 0]].sum() / len(answers))
        return cls(control.kind, control.told, accuracy(logits, labels), chance, len(labels))

    @classmethod
    def without_answers(cls, control: Control) -> "ControlResult":
        """Of a module that gave what is not finite: wrong everywhere, beside the chance of one constant answer."""
        labels = control.held_out.labels
        chance = float(np.bincount(labels).max() / len(labels))
        return cls(control.kind, f"{control.told}; its output was not finite", 0.0, chance, len(labels))


def secret_ids(vocab_size: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Return a renaming of token ids, uint16 (V,). Padding stays padding."""
    ids = np.arange(vocab_size, dtype=np.uint16)
    ids[PADDING_ID + 1 :] = rng.permutation(ids[PADDING_ID + 1 :])
    return ids


def controls_of(
    profile: LraProfile, train: LabelledSplit, test: LabelledSplit, vocab_size: int, rng: np.random.Generator
) -> Iterator[Control]:
    """The controls of a task, made one at a time.

    Args:
        profile: of the task.
        train: what a module is trained on for its score.
        test: what it is scored on.
        vocab_size: token ids there are.
        rng: secret.
    """
    if profile.listops is not None:
        for fewer in rng.permutation([True, False]):
            yield _variant(profile, train, test, vocab_size, fewer=bool(fewer), rng=rng)
        return
    yield Control("renamed", "byte values renamed", train, test, secret_ids(vocab_size, rng))
    shuffled = replace(train, labels=rng.permutation(train.labels))
    public = np.arange(vocab_size, dtype=np.uint16)
    yield Control("shuffled", "train labels shuffled", shuffled, test, public)


def _variant(
    profile: LraProfile,
    train: LabelledSplit,
    test: LabelledSplit,
    vocab_size: int,
    *,
    fewer: bool,
    rng: np.random.Generator,
) -> Control:
    """ListOps with operators of the family, and a fifth fewer or more arguments."""
    assert profile.listops is not None
    operators, usual = drawn_operators(rng), profile.listops.max_arguments
    most = usual + max(1, usual // 5) * (-1 if fewer else 1)
    shape, seen = replace(profile.listops, max_arguments=most), set[bytes]()
    drawn = [
        draw_expressions(shape, len(split), int(rng.integers(2**62)), seen, operators=operators)[0]
        for split in (train, test)
    ]
    told = f"{', '.join(each.reduction for each in operators)} under orders of their own; up to {most} arguments"
    return Control("variant", told, drawn[0], drawn[1], secret_ids(vocab_size, rng))


@dataclass(frozen=True)
class ControlVerdict:
    """What the controls say of a score."""

    test: float
    examples: int
    """Number of test examples behind the score."""
    results: Sequence[ControlResult]
    training_deviation: float = 0.0
    """Standard deviation of a score over trainings of one module; 0 where it was not measured."""

    @property
    def hard_wired(self) -> bool:
        """Whether the score stands on the real task alone, or comes without labels."""
        return any(excess > margin for _, excess, margin in self.comparisons)

    @property
    def comparisons(self) -> list[tuple[str, float, float]]:
        """What was compared, by how much it is off, and by how much it may be."""
        found = []
        for kind in dict.fromkeys(result.kind for result in self.results):
            alike = [result for result in self.results if result.kind == kind]
            reached = fmean(result.accuracy for result in alike)
            # The controls of one kind are pooled; errors of independent shares add up as squares.
            error = _error(reached, sum(result.examples for result in alike))
            if kind == "shuffled":
                chance = fmean(result.chance for result in alike)
                excess, what = abs(reached - chance), f"shuffled {reached:.4f} off chance {chance:.4f}"
            else:
                # Another training of the same module would have scored otherwise, and so would each control's.
                luck = self.training_deviation**2 * (1 + 1 / len(alike))
                error = (error**2 + _error(self.test, self.examples) ** 2 + luck) ** 0.5
                excess, what = self.test - reached, f"test {self.test:.4f} above {kind} {reached:.4f}"
            found.append((what, excess, max(_MARGINS[kind], _STANDARD_ERRORS * error)))
        return found

    @property
    def remarks(self) -> list[str]:
        """The comparisons in words, one line each."""
        return [f"{what} by {excess:.4f}, allowed {margin:.4f}" for what, excess, margin in self.comparisons]

    def details(self) -> dict[str, object]:
        """Plain values for a report."""
        trainings = [
            {"task": each.told, "accuracy": rounded(each.accuracy), "chance": rounded(each.chance)}
            for each in self.results
        ]
        return {"hard_wired": self.hard_wired, "comparisons": self.remarks, "trainings": trainings}


def _error(share: float, examples: int) -> float:
    """Standard error of a share."""
    return float((share * (1 - share) / examples) ** 0.5)
