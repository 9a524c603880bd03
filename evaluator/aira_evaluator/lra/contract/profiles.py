"""The two profiles: `paper` (Table 12), and `cpu`, the same code shrunk to one core and about a minute a candidate.

docs/lra.md says what comes from the paper, what from the public code, and what is our choice. Numbers of different
profiles are never compared. Not covered: budgets of a search, which are in the tasks' metadata.yaml.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from aira_evaluator.lra.contract.hyperparameters import Hyperparameters, Range
from aira_evaluator.lra.contract.submission import TaskName

NAMES = ("cpu", "paper")
METRIC = "Accuracy"


@dataclass(frozen=True)
class SplitSizes:
    """Examples of each split; None takes all there are in that part of the public data."""

    train: int | None
    validation: int
    """The public one, carved from the public train data with a fixed seed; agents see it."""
    hidden_validation: int
    hidden_test: int


@dataclass(frozen=True)
class ListOpsShape:
    """How ListOps expressions are drawn (Nangia and Bowman 2018; limits of the public LRA generator)."""

    max_depth: int
    max_arguments: int
    longer_than: int
    shorter_than: int
    """An expression is kept where `longer_than < tokens < shorter_than`."""


@dataclass(frozen=True)
class LraProfile:
    """Everything that decides a score besides the module and the seeds."""

    name: str
    task: TaskName
    defaults: Hyperparameters
    """Fixed in the non-configurable task, overridable in the configurable one."""
    ranges: Mapping[str, Range]
    """Admitted constants of the configurable task, by field of `Hyperparameters`."""
    max_train_tokens: int
    """Bound of batch x length x steps of the configurable task."""
    sizes: SplitSizes
    eval_batch_size: int
    eval_subset: int
    """Examples of the hidden validation split evaluated while training; the full splits are evaluated at the end."""
    listops: ListOpsShape | None = None


def _ranges(
    *, seq_len: int, train_steps: int, warmup_steps: int, num_layers: int, num_heads: int, width: int, mlp_dim: int
) -> Mapping[str, Range]:
    """Admitted values, up to the given ones where profiles differ."""
    return {
        "seq_len": (16, seq_len),
        "learning_rate": (1e-6, 0.05),
        "batch_size": (1, 128),
        "train_steps": (1, train_steps),
        "num_layers": (1, num_layers),
        "num_heads": (1, num_heads),
        "emb_dim": (8, width),
        "qkv_dim": (8, width),
        "mlp_dim": (16, mlp_dim),
        "weight_decay": (0.0, 0.5),
        "warmup_steps": (1, warmup_steps),
        "eval_frequency": (5, 4000),
        "random_seed": (0, 2**31 - 1),
    }


def _paper(
    task: TaskName, defaults: Hyperparameters, sizes: SplitSizes, listops: ListOpsShape | None = None
) -> LraProfile:
    """Ranges: what Table 13 shows agents tried over all tasks, widened to hold every default of Table 12."""
    ranges = _ranges(
        seq_len=8192, train_steps=30_000, warmup_steps=8000, num_layers=12, num_heads=16, width=512, mlp_dim=2048
    )  # fmt: skip
    return LraProfile(
        "paper", task, defaults, ranges, max_train_tokens=8 * defaults.train_tokens,
        sizes=sizes, eval_batch_size=64, eval_subset=512, listops=listops,
    )  # fmt: skip


def _cpu(
    task: TaskName, defaults: Hyperparameters, sizes: SplitSizes, listops: ListOpsShape | None = None
) -> LraProfile:
    """Ranges: such that the largest module admitted is still trained on one core in minutes."""
    steps = 4 * defaults.train_steps
    ranges = _ranges(
        seq_len=2 * defaults.seq_len, train_steps=steps, warmup_steps=steps, num_layers=6, num_heads=8, width=128,
        mlp_dim=256,
    )  # fmt: skip
    return LraProfile(
        "cpu", task, defaults, ranges, max_train_tokens=2 * defaults.train_tokens,
        sizes=sizes, eval_batch_size=100, eval_subset=200, listops=listops,
    )  # fmt: skip


PAPER_LISTOPS = _paper(
    "listops",
    Hyperparameters(
        seq_len=2000, learning_rate=1e-4, batch_size=16, train_steps=5000, num_layers=4, num_heads=8, emb_dim=512,
        qkv_dim=512, mlp_dim=1024, weight_decay=0.01, warmup_steps=1000, eval_frequency=50,
    ),
    SplitSizes(train=96_000, validation=2000, hidden_validation=2000, hidden_test=2000),
    ListOpsShape(max_depth=10, max_arguments=10, longer_than=500, shorter_than=2000),
)  # fmt: skip
PAPER_TEXT = _paper(
    "text",
    Hyperparameters(
        seq_len=1000, learning_rate=1e-4, batch_size=16, train_steps=20_000, num_layers=6, num_heads=8, emb_dim=512,
        qkv_dim=512, mlp_dim=2048, weight_decay=0.01, warmup_steps=500, eval_frequency=50,
    ),
    SplitSizes(train=None, validation=2500, hidden_validation=5000, hidden_test=7500),
)  # fmt: skip
PAPER_RETRIEVAL = _paper(
    "retrieval",
    Hyperparameters(
        seq_len=4000, learning_rate=1e-4, batch_size=8, train_steps=5000, num_layers=4, num_heads=4, emb_dim=128,
        qkv_dim=128, mlp_dim=512, weight_decay=0.01, warmup_steps=8000, eval_frequency=50,
    ),
    SplitSizes(train=None, validation=5000, hidden_validation=8000, hidden_test=8000),
)  # fmt: skip
CPU_LISTOPS = _cpu(
    "listops",
    Hyperparameters(
        seq_len=48, learning_rate=2e-3, batch_size=32, train_steps=1200, num_layers=2, num_heads=4, emb_dim=64,
        qkv_dim=64, mlp_dim=128, weight_decay=0.01, warmup_steps=100, eval_frequency=200,
    ),
    SplitSizes(train=20_000, validation=1000, hidden_validation=1000, hidden_test=1000),
    ListOpsShape(max_depth=4, max_arguments=5, longer_than=10, shorter_than=48),
)  # fmt: skip
CPU_TEXT = _cpu(
    "text",
    Hyperparameters(
        seq_len=256, learning_rate=2e-3, batch_size=16, train_steps=400, num_layers=2, num_heads=4, emb_dim=32,
        qkv_dim=32, mlp_dim=64, weight_decay=0.01, warmup_steps=50, eval_frequency=100,
    ),
    SplitSizes(train=8000, validation=500, hidden_validation=500, hidden_test=500),
)  # fmt: skip
CPU_RETRIEVAL = _cpu(
    "retrieval",
    Hyperparameters(
        seq_len=128, learning_rate=2e-3, batch_size=32, train_steps=500, num_layers=2, num_heads=4, emb_dim=32,
        qkv_dim=32, mlp_dim=64, weight_decay=0.01, warmup_steps=50, eval_frequency=100,
    ),
    SplitSizes(train=8000, validation=500, hidden_validation=500, hidden_test=500),
)  # fmt: skip

PROFILES: Mapping[tuple[str, TaskName], LraProfile] = {
    (profile.name, profile.task): profile
    for profile in (PAPER_TEXT, PAPER_LISTOPS, PAPER_RETRIEVAL, CPU_TEXT, CPU_LISTOPS, CPU_RETRIEVAL)
}
"""Every profile of every task, by name of the profile and of the task."""
