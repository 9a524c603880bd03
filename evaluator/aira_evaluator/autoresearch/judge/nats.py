"""From logits to nats: the only place where a score's numbers are made.

The judge takes the log-softmax of the whole vector itself, so scores that are not normalized gain nothing, and a loss
of the submission's own is never asked for. Vectors are copied out of shared memory before they are looked at: the
predictor can write there at any time, and a normalizer of one vector must not meet the target's logit of another.

Not covered: which predictions are asked for (`questions`), and what is made of their nats (`estimator`).
"""

import torch

from aira_evaluator.autoresearch.wire.connection import PredictorFailed


def negative_log_likelihoods(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """-log softmax(logits)[target] of every vector, float64 [n], in nats.

    Args:
        logits: float32 [n, vocabulary], possibly in memory that another process writes to.
        targets: int64 [n].

    Raises:
        PredictorFailed: a logit is not finite.
    """
    # In float64 a sum over the whole vocabulary loses nothing that a score shows.
    private = logits.to(torch.float64, copy=True)
    if not private.isfinite().all():
        raise PredictorFailed("the model's logits are not all finite")
    # log softmax subtracts the greatest logit first, so no finite logits overflow.
    return -torch.log_softmax(private, dim=1).gather(1, targets[:, None]).squeeze(1)
