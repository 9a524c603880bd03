"""A training's folder as one who uses its model reads it: the record, what the tokens were, and a checkpoint's model.

Not covered: how far a training came otherwise, and going on with it (`train`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aira_contract.model_sizes import model_size, space_of
from aira_contract.patterns import read_pattern
from aira_contract.pretraining import CHECKPOINTS, RECORD, TOKENIZER, TOKENS
from aira_evaluator.pretrain.checkpoints import half_checkpoints, load_weights, whole_checkpoints
from aira_evaluator.split_manifest import MANIFEST, DataError
from aira_kernels.large import LargeLanguageModel

OWN = "byte pairs of our own"
"""What tokenizers are called that stand in for one that was not at hand."""


@dataclass(frozen=True)
class TrainedTokens:
    """What a model's token ids stand for."""

    name: str
    synthetic: bool
    tokenizer: str
    own_tokenizer: bool
    separator: int
    """Begins each document."""
    tokenizer_file: Path | None
    """None where no file was kept."""

    @classmethod
    def of(cls, folder: Path, manifest: str, sha256: object) -> "TrainedTokens":
        """Read a manifest of tokens and the tokenizer beside it.

        Args:
            folder: where both are.
            manifest: what the manifest is called there.
            sha256: of the manifest, as the training's record has it.

        Raises:
            DataError: it cannot be read, or is of other tokens than were trained on.
        """
        path, file = folder / manifest, folder / TOKENIZER
        try:
            data = path.read_bytes()
            found = json.loads(data)
            tokens = cls(
                str(found["name"]), bool(found["synthetic"]), str(found["tokenizer"]),
                bool(found.get("own_tokenizer", found["tokenizer"] == OWN)), int(found["separator"]),
                file if file.is_file() else None,
            )  # fmt: skip
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is no manifest of tokens: {error!r}") from None
        if hashlib.sha256(data).hexdigest() != sha256:
            raise DataError(f"{path} is of other tokens than the training's record names")
        return tokens


class TrainedFolder:
    """The folder of one training.

    Raises:
        DataError: there is no record, or it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / RECORD
        try:
            self.record: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            identity = self.record["identity"]
            self.pattern, self.scale, self.steps = identity["pattern"], identity["scale"], int(identity["steps"])
            self.layers = read_pattern(self.pattern)
            self.size = model_size(self.scale, space_of(self.layers))
            recipe = identity["recipe"]
            self.recipe, self.vocabulary = str(recipe["name"]), int(recipe["vocabulary"])
            self.length, self.precision = int(recipe["sequence_tokens"]), str(recipe["precision"])
            self._data: Mapping[str, Any] = identity["data"]
        except OSError as error:
            raise DataError(f"{path}: {error.strerror or error}; is {folder} the folder of a training?") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path} is no record of a training: {error!r}") from None

    def tokens(self, data: Path | None = None) -> TrainedTokens | None:
        """Return what the tokens were: of the copy kept here, or of the folder of tokens; None where neither is.

        Raises:
            DataError: what is there is of other tokens.
        """
        if data is not None:
            return TrainedTokens.of(data, MANIFEST, self._data.get("sha256"))
        if (self.folder / TOKENS).exists():
            return TrainedTokens.of(self.folder, TOKENS, self._data.get("sha256"))
        return None

    def newest(self, step: int | None) -> int:
        """Return the step of a whole checkpoint: the one that is asked for, or the newest.

        Raises:
            DataError: it was cut off, or there is none; it says which are whole.
        """
        place = self.folder / CHECKPOINTS
        whole, half = whole_checkpoints(place), half_checkpoints(place)
        said = f"whole are {', '.join(map(str, whole)) or 'none'}"
        cut = ", ".join(f"step-{each:08}" for each in half)
        if step is None and not whole:
            raise DataError(f"{place} has no whole checkpoint" + (f"; {cut} was cut off before .metadata" * bool(half)))
        if step in half:
            raise DataError(f"{place / f'step-{step:08}'} was cut off: it has no .metadata; {said}")
        if step is not None and step not in whole:
            raise DataError(f"{place} has no checkpoint of step {step}; {said}")
        return whole[-1] if step is None else step

    def model(self, step: int) -> LargeLanguageModel:
        """Return the model of a whole checkpoint, in float32 on the CPU.

        Raises:
            DataError: the checkpoint is damaged.
        """
        # Nothing is drawn: every weight is read.
        model = LargeLanguageModel(
            self.layers, self.size, generator=torch.Generator(), vocabulary=self.vocabulary, device="meta"
        ).to_empty(device="cpu")
        load_weights(self.folder / CHECKPOINTS, step, model)
        return model

    def notes(self, tokens: TrainedTokens | None, step: int) -> tuple[str, ...]:
        """Say what one has to know who uses the model."""
        said = []
        if step < self.steps:
            said.append(f"The training is not finished: step {step:,} of {self.steps:,}.")
        if tokens is None:
            said.append("No tokenizer: the training's folder keeps none, and no folder of tokens was named.")
        elif tokens.tokenizer_file is None:
            said.append(f"No tokenizer: no file of {tokens.tokenizer} lies beside the tokens.")
        elif tokens.own_tokenizer:
            said.append(
                f"The tokenizer is one of our own ({tokens.tokenizer}), not that of Llama 3: losses and scores do not "
                "compare with published ones."
            )
        if self._data.get("synthetic"):
            said.append(f"Trained on synthetic text ({self._data.get('name')}).")
        return tuple(said)


def weights_sha256(model: nn.Module) -> str:
    """Return the hash of all weights: name, type, shape and numbers, in the order of names."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
