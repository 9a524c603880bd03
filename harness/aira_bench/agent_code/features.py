"""The 27 features of a training script that the paper's Appendix G counts (Tables 19 to 21), and how each is read.

Nine features have a value (a number, a pattern, a kind of MLP); eighteen are toggles. A toggle is on if the script uses
an identifier that names it, unless a constant of such a name is 0, False, None or empty, which is how scripts switch
things off. Some are also recognized by their structure: a squared log-sum-exp is a z-loss under any name.

The paper prints the names, categories and counts of its features, not how it read them; the rules here are ours.
Not covered: focal loss, the soft-cap, Newton-Schulz steps, aspect ratio and schedules, which are not among the 27.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from aira_bench.agent_code.evidence import Evidence, Scalar, read_evidence, snake_case
from aira_bench.agent_code.structures import (
    UNKNOWN,
    adds_attention_and_mlp_at_once,
    has_keyword,
    mlp_type,
    shares_embedding_and_head,
    squares_a_log_sum_exp,
)

CATEGORIES = (
    "Attention pattern",
    "Depth / width",
    "MLP / activation",
    "Embeddings / heads",
    "Regularization",
    "Batch / curriculum",
    "Learning rates",
    "Other",
)


@dataclass(frozen=True)
class Feature:
    """One dimension of a script."""

    name: str
    category: str
    read: Callable[[Evidence], Scalar]
    is_toggle: bool


@dataclass(frozen=True)
class FeatureVector:
    """The features of one script."""

    parsed: bool
    """False where the script did not parse and was read as text."""
    values: Mapping[str, Scalar]
    """All 27; without the kind of MLP where the text does not name it."""


def extract_features(source: str) -> FeatureVector:
    """Return the 27 features of a script."""
    evidence = read_evidence(source)
    values = {feature.name: feature.read(evidence) for feature in FEATURES}
    if not evidence.parsed and values["mlp_type"] == UNKNOWN:
        del values["mlp_type"]
    return FeatureVector(evidence.parsed, values)


def changed_features(before: FeatureVector, after: FeatureVector) -> dict[str, tuple[Scalar, Scalar]]:
    """Features that both vectors have and whose values differ, with both values."""
    return {
        name: (value, after.values[name])
        for name, value in before.values.items()
        if name in after.values and value != after.values[name]
    }


def _value(*names: str) -> Callable[[Evidence], Scalar]:
    """The constant of the first of these names, in any case; None if there is none."""

    def read(evidence: Evidence) -> Scalar:
        by_name: dict[str, Scalar] = {}
        for name, value in evidence.constants.items():
            if not isinstance(value, bool):
                by_name.setdefault(snake_case(name), value)
        return next((by_name[name] for name in names if name in by_name), None)

    return read


def _toggle(pattern: str, *structures: Callable[[Evidence], bool]) -> Callable[[Evidence], bool]:
    """On if an identifier matches `pattern` and no constant of such a name is off, or a structure is there."""
    expression = re.compile(rf"(?:^|_)(?:{pattern})(?:_|$|\d)")

    def read(evidence: Evidence) -> bool:
        if any(structure(evidence) for structure in structures):
            return True
        switches = [value for name, value in evidence.constants.items() if expression.search(snake_case(name))]
        if any(not value for value in switches):
            return False
        return any(expression.search(name) for name in evidence.identifiers)

    return read


def _features() -> Iterator[Feature]:
    attention, size, mlp, heads, regular, batch, rates, other = CATEGORIES
    values: tuple[tuple[str, str, Callable[[Evidence], Scalar]], ...] = (
        ("n_kv_head", size, _value("n_kv_head", "n_kv_heads", "num_kv_heads", "num_kv_head", "kv_heads")),
        ("head_dim", size, _value("head_dim", "head_size", "d_head")),
        ("depth", size, _value("depth", "n_layer", "n_layers", "num_layers")),
        ("window_pattern", attention, _value("window_pattern", "attention_pattern", "window_size", "window")),
        ("mlp_type", mlp, mlp_type),
        ("batch_size", batch, _value("total_batch_size", "batch_size", "device_batch_size")),
        ("matrix_lr", rates, _value("matrix_lr", "muon_lr", "learning_rate", "lr")),
        ("embedding_lr", rates, _value("embedding_lr", "embed_lr", "wte_lr")),
        ("weight_decay", rates, _value("weight_decay", "wd")),
    )
    yield from (Feature(name, category, read, is_toggle=False) for name, category, read in values)
    toggles: tuple[tuple[str, str, Callable[[Evidence], Scalar]], ...] = (
        ("attn_dropout", attention, _toggle(r"att(?:n|ention)_drop(?:out)?", has_keyword("dropout_p"))),
        ("partial_rope", attention, _toggle(
            r"partial_(?:rope|rotary)|(?:rope|rotary)_(?:fraction|pct|percent|dims?|ratio)")),
        ("dual_rope_bases", attention, _toggle(
            r"dual_(?:rope|rotary)|(?:rope|rotary)_bases|(?:rope|rotary)_base_(?:long|short|local|global)"
            r"|(?:local|global|long|short)_(?:rope|rotary)")),
        ("attn_temperature", attention, _toggle(
            r"att(?:n|ention)_temp|temperature|qk_(?:scale|gain)")),
        ("parallel_residual", heads, _toggle(
            r"parallel_(?:residual|block|attn|attention)", adds_attention_and_mlp_at_once)),
        ("value_embeds", heads, _toggle(r"value_(?:embed(?:s|ding|dings)?|emb|embs)|ve_gate")),
        ("learned_prefix", heads, _toggle(r"(?:learned|prefix|register|memory)_(?:prefix|tokens?|emb\w*)|registers")),
        ("aux_heads", heads, _toggle(r"aux(?:iliary)?_(?:heads?|loss|weight)|mtp|multi_token")),
        ("weight_tying", heads, _toggle(
            r"(?:tied?|tie)_(?:weights?|embed\w*|head)|weight_tying", shares_embedding_and_head)),
        ("label_smoothing", regular, _toggle(r"label_smoothing|smoothing", has_keyword("label_smoothing"))),
        ("z_loss", regular, _toggle(r"z_?loss(?:es)?", squares_a_log_sum_exp)),
        ("grad_clipping", regular, _toggle(
            r"clip_grad(?:_norm|_value)?|(?<!adaptive_)grad(?:ient)?_clip(?:ping)?|max_grad_norm")),
        ("ema", regular, _toggle(
            r"ema_(?:model|params?|weights?|state|decay|shadow|net|copy|update|start|every|step\w*|momentum)"
            r"|(?:use|model|weights?|params?)_ema|averaged_model|(?<!loss_)ema(?=$)")),
        ("token_corruption", regular, _toggle(
            r"token_(?:corrupt\w*|drop(?:out)?|noise|mask\w*)|corrupt(?:ion)?|corrupt_prob")),
        ("agc", regular, _toggle(r"agc|adaptive_(?:grad(?:ient)?_)?clip\w*")),
        ("curriculum", batch, _toggle(
            r"curriculum|(?:seq(?:uence)?_len|seqlen|batch(?:_size)?)_(?:schedule|warm_?up|ramp)|progressive")),
        ("pos_loss_weight", batch, _toggle(
            r"pos(?:ition)?_(?:loss_)?weights?|token_(?:loss_)?weights?|(?<!z_)(?<!aux_)loss_weights?")),
        ("attn_out_norm", other, _toggle(r"att(?:n|ention)_out(?:put)?_norm|(?:attn_|attention_)?out_norm")),
    )  # fmt: skip
    yield from (Feature(name, category, read, is_toggle=True) for name, category, read in toggles)


FEATURES = tuple(_features())
