"""Stick-breaking attention (Tan et al., "Scaling Stick-Breaking Attention", arXiv 2410.17980).

Idea: no softmax and no position embedding. A query walks back from the newest key; at each key it takes a share
sigmoid(z) of what is left of a stick of length one. Near keys win ties, so recency comes for free. The weights of a
query sum to at most one; what is left over goes nowhere.

Use in train.py: replace scaled dot-product attention and leave rotary embeddings out of these layers.

Left out: the fused kernel. The weights are computed in log space over a full matrix: about the cost of plain attention
written by hand.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional


def stick_breaking_weights(query: Tensor, key: Tensor) -> Tensor:
    """Weights (B, H, T, T) over keys strictly before the query, each row summing to at most 1.

    A(i, j) = sigmoid(z(i, j)) x product over j < k < i of (1 - sigmoid(z(i, k))).
    """
    length = query.shape[-2]
    scores = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).float()
    past = torch.ones(length, length, dtype=torch.bool, device=query.device).tril(-1)
    log_left = functional.logsigmoid(-scores).masked_fill(~past, 0.0)  # log(1 - sigmoid)
    # What the keys between j and i have left: a sum over k from j + 1 on, so the total from j on less its own term.
    after = log_left.flip(-1).cumsum(-1).flip(-1) - log_left
    weights = (functional.logsigmoid(scores) + after).exp().masked_fill(~past, 0.0)
    return weights.to(query.dtype)


def stick_breaking_attention(query: Tensor, key: Tensor, value: Tensor, *, keep_rest: bool = True) -> Tensor:
    """Causal attention, all of shape (B, H, T, head_dim).

    With `keep_rest` a query's own value gets what is left of its stick, so that the first token is not empty.
    """
    weights = stick_breaking_weights(query, key)
    mixed = weights @ value
    if keep_rest:
        mixed = mixed + (1.0 - weights.sum(-1, keepdim=True)) * value
    return mixed
