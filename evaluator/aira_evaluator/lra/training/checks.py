"""Controls on a module that is otherwise valid: does it know, peek or depend on what it must not?

| control | on | refused | flagged |
| --- | --- | --- | --- |
| answers before training | 8 draws of parameters | right more often than chance by 3 SE, in every draw | off chance by 3 SE: `informed_at_init` |
| the same examples in other company | before and after training | an answer changes | only values change: `batch_sensitive` |
| the same examples behind more padding | after training | never | 5 % of answers change: `padding_dependent` |

Chance is what independence of answers and labels gives, so a module that answers one class only is at chance whatever
the classes' shares. Draws are of one distribution whose output layer prefers no class, so that accidental knowledge
(the length, the first token) helps one draw and hurts the next; only knowledge that was written down helps all.

Not covered: knowledge that shows only with trained weights. Against that, ListOps is trained and scored with secret
token ids (`module_score`), and tables of results name outliers for people to read.
"""  # noqa: E501

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.lra.contract.refusal import RefusedError
from aira_evaluator.lra.training.predictions import Inputs, Logits, predictions, rounded

DRAWS = 8
STANDARD_ERRORS = 3.0
_TOLERANCE = 1e-3
"""Relative difference of logits that another order of additions may make."""
_PADDING_SHARE = 0.05


@dataclass(frozen=True)
class ChanceCheck:
    """Accuracy of untrained draws minus chance."""

    excess: Sequence[float]
    """Accuracy minus chance, one number for every draw of parameters."""
    sampling_error: float
    """Standard error of one draw's accuracy at chance."""

    @property
    def mean(self) -> float:
        """The mean over the draws of how far accuracy is above chance."""
        return fmean(self.excess)

    @property
    def standard_error(self) -> float:
        """Of the mean: the greater of what few examples and what few draws make. All draws see the same examples."""
        spread: float = stdev(self.excess) / len(self.excess) ** 0.5
        return max(self.sampling_error, spread)

    @property
    def off_chance(self) -> bool:
        """Whether the mean is further from chance than three standard errors."""
        return abs(self.mean) > STANDARD_ERRORS * self.standard_error

    def refuse_knowledge(self) -> None:
        """Raise where every draw knows.

        Raises:
            RefusedError: the module answers without having learned.
        """
        if self.off_chance and min(self.excess) > self.sampling_error:
            raise RefusedError(
                f"the untrained module is right {100 * self.mean:.0f} points more often than chance; a module must "
                "learn the task, not contain it"
            )

    def details(self) -> dict[str, object]:
        """Plain values for a report."""
        return {"mean_excess": rounded(self.mean), "standard_error": rounded(self.standard_error)}


def check_chance(draws: Sequence[Logits], labels: NDArray[np.integer]) -> ChanceCheck:
    """Compare answers of untrained draws on the same examples with labels."""
    classes = draws[0].shape[1]
    shares = np.bincount(labels, minlength=classes) / len(labels)
    excess, errors = [], []
    for logits in draws:
        answers = predictions(logits)
        # If answers and labels are independent: sum over classes of P(answer) P(label). Ties (-1) are never right.
        expected = float(shares[answers[answers >= 0]].sum() / len(answers))
        excess.append(float((answers == labels).mean()) - expected)
        # Binomial, at no less than the chance of a uniform guess: a module that ties everywhere has no spread itself.
        errors.append((max(expected, 1 / classes) * (1 - max(expected, 1 / classes)) / len(labels)) ** 0.5)
    return ChanceCheck(excess, fmean(errors))


def other_company(inputs: Inputs, batch_size: int, rng: np.random.Generator) -> tuple[Inputs, NDArray[np.int64]]:
    """Return a batch that mixes examples of the first batch with others, and what it consists of.

    Returns:
        The batch, and for each of its rows the example's index.
    """
    first = np.arange(min(batch_size, len(inputs)))
    kept = rng.permutation(first)[: max(1, len(first) // 2)]
    others = rng.choice(len(inputs), size=max(1, batch_size - len(kept)))
    rows = rng.permutation(np.concatenate([kept, others]))[:batch_size]
    return inputs[rows], rows


def check_company(together: Logits, apart: Logits) -> bool:
    """Whether values differ between logits (N, C) of the same examples in two batches.

    Raises:
        RefusedError: an answer differs by more than another order of additions explains.
    """
    scale = np.maximum(1.0, np.abs(together).max(axis=1))
    moved = np.abs(together - apart).max(axis=1) > _TOLERANCE * scale
    if (moved & (predictions(together) != predictions(apart))).any():
        raise RefusedError(
            "the module answers differently when other examples are in the batch; each row of the output may depend "
            "on the same row of the input alone"
        )
    return bool(moved.any())


def padding_changes(short: Logits, long: Logits) -> float:
    """Share of examples answered differently behind more padding."""
    return float((predictions(short) != predictions(long)).mean())


def padding_dependent(share: float) -> bool:
    """Whether so many answers change that the amount of padding must matter to the module."""
    return share > _PADDING_SHARE
