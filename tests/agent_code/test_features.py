"""What is read off a training script: every feature on and off, under the names and shapes scripts use."""

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.agent_code.evidence import Scalar
from aira_bench.agent_code.features import CATEGORIES, FEATURES, changed_features, extract_features

ROOT = Path(__file__).resolve().parents[2]
BASELINE = (ROOT / "tasks" / "AutoregressiveLanguageModellingAutoresearchBPB" / "train.py").read_text()
PLAIN = '''"""No z_loss, no ema, no label_smoothing here: a docstring proves nothing."""
import torch
# value_embeds = True is a comment
DEPTH = 4

class Block(torch.nn.Module):
    def forward(self, x):
        x = x + self.attn(norm(x))
        return x + self.mlp(norm(x))

class MLP(torch.nn.Module):
    def forward(self, x):
        return self.c_proj(F.relu(self.c_fc(x)).square())
'''


def values(source: str) -> dict[str, Scalar]:
    return dict(extract_features(source).values)


def test_the_features_and_categories_are_the_papers() -> None:
    with (ROOT / "results" / "published" / "table19_autoresearch_features.csv").open() as stream:
        published = {row["feature"]: row["category"] for row in csv.DictReader(stream)}
    assert {feature.name: feature.category for feature in FEATURES} == published
    assert set(published.values()) == set(CATEGORIES)
    with (ROOT / "results" / "published" / "table20_autoresearch_toggles.csv").open() as stream:
        toggles = {row["feature"] for row in csv.DictReader(stream)}
    assert {feature.name for feature in FEATURES if feature.is_toggle} == toggles


def test_the_baseline_is_read_as_the_paper_describes_it() -> None:
    """Table 5: ReLU2 MLP, depth 8, head_dim 128, SSSL, matrix_lr 0.04, embedding_lr 0.6, weight_decay 0.2, value
    embeddings."""
    found = values(BASELINE)
    assert found["mlp_type"] == "relu2"
    assert (found["depth"], found["head_dim"], found["window_pattern"]) == (8, 128, "SSSL")
    assert (found["matrix_lr"], found["embedding_lr"], found["weight_decay"]) == (0.04, 0.6, 0.2)
    assert found["batch_size"] == 2**19
    assert [feature.name for feature in FEATURES if feature.is_toggle and found[feature.name]] == ["value_embeds"]


VALUES = {
    "depth": [("DEPTH = 12", 12), ("config = GPTConfig(n_layer=6)", 6), ("class C:\n    n_layer: int = 5", 5)],
    "head_dim": [("HEAD_DIM = 64", 64)],
    "n_kv_head": [("config = GPTConfig(n_kv_head=2)", 2), ("N_KV_HEAD = 1", 1)],
    "window_pattern": [('WINDOW_PATTERN = "SSL"', "SSL")],
    "batch_size": [("TOTAL_BATCH_SIZE = 2**18", 262144), ("A = 4\nTOTAL_BATCH_SIZE = A * 1024 // 2", 2048)],
    "matrix_lr": [("MATRIX_LR = 0.05", 0.05), ("MUON_LR = 0.02", 0.02)],
    "embedding_lr": [("EMBEDDING_LR = 8e-1", 0.8)],
    "weight_decay": [("WEIGHT_DECAY = 0.0", 0.0), ("opt = AdamW(p, weight_decay=0.1)", 0.1)],
}


@pytest.mark.parametrize(
    ("name", "source", "value"), [(name, *case) for name, cases in VALUES.items() for case in cases]
)
def test_a_value_is_a_constant_field_or_keyword(name: str, source: str, value: Scalar) -> None:
    assert values(source)[name] == value


CONFIG = (
    "@dataclass\nclass GPTConfig:\n    n_kv_head: int = 6\n    n_layer: int = 12\n    use_value_embeds: bool = True\n"
)


@pytest.mark.parametrize(
    ("arguments", "value"),
    [("n_kv_head=2", 2), ("n_kv_head=num_heads", "num_heads"), ("n_kv_head=num_heads // 2", "num_heads // 2"), ("", 6)],
)
def test_what_a_script_makes_its_config_with_comes_before_the_fields_default(arguments: str, value: Scalar) -> None:
    found = values(f"{CONFIG}config = GPTConfig(vocab_size=vocab, {arguments})\nother = Norm(n_kv_head=9)")
    assert (found["n_kv_head"], found["depth"]) == (value, 12)


