"""The two profiles of Autoresearch: `paper`, and `cpu`, the same script and code shrunk to half a minute on one core.

Sequence length, vocabulary and depth of `paper` are those of the public reference the paper builds on
(paper, section 4.1 and Table 5); everything of `cpu` is our choice. Numbers of different profiles are never compared.

Not covered: how long a served model may take (`judge.rules`); how long a script may train, and a search's budgets,
which are in the tasks' metadata.yaml.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class AutoresearchProfile:
    """Everything that decides the data and the baseline script."""

    name: str
    sequence_length: int
    """Tokens a model reads in one row, `MAX_SEQ_LEN` of a script."""
    vocabulary: int
    """Tokens in all, the beginning-of-document token included."""
    public_validation_tokens: int
    """Targets of the public number that `evaluate_bpb` returns, `EVAL_TOKENS` of a script."""
    hidden_tokens: int
    """At most so many targets in each hidden split."""
    pool_factor: int
    """A submission is asked about one of so many hidden rows, drawn anew for each."""
    predict_containers: int
    """Among so many the questions about one submission are split, so that what one of them is asked shares no source.

    With more than one, hidden rows hold text of one source each, and a source has at most so many rows.
    """
    questions: Mapping[str, int]
    """Predictions that are asked for in each hidden split, by seed set."""
    public_questions: int
    """Predictions that are asked for of the public rows that a script claims a number on."""
    reference_budgets_s: tuple[float, ...]
    """Seconds of training of each reference model; the last one trains longest. Each has a seed of its own."""
    tokenizer_characters: int
    """About so many characters of public train text train the tokenizer, an equal share from each shard's start."""
    val_characters: int
    """About so many characters are read of the public validation shard."""
    hidden_characters: int
    """About so many are read of each hidden shard."""
    baseline: Mapping[str, int | str] = field(default_factory=dict)
    """Constants of the baseline script that differ from the file in the task folder."""
    trains_on_gpu: bool = False
    """The baseline is of a size that a CPU cannot train, so neither can references be."""
    public_corpus: bool = False
    """The hidden text can be read elsewhere in the agent's container, so a score is no evidence of generalization."""


PAPER = AutoresearchProfile(
    name="paper",
    sequence_length=2048,
    vocabulary=8192,
    # The reference evaluates on 40 batches of 2^19 tokens; an eighth of that costs a script 1 % of its budget.
    public_validation_tokens=5 * 2**19,
    # 12,800 rows of each hidden split, of which 1,280 are asked about: at 20,000 questions 16 a row, at 100,000 78.
    hidden_tokens=25 * 2**20,
    pool_factor=10,
    predict_containers=1,
    questions={"search": 20_000, "final": 100_000},
    public_questions=4_000,
    reference_budgets_s=(75, 300, 300, 900),
    tokenizer_characters=250_000_000,
    val_characters=60_000_000,
    hidden_characters=300_000_000,
    trains_on_gpu=True,
)

CPU = AutoresearchProfile(
    name="cpu",
    sequence_length=256,
    vocabulary=2048,
    # The first rows that best fit packs are the easiest, so the number of rows matters.
    public_validation_tokens=2**15,
    # All that a fifth of the standard library gives at three rows a file: about 60 rows of each hidden split.
    hidden_tokens=2**15,
    pool_factor=1,
    predict_containers=3,
    questions={"search": 2_000, "final": 5_000},
    public_questions=1_000,
    reference_budgets_s=(6, 25, 25, 75),
    tokenizer_characters=2_000_000,
    val_characters=8_000_000,
    hidden_characters=8_000_000,
    baseline={
        "DEPTH": 2,
        "HEAD_DIM": 32,
        "DEVICE_BATCH_SIZE": 8,
        "TOTAL_BATCH_SIZE": 2048,
        "UNCOUNTED_STEPS": 0,
    },
    public_corpus=True,
)

PROFILES: Mapping[str, AutoresearchProfile] = {profile.name: profile for profile in (PAPER, CPU)}
