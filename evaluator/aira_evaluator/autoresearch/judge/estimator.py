"""Bits per byte of a whole split from the nats of some of its targets: a regression estimator with its standard error.

The generalized regression (GREG) estimator of survey sampling (Särndal, Swensson and Wretman, "Model Assisted Survey
Sampling", 1992, sections 6.4 to 6.6). N: scored targets of the split, B: their bytes, y_i: the model's nats, x_i: 1 and
what our references say of target i, known for all N (`references`), Xbar their mean over all N; s: the K asked.

    A = (1/K) sum_s x_i x_i'     beta = A^-1 (1/K) sum_s x_i y_i     e_i = y_i - x_i' beta
    mean = Xbar' beta = (1/K) sum_s g_i y_i,     g_i = 1 + (Xbar - xbar_s)' A^-1 x_i

A cost above 40 nats counts as 40: one that a model can make as large as it likes, times a weight below zero, would be a
score as low as it likes. A weight below zero, which K >= 1,000 all but excludes, counts as zero.

The references need not be right, nor causal: whatever they say is averaged over all N without error, and only what
they leave unexplained is sampled. The bytes are known and never sampled.

Variance, for rows drawn first and positions within them (ibid., 4.3). f = m / M is the share of rows that were drawn,
l_i = x_i' A^-1 x_i / K the leverage, z_i = g_i e_i / (K sqrt(1 - l_i)), Z_r the sum over the questions of row r:

    V = (1 - f) m / (m - 1) sum_r Z_r^2  +  f (1 - K / N_drawn) sum_i z_i^2

Where all rows are drawn, f = 1, the first part is zero and the second is that of a simple random sample.

Not covered: which targets are asked (`questions`), and what a submission's luck is worth that was tried many times.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aira_evaluator.autoresearch.contract.references import References
from aira_evaluator.autoresearch.judge.questions import Questions

Floats = npt.NDArray[np.float64]
LEAST_QUESTIONS = 1000
"""Below, normal intervals cover too little for models whose rare predictions cost far more than the rest."""

COST_CAP_NATS = 40.0
"""More than twice what a guess among 2^28 tokens costs; whoever lets a target cost more saves nothing elsewhere."""


@dataclass(frozen=True)
class Estimate:
    """The estimated score of a split, with its standard error."""

    bpb: float
    """Bits per byte, unbiased for the score with every scored target of the split asked."""
    standard_error: float
    """Of `bpb`; `bpb` +- 1.96 of it covers the exhaustive score in 95 % of draws."""
    plain_bpb: float
    """From the mean of the answers alone, without references: less precise, for comparison."""
    lowest_weight: float
    """The smallest weight g_i, before weights below zero were set to zero."""
    questions: int
    targets: int
    """Scored ones of the split, N."""
    bytes: int
    """Bytes of text that the scored targets stand for, B."""


def estimate(questions: Questions, nats: Floats, references: References, least: int = LEAST_QUESTIONS) -> Estimate:
    """Return the score of one split, and how far it may be from asking for everything.

    The difference of two models that were asked the same is `estimate` of the difference of their nats.

    Args:
        questions: what was asked, K of it.
        nats: [K], what each target cost.
        references: of the same split.
        least: smallest K that is trusted, unless everything was asked.

    Raises:
        ValueError: there are fewer questions, or not as many answers.
    """
    count = len(questions)
    if nats.shape != (count,):
        raise ValueError(f"{nats.shape} answers to {count} questions")
    if count < min(least, references.targets):
        raise ValueError(f"{count} questions are too few for an interval that covers, expected {least} or more")
    nats = np.minimum(nats, COST_CAP_NATS)
    known = references.at(questions.row, questions.position)  # x_i, [K, 1 + references]
    # A^-1 as a pseudo-inverse: of references that say the same, none then gets a coefficient without bound.
    inverse = np.linalg.pinv(known.T @ known / count, hermitian=True)
    beta = inverse @ (known.T @ nats / count)
    residuals = nats - known @ beta
    # g_i: each answer weighs as much as makes the weighted references hit their known means exactly (calibration).
    weights = 1 + known @ inverse @ (references.mean - known.mean(axis=0))
    # Least squares fits the asked targets closer than the others: 1 / (1 - l_i) undoes it, as in HC2 (MacKinnon and
    # White 1985). A leverage above one half, of a reference that one target alone makes, must not rule the variance.
    leverages = np.clip(np.einsum("ij,jk,ik->i", known, inverse, known) / count, 0, 0.5)
    lowest, weights = float(weights.min()), np.maximum(weights, 0)
    terms = weights * residuals / (count * np.sqrt(1 - leverages))
    # From mean nats a target to bits a byte: N mean / (B ln 2).
    to_bpb = references.targets / (math.log(2) * references.bytes)
    return Estimate(
        bpb=float(weights @ nats) / count * to_bpb,
        standard_error=math.sqrt(_variance(questions, terms)) * to_bpb,
        plain_bpb=float(nats.mean()) * to_bpb,
        lowest_weight=lowest,
        questions=count,
        targets=references.targets,
        bytes=references.bytes,
    )


def _variance(questions: Questions, terms: Floats) -> float:
    """V of the module's docstring; `terms` are the z_i."""
    share = questions.rows_drawn / questions.rows_in_pool
    positions = (1 - len(terms) / questions.targets_drawn) * float(np.square(terms).sum())
    # Between rows: sums Z_r over whole rows carry what questions of one row have in common.
    if questions.rows_drawn == questions.rows_in_pool:
        return positions
    by_row = np.bincount(np.unique(questions.row, return_inverse=True)[1], weights=terms)
    rows = questions.rows_drawn / max(questions.rows_drawn - 1, 1) * float(np.square(by_row).sum())
    return (1 - share) * rows + share * positions