def test_a_toggle_that_a_config_is_made_without_is_off() -> None:
    source = f"{CONFIG}config = GPTConfig(use_value_embeds=%s)\nself.value_embeds = nn.ModuleList()"
    assert values(source % "True")["value_embeds"] is True
    assert values(source % "False")["value_embeds"] is False


@pytest.mark.parametrize(
    "source",
    [
        'DEPTH = int(os.environ.get("DEPTH", "8"))',
        'DEPTH = int(os.getenv("DEPTH", 8))',
        "DEPTH, WIDTH = 8, 512",
        'if __name__ == "__main__":\n    DEPTH = 8',
        "try:\n    DEPTH: int = 8\nexcept ImportError:\n    DEPTH = 2",
        "WIDTH = DEPTH = 8",
    ],
)
def test_a_constant_is_found_however_a_script_assigns_it(source: str) -> None:
    assert values(source)["depth"] == 8


@pytest.mark.parametrize("source", ['DEPTH = int("eight")', "DEPTH = int(x)", "DEPTH, WIDTH = sizes()", "DEPTH = f(8)"])
def test_what_is_no_constant_has_no_value(source: str) -> None:
    assert values(source)["depth"] is None


def test_a_constant_at_the_top_comes_before_a_keyword_of_the_same_name() -> None:
    assert values("opt = AdamW(p, weight_decay=0.0)\nWEIGHT_DECAY = 0.2")["weight_decay"] == 0.2


MLPS = {
    "relu2": ["F.relu(a(x)).square()", "F.relu(a(x)) ** 2", "torch.square(F.relu(a(x)))", "F.relu(a(x)).pow(2)"],
    "relu": ["F.relu(a(x))"],
    "gelu": ["F.gelu(a(x))", "0.5 * F.gelu(a(x))"],
    "swiglu": ["F.silu(a(x)) * b(x)", "b(x) * F.silu(a(x))"],
    "geglu": ["F.gelu(a(x)) * b(x)"],
    "silu2": ["F.silu(a(x)).square()"],
    "unknown": ["a(x)"],
}


@pytest.mark.parametrize(("kind", "expression"), [(kind, text) for kind, texts in MLPS.items() for text in texts])
def test_the_kind_of_mlp_is_told_from_its_expression(kind: str, expression: str) -> None:
    assert (
        values(f"class FeedForward:\n    def forward(self, x):\n        return self.proj({expression})")["mlp_type"]
        == kind
    )


def test_an_activation_kept_as_a_module_is_found() -> None:
    source = "class MLP:\n    def __init__(self):\n        self.act = nn.SiLU()\n    def forward(self, x):\n        return self.act(a(x)) * b(x)"
    assert values(source)["mlp_type"] == "swiglu"


