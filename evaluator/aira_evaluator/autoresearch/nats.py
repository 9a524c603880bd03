"""From logits to nats to bits per byte: the only place where a score's numbers are made.

The judge takes the log-softmax of the whole vector itself, so scores that are not normalized gain nothing, and a loss
of the submission's own is never asked for. Vectors are copied out of shared memory before they are looked at: the
predictor can write there at any time, and a normalizer of one vector must not meet the target's logit of another.

Not covered: which predictions may be believed (`audit`).
"""

import math

import torch

from aira_evaluator.autoresearch.conversation import PredictorFailed

CHUNK_BYTES = 2 << 20
"""Of vectors that are scored at once: about what the cache of one core holds."""


def negative_log_likelihoods(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log softmax(logits)[target] of every vector, float32 [n], in nats.

    Args:
        logits: float32 [n, vocabulary], possibly in memory that another process writes to.
        targets: int64 [n].

    Raises:
        PredictorFailed: a logit is not finite, or two are so far apart that a probability is not.
    """
    count, vocabulary = logits.shape
    step = max(1, CHUNK_BYTES // (4 * vocabulary))
    private = torch.empty(min(step, count), vocabulary)
    nats = torch.empty(count)
    for start in range(0, count, step):
        stop = min(start + step, count)
        vectors = private[: stop - start].copy_(logits[start:stop])
        # Two reductions cost a twentieth of `isfinite` or of `aminmax` by rows; both are NaN where any logit is.
        if not (vectors.amin(dim=1).isfinite() & vectors.amax(dim=1).isfinite()).all():
            raise PredictorFailed("the model's logits are not all finite")
        nats[start:stop] = -torch.log_softmax(vectors, dim=1).gather(1, targets[start:stop, None]).squeeze(1)
    if not nats.isfinite().all():
        raise PredictorFailed("the model's logits are so far apart that a probability is zero")
    return nats


def bits_per_byte(total_nats: float, total_bytes: int) -> float:
    """Nats over bytes in bits: `total_nats / (ln 2 * total_bytes)`."""
    return total_nats / (math.log(2) * total_bytes)
