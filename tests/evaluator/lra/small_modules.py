"""Submissions for tests of the LRA judge, small enough to trace and train in seconds."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from aira_evaluator.lra.contract.bundle import Bundle, read_bundle, write_bundle
from aira_evaluator.lra.contract.profiles import PROFILES, ListOpsShape, LraProfile, SplitSizes
from aira_evaluator.lra.contract.splits import LabelledSplit, Sequences
from aira_evaluator.lra.contract.submission import CONTRACTS, TaskName
from aira_evaluator.lra.fit.tracing import TraceRequest, load_module_class, trace
from aira_evaluator.lra.listops.expressions import draw_expressions
from aira_evaluator.lra.training.limits import JudgeLimits
from aira_evaluator.lra.training.module_score import ModuleScore, Splits, score_module

FIELDS = """
    vocab_size: int
    emb_dim: int
    qkv_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    max_len: int
    dropout_rate: float
    num_classes: int = 0
"""
HEAD = "import flax.linen as nn\nimport jax\nimport jax.numpy as jnp\nimport numpy as np\n"


def encoder(call: str, *, before: str = "", name: str = "CustomEncoder", signature: str = "inputs, *, train") -> str:
    """A `model.py` whose `__call__` has the given body."""
    body = "\n".join(f"        {line}" for line in call.strip().splitlines())
    return f"{HEAD}{before}\n\nclass {name}(nn.Module):{FIELDS}\n    @nn.compact\n    def __call__(self, {signature}):\n{body}\n"


EMBED = """
mask = (inputs > 0).astype(jnp.float32)[:, :, None]
x = nn.Embed(self.vocab_size, self.emb_dim)(inputs) * mask
"""
POOL = """
x = nn.Dropout(self.dropout_rate, deterministic=not train)(x)
pooled = (x * mask).sum(axis=1) / mask.sum(axis=1)
return nn.Dense(self.num_classes)(pooled)
"""
# Word counts and the first tokens: learns that MAX is large and MIN is small.
GOOD = encoder(EMBED + "x = nn.Dense(self.emb_dim)(nn.gelu(x)) + x[:, :1]" + POOL)
ATTENTION = encoder(
    EMBED
    + """
q, k = nn.Dense(self.emb_dim)(x), nn.Dense(self.emb_dim)(x)
scores = jnp.einsum("bqd,bkd->bqk", q, k) + jnp.where(mask[:, :, 0] > 0, 0.0, -1e9)[:, None]
x = x + nn.softmax(scores) @ x
"""
    + POOL
)
DOCUMENT_ENCODER = encoder(
    EMBED + "return (nn.Dense(self.emb_dim)(x) * mask).sum(axis=1) / mask.sum(axis=1)", name="CustomDualEncoder"
)

SMALL_SHAPE = ListOpsShape(max_depth=3, max_arguments=3, longer_than=4, shorter_than=16)


def small_profile(task: TaskName = "listops", **changes: int | float) -> LraProfile:
    """The cpu profile, shrunk to seconds."""
    profile = PROFILES["cpu", task]
    chosen = {
        "seq_len": 16, "batch_size": 32, "train_steps": 250, "num_layers": 1, "num_heads": 2, "emb_dim": 16,
        "qkv_dim": 16, "mlp_dim": 32, "warmup_steps": 20, "eval_frequency": 100, "learning_rate": 0.02,
    } | changes  # fmt: skip
    return replace(
        profile,
        defaults=replace(profile.defaults, **chosen),  # type: ignore[arg-type]
        sizes=SplitSizes(600, 10, 300, 300),
        eval_batch_size=32,
        eval_subset=50,
        listops=SMALL_SHAPE if task == "listops" else None,
    )


@cache
def small_splits(task: TaskName = "listops") -> Splits:
    """Train, hidden validation and hidden test; for Retrieval, pairs alike in their commonest byte."""
    if task == "listops":
        seen: set[bytes] = set()
        train, validation, test = (draw_expressions(SMALL_SHAPE, size, 7 + size, seen)[0] for size in (600, 300, 301))
        return Splits(train, validation, test)
    rng = np.random.default_rng(5)
    return Splits(*(_pairs(rng, size) for size in (600, 300, 300)))


def _pairs(rng: np.random.Generator, count: int) -> LabelledSplit:
    kinds = rng.integers(0, 2, (count, 2))
    symbols = np.where(
        rng.random((2 * count, 12)) < 0.5, 65 + kinds.reshape(-1, 1), rng.integers(97, 120, (2 * count, 12))
    )
    rows = np.arange(2 * count, dtype=np.int32).reshape(count, 2)
    labels = (kinds[:, 0] == kinds[:, 1]).astype(np.uint8)
    offsets = np.arange(0, 24 * count + 1, 12, dtype=np.int64)
    return LabelledSplit(Sequences(symbols.astype(np.uint8).reshape(-1), offsets), rows, labels)


def traced(source: str, profile: LraProfile) -> Bundle:
    """What a fit container makes of a submission."""
    contract = CONTRACTS[profile.task]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.py"
        path.write_text(source)
        module_class = load_module_class(path, contract.class_name)
    request = TraceRequest(contract, profile.defaults, profile.eval_batch_size, "cpu")
    graphs: Mapping[str, bytes] = dict(trace(module_class, request))
    return Bundle("cpu", profile.defaults, graphs)


def judged(
    bundle: Bundle,
    profile: LraProfile,
    limits: JudgeLimits | None = None,
    *,
    controls: bool = False,
    public: LabelledSplit | None = None,
) -> ModuleScore:
    """The judge's verdict on a bundle, sent through its stored form."""
    received = read_bundle(write_bundle(bundle), profile, configurable=False)
    return score_module(
        received, profile, replace(small_splits(profile.task), public=public), seed=11, limits=limits or JudgeLimits(), started_s=time.monotonic(),
        note=lambda text: None, controls=controls,
    )  # fmt: skip