TOGGLES = {
    "attn_dropout": ["F.scaled_dot_product_attention(q, k, v, dropout_p=0.1)", "ATTN_DROPOUT = 0.1\nuse(ATTN_DROPOUT)"],
    "partial_rope": ["q = apply_partial_rope(q)", "ROTARY_PCT = 0.5\nuse(ROTARY_PCT)"],
    "dual_rope_bases": ["cos = rope(rope_base_long)", "rope_base_local = 1e4\nuse(rope_base_local)"],
    "attn_temperature": ["q = q * self.attn_temperature", "q = q * self.qk_gain"],
    "parallel_residual": ["def f(x):\n    return x + attn(n(x)) + mlp(n(x))", "PARALLEL_RESIDUAL = True\nuse(PARALLEL_RESIDUAL)"],
    "value_embeds": ["self.value_embeds = nn.ModuleList()", "v = v + ve_gate * ve"],
    "learned_prefix": ["self.learned_prefix = nn.Parameter(p)", "x = cat(self.prefix_tokens, x)"],
    "aux_heads": ["self.aux_heads = nn.ModuleList()", "loss = loss + 0.1 * mtp_loss"],
    "weight_tying": ["self.lm_head.weight = self.wte.weight", "logits = F.linear(x, self.wte.weight)", "TIE_WEIGHTS = True\nuse(TIE_WEIGHTS)"],
    "label_smoothing": ["F.cross_entropy(a, b, label_smoothing=0.1)", "L = 0.05\nF.cross_entropy(a, b, label_smoothing=L)"],
    "z_loss": ["loss = loss + 1e-4 * logits.logsumexp(-1).square().mean()", "loss += w * torch.logsumexp(l, -1) ** 2", "Z_LOSS = 1e-4\nuse(Z_LOSS)"],
    "grad_clipping": ["torch.nn.utils.clip_grad_norm_(p, 1.0)"],
    "ema": ["ema_model.update(model)", "class EMA:\n    pass", "EMA_DECAY = 0.99\nuse(EMA_DECAY)", "if use_ema:\n    update()"],
    "token_corruption": ["x = corrupt(x, TOKEN_DROP)", "x = token_dropout(x)"],
    "agc": ["adaptive_grad_clip(p)", "agc(p)"],
    "curriculum": ["T = seq_len_schedule(step)", "CURRICULUM = True\nuse(CURRICULUM)"],
    "pos_loss_weight": ["loss = (loss * pos_weights).mean()", "loss = (loss * loss_weights).mean()"],
    "attn_out_norm": ["y = self.attn_out_norm(y)", "y = self.out_norm(y)"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "source"), [(name, text) for name, texts in TOGGLES.items() for text in texts])
def test_a_toggle_is_on_where_it_is_used_and_nothing_else_changes(name: str, source: str) -> None:
    before, after = extract_features(PLAIN), extract_features(PLAIN + source + "\n")
    assert changed_features(before, after) == {name: (False, True)}


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("label_smoothing", "LABEL_SMOOTHING = 0.0\nF.cross_entropy(a, b, label_smoothing=LABEL_SMOOTHING)"),
        ("grad_clipping", "GRAD_CLIP = 0\nif GRAD_CLIP:\n    clip_grad_norm_(p, GRAD_CLIP)"),
        ("value_embeds", "USE_VALUE_EMBEDS = False\nif USE_VALUE_EMBEDS:\n    v = v + value_embeds(x)"),
        ("attn_dropout", "F.scaled_dot_product_attention(q, k, v, dropout_p=0.0)"),
        ("ema", "schema = remaining(emacs)"),
        ("ema", "ema_beta = 0.9\nloss_ema = ema_beta * loss_ema + (1 - ema_beta) * loss"),
        ("z_loss", "loss = torch.logsumexp(l, -1)"),
        ("pos_loss_weight", "z_loss_weight = 0.1\nuse(z_loss_weight)"),
    ],
)
def test_a_toggle_is_off_where_it_is_switched_off_or_only_resembled(name: str, source: str) -> None:
    assert values(PLAIN + source + "\n")[name] is False


def test_a_script_that_does_not_parse_is_read_as_text_and_says_so() -> None:
    broken = '"""no ema"""\nDEPTH = 2 * 5  # layers\nWINDOW_PATTERN = "SL"\n# z_loss\nif ve_gate(:\n    print("agc")\n'
    found = extract_features(broken)
    assert not found.parsed
    assert (found.values["depth"], found.values["window_pattern"]) == (10, "SL")
    assert found.values["value_embeds"] is True
    assert not any(found.values[name] for name in ("ema", "z_loss", "agc"))
    assert "mlp_type" not in found.values
    assert "mlp_type" not in changed_features(extract_features(PLAIN), found)


def test_an_expression_too_deep_to_follow_is_read_as_text() -> None:
    found = extract_features(f"WIDTH = {'+'.join(['1'] * 3000)}\nDEPTH = 4\n")
    assert found.values["depth"] == 4


@settings(deadline=None)
@given(st.text(max_size=300) | st.sampled_from([BASELINE[:size] for size in range(0, len(BASELINE), 997)]))
def test_no_text_is_too_odd_to_read(source: str) -> None:
    found = extract_features(source)
    assert found.values.keys() | {"mlp_type"} == {feature.name for feature in FEATURES}
    assert changed_features(found, found) == {}
