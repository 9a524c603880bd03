"""What a training sees: examples, with token ids as the judge shows them.

ListOps is trained and scored with token ids permuted by a secret of the machine and by the submission: an honest
module cannot tell, while rules of ListOps written against the public ids fit nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.lra.contract.profiles import LraProfile
from aira_evaluator.lra.contract.splits import LabelledSplit
from aira_evaluator.lra.contract.submission import CONTRACTS
from aira_evaluator.lra.graphs.functions import CheckedModule
from aira_evaluator.lra.training.controls import secret_ids
from aira_evaluator.lra.training.predictions import Inputs


@dataclass(frozen=True)
class Material:
    """What one training sees, and what it is watched on."""

    train: LabelledSplit
    held_out: LabelledSplit
    ids: NDArray[np.uint16]
    """What each public token id becomes."""


def own_rng(seed: int, draw_secret: bytes, module: CheckedModule, use: int) -> np.random.Generator:
    """Randomness of a submission's own: of the machine's secret, the seed set and what was submitted.

    Seeds stand in published task folders. By them alone, whoever submits could tell how a graph will fare before.
    """
    return np.random.default_rng([seed, int.from_bytes(draw_secret, "big"), int(module.sha256, 16), use])


def renaming(profile: LraProfile, seed: int, draw_secret: bytes, module: CheckedModule) -> NDArray[np.uint16]:
    """Return what each public token id becomes where a submission is trained and scored; the identity but for
    ListOps.
    """
    vocab_size = CONTRACTS[profile.task].vocab_size
    if profile.task != "listops":
        return np.arange(vocab_size, dtype=np.uint16)
    return secret_ids(vocab_size, own_rng(seed, draw_secret, module, 0))


def token_inputs(split: LabelledSplit, length: int, ids: NDArray[np.uint16], limit: int | None = None) -> Inputs:
    """Token ids of the first `limit` examples, (N, D, L)."""
    return ids[split.sequences.token_ids(length)][split.rows[:limit]]
