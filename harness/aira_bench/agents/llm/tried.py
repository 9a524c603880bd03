"""What an earlier step tried, as the harness knows it: not by what its model said of it.

An architecture in normal form is the judge's word. Names of changes are the agent's, but of edits that were applied.
Mechanisms are read off the identifiers of the program, which may name what it does not use.

Not covered: how well it went (`Node.outcome`).
"""

import re
from collections.abc import Mapping
from itertools import pairwise

from aira_bench.agents.agent import Brief
from aira_bench.record.node import Node

_MOST_CODE_CHARS = 256 * 1024
_MOST_CHARS = 400
_MECHANISMS: Mapping[str, str] = {
    "attention": r"attn|attention",
    "linear attention": r"linear_?att|linformer|performer|feature_map|delta_?net|delta_rule",
    "convolution": r"conv(?:1d|olution)?|hyena",
    "Fourier transform": r"rfft|irfft|fft|fnet",
    "scan": r"associative_scan|selective_scan|cumsum|ssm|s4d?|s5|lru|mamba",
    "recurrence": r"gru|lstm|rnn|rwkv|recurren\w{0,9}",
    "gating": r"(?:re|swi|ge)?glu|gate\w{0,9}|gating",
    "experts": r"moe|experts?|router",
    "rotary positions": r"rope|rotary\w{0,20}",
    "learned positions": r"pos(?:ition(?:al)?)?_?emb(?:edding)?s?|wpe",
    "relative positions": r"alibi|(?:relative|rel)_?pos\w{0,9}|rel_?bias",
    "window": r"window\w{0,9}|sliding|local_att\w{0,9}|block_?size|chunk\w{0,9}",
    "RMS norm": r"rms_?norm",
    "layer norm": r"layer_?norm",
    "pooling": r"pool\w{0,9}",
    "Muon": r"muon|newton_?schulz\w{0,9}|zeropower\w{0,20}",
    "AdamW": r"adamw?",
    "weight averaging": r"ema|swa|averag\w{0,9}",
    "soft-capped logits": r"soft_?cap\w{0,9}",
    "compilation": r"compile",
}
"""A mechanism, and words of identifiers that name it."""
_WORDS = re.compile("|".join(f"({pattern})" for pattern in _MECHANISMS.values()), re.IGNORECASE)
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{1,60}")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def what_was_tried(brief: Brief, node: Node, code: str) -> str:
    """Return in at most a few lines what a step submitted, by the kind of the task's artifact."""
    lines = []
    if brief.artifact.kind == "architecture" and node.canonical:
        lines.append(f"architecture: {node.canonical}")
    if node.changes:
        lines.append("changes: " + "; ".join(change.name for change in node.changes))
    if brief.artifact.kind in ("module", "script") and (found := mechanisms_of(code)):
        lines.append(f"names in it: {', '.join(found)}")
    return "\n".join(lines)[:_MOST_CHARS]


def mechanisms_of(code: str) -> tuple[str, ...]:
    """Return the mechanisms that a program's identifiers name, in the order of the table."""
    found: set[str] = set()
    names = list(_MECHANISMS)
    for identifier in set(_IDENTIFIER.findall(code[:_MOST_CODE_CHARS])):
        spelled = _HUMP.sub("_", identifier).lower()
        words = spelled.split("_")
        parts = {spelled, *words, *("_".join(pair) for pair in pairwise(words))}
        found |= {names[match.lastindex - 1] for part in parts if (match := _WORDS.fullmatch(part)) and match.lastindex}
    return tuple(name for name in names if name in found)
