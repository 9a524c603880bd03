"""The folder of one pretraining: which files it has, and what stands in them.

    pretrain.json      a `PretrainRecord`: what is trained, and how far it came; rewritten as a whole
    metrics.jsonl      a `StepMetrics` a line; no line is of a step that a restart lost
    validation.jsonl   a line a validation: step, tokens, loss
    events.jsonl       loss spikes, steps that were not finite, starts and stops
    checkpoints/       `step-00001000`, whole once the folder has `.metadata`
    tokens.json        the manifest of the tokens, as it was at the last start
    tokenizer.json     their tokenizer, where the folder of tokens has its file
    tensorboard/       where it was asked for and is installed

Losses are nats a token, means over all tokens. Written by the trainer (`aira_evaluator.pretrain`); read by the host
(`aira-bench scale fit`, `scale status`). Not covered: what is in a checkpoint (docs/pretraining.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass

SCHEMA = 1
RECORD, METRICS, VALIDATION, EVENTS = "pretrain.json", "metrics.jsonl", "validation.jsonl", "events.jsonl"
CHECKPOINTS, TENSORBOARD = "checkpoints", "tensorboard"
LOCK = ".lock"
"""Held by rank 0 as long as it lives, so that no other training begins in the folder."""
TOKENS, TOKENIZER = "tokens.json", "tokenizer.json"

STOPPED_STATUS = 75
"""Exit status of a trainer that was asked to stop and left a checkpoint: start it again."""
DIVERGED_STATUS = 76
"""Exit status of a trainer that gave up after too many steps in a row that were not finite."""


@dataclass(frozen=True)
class PretrainIdentity:
    """What is trained: fixed when a pretraining begins, and compared when it is resumed."""

    schema: int
    pattern: str
    """Its layers as symbols, one a layer, joined by dashes."""
    scale: str
    recipe: Mapping[str, object]
    """Name and all settings."""
    seed: int
    """Of initial weights and of the order of the data."""
    data: Mapping[str, object]
    """Name, SHA-256 of the manifest, tokenizer, and whether it is synthetic."""
    steps: int
    parameters: int
    """With the embedding."""
    flops_per_token: int
    """Training FLOPs by the paper's formula, without embedding and head."""


@dataclass(frozen=True)
class PretrainRecord:
    """What `pretrain.json` holds: what is trained, and how far it came."""

    identity: PretrainIdentity
    steps_done: int
    finished: bool
    validation_loss: float | None
    """The last one, None before the first; of a finished training that of the final model."""
    ranks: int
    """Of the last start."""
    device: str
    """Of the last start, as its vendor names it."""
    seconds: float
    """Of all steps done."""


@dataclass(frozen=True)
class StepMetrics:
    """What a line of `metrics.jsonl` says of one step."""

    step: int
    """Steps done, this one included."""
    loss: float | None
    """Before the step, on the step's own tokens; None where it is not finite."""
    tokens: int
    """Of all steps until then."""
    seconds: float
    """Of this step."""
    grad_norm: float | None
    """Before clipping; None where it is not finite."""
    lr: float
    tokens_per_s: float
    mfu: float | None
    """Share of the devices' peak by the paper's formula; None where no peak is known."""
    mfu_with_head: float | None
    """The same with the output head's products counted."""
    skipped: bool
    """The step was not finite and changed no weight."""
