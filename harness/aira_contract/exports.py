"""What an export of a checkpoint is asked for, and its answer: one JSON document each.

Written by the host (`aira-bench scale export`), carried out where torch is (`aira_evaluator.pretrain.export`). Not
covered: what the folders hold (`aira_contract.pretraining`, docs/scaling.md).
"""

import json
from dataclasses import asdict, dataclass

PROCESS = "aira_evaluator.pretrain.export"
"""The module that carries it out: `python -m` of it reads a request and prints an answer."""
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class ExportRequest:
    """A checkpoint to a folder for transformers, or such a folder to a checkpoint."""

    source: str
    """The folder of a training; or, back, one for transformers."""
    out: str
    """A folder that is not there, or empty."""
    back: bool = False
    step: int | None = None
    """Whose checkpoint; None for the newest whole one."""
    data: str | None = None
    """The folder of tokens that was trained on, where the training's own folder has no copy of what it says."""
    dtype: str = "float32"
    """Of the weights in a folder for transformers; float32 is what is trained."""

    def to_json(self) -> str:
        """Return the document that the process reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ExportRequest":
        """Read the document that `to_json` writes."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Exported:
    """What an export has written, of which weights."""

    pattern: str
    scale: str
    step: int
    steps: int
    """Of the whole training."""
    parameters: int
    weights_sha256: str
    """Of all weights by name, as they stand in what was written."""
    tokenizer: str | None
    """Its name, where one lies beside the weights."""
    notes: tuple[str, ...]
    """What a reader has to know: own tokenizers, synthetic text, trainings that were not finished."""

    def to_line(self) -> str:
        """Return the line that the process prints."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, text: str) -> "Exported":
        """Read the line that `to_line` writes.

        Raises:
            ValueError: it is none.
        """
        try:
            entries = json.loads(text)
            return cls(**entries | {"notes": tuple(entries["notes"])})
        except (TypeError, KeyError) as error:
            raise ValueError(f"no answer of an export: {error}") from None
