"""Mechanisms that a model's code names: what kinds of mixing, gating, positions and pooling it is built of.

A mechanism is there if code (no comment, no docstring, no text) uses an identifier that names it: classes, functions,
calls, arguments and attributes count, in any spelling of words. So it is what an author calls things, told in one
vocabulary; nothing is executed, and a mechanism under another name is missed.

Not covered: sizes and other constants (`evidence`), and features of training scripts (`features`).
"""

import re
from collections.abc import Mapping

from aira_bench.agent_code.evidence import Evidence
from aira_bench.agent_code.structures import UNKNOWN, mlp_type

_NAMED: Mapping[str, str] = {
    "self-attention": r"self_attention|dot_product_attention|multi_?head\w*|mha|causal_attention",
    "linear attention": r"linear_att(?:n|ention)|feature_map|performer|elu|favor",
    "cross-covariance attention": r"cross_covariance|xca|xcit|xcta|channel_attention",
    "local attention": r"local_(?:global|att\w*)|chunk(?:ed|s)?|window(?:ed)?_attention|sliding_window|blockwise",
    "latent tokens": r"latents?|inducing|memory_tokens?|registers?|landmarks?",
    "convolution": r"conv(?:olution|olutional|1d|2d)?|conv_general_dilated|dw_?conv|depthwise\w*|taps",
    "recurrence": r"recurren\w*|gru|lstm|rnn|associative_scan|ssm|state_space|s4d?|s5|lru|mamba\w*|svr",
    "both directions": r"bi(?:directional)?|reverse|backwards?|flip",
    "Fourier transform": r"r?fft|ir?fft|fourier|fnet",
    "gating": r"gates?|gated|gating|glu|swiglu|geglu|sigmoid|forget",
    "mixture of experts": r"moe|experts?|router",
    "bilinear layer": r"bi_?linear|hadamard",
    "downsampling": r"down_?sample\w*|down_?sampling|strides?|patch(?:es|ify)?|hierarch\w*",
    "rotary positions": r"rope|rotary|apply_rotary\w*",
    "relative positions": r"relative_(?:position|bias)\w*|alibi|rel_pos\w*",
    "learned positions": r"pos(?:ition)?(?:al)?_emb\w*|positions?|wpe",
    "sinusoidal positions": r"sin|cos|sinusoid\w*",
    "RMS norm": r"rms_?norm\w*",
    "layer norm": r"layer_?norm\w*|ln",
    "dropout": r"drop_?out\w*|stochastic_depth|drop_path",
    "attention pooling": r"att(?:n|ention)_pool\w*|pool_att\w*|pooling_query",
    "max pooling": r"max_pool\w*|global_max",
    "weight sharing": r"tied?|tying|share[sd]?(?:_weights)?|siamese",
}
_PATTERNS = {name: re.compile(rf"(?:^|_)(?:{pattern})(?:_|$)") for name, pattern in _NAMED.items()}


def mechanisms(evidence: Evidence) -> tuple[str, ...]:
    """Return the mechanisms that a model's code names, always in the same order, and the kind of its MLP."""
    words = sorted(evidence.identifiers)
    found = [name for name, pattern in _PATTERNS.items() if any(map(pattern.search, words))]
    kind = mlp_type(evidence)
    return (*found, *([] if kind == UNKNOWN else [f"{kind} MLP"]))
