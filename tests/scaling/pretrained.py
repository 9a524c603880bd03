"""Folders as the trainer leaves them, without a training."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from aira_contract.model_sizes import model_size, space_of
from aira_contract.presets import read_architecture
from aira_contract.pretraining import RECORD, PretrainIdentity, PretrainRecord
from aira_contract.recipes import find_recipe
from aira_contract.training_arithmetic import count_layers, flops_per_token, parameters_with_embedding

DATA: Mapping[str, object] = {"name": "planted", "sha256": "0" * 64, "tokenizer": "bytes", "synthetic": True}


def pretrained(
    folder: Path, architecture: str, scale: str, recipe: str, loss: float | None, *, seed: int = 0,
    finished: bool = True, data: Mapping[str, object] = DATA,
) -> Path:  # fmt: skip
    """Write the record of one training below a folder and return the training's own."""
    found, layers = find_recipe(recipe), read_architecture(architecture, scale)
    size, counts = model_size(scale, space_of(layers)), count_layers(layers)
    steps = found.steps_of(layers, scale)
    identity = PretrainIdentity(
        1, "-".join(layers), scale, {"name": recipe, **asdict(found)}, seed, data, steps,
        parameters_with_embedding(counts, size, found.vocabulary), flops_per_token(counts, size),
    )  # fmt: skip
    record = PretrainRecord(identity, steps if finished else steps // 2, finished, loss, 1, "none", 1.0)
    place = folder / f"{architecture}-{scale}-{recipe}-{seed}".replace(" ", "-")
    place.mkdir(parents=True)
    (place / RECORD).write_text(json.dumps(asdict(record)))
    return place
