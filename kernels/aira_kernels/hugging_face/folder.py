"""Writes a full-size model as a Hugging Face folder, and reads one back.

    config.json           sizes, layers, and which classes of the model file stand for which of transformers' own
    model.safetensors     the weights, under the names they have in `aira_kernels.large`
    modeling_aira.py      a model file of its own: plain PyTorch, with a cache, without this package
    tokenizer.json        where one is given, with tokenizer_config.json

Texts in training begin with a separator, which is both the first token of a text and what comes after its last.
transformers loads it with `trust_remote_code=True`, which runs the model file. Reading it back runs nothing of it.
Not covered: sharding while writing; folders that transformers has saved in several files are read.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aira_contract.model_sizes import SEQUENCE_TOKENS, ModelSize
from aira_contract.patterns import read_pattern
from aira_contract.primitives import BY_SYMBOL
from aira_kernels.backend import Backend
from aira_kernels.hugging_face.tensor_file import TensorFileError, read_tensors, write_tensors
from aira_kernels.large import LargeLanguageModel

MODEL_TYPE = "aira"
CONFIG, WEIGHTS, INDEX, MODEL_FILE = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "modeling_aira.py",
)
TOKENIZER, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
SEPARATOR = "<|separator|>"
"""What a separator is called that the tokenizer's own file does not know."""


def write_folder(
    model: LargeLanguageModel,
    folder: Path,
    *,
    tokenizer: Path | None = None,
    separator: int | None = None,
    length: int = SEQUENCE_TOKENS,
) -> None:
    """Write a model where nothing is yet; config.json goes last, so that a folder with one is whole.

    Args:
        model: whose weights are written in their own type.
        folder: is made, with those above it.
        tokenizer: a file of the `tokenizers` library that goes with the model.
        separator: the id that documents begin with; one that the file does not know is added to the copy, which then
            puts it before each text.
        length: positions of a sequence in training.

    Raises:
        FileExistsError: there is such a folder with something in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    weights = dict(model.state_dict())
    write_tensors(folder / WEIGHTS, weights, {"format": "pt"})
    shutil.copyfile(Path(__file__).with_name(MODEL_FILE), folder / MODEL_FILE)
    config = _config(model, separator, length)
    if tokenizer is not None:
        _write_tokenizer(tokenizer, separator, length, folder)
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def read_folder(folder: Path, *, device: torch.device | str = "cpu", backend: Backend = "auto") -> LargeLanguageModel:
    """Return the model of a folder that `write_folder` or transformers wrote, its weights in their own types.

    Raises:
        ValueError: the folder's files are not those of such a model, or do not fit each other.
    """
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    if config.get("model_type") != MODEL_TYPE:
        raise ValueError(f"{folder}: a model of type {config.get('model_type')!r}, expected {MODEL_TYPE!r}")
    try:
        sizes = ModelSize(**{each.name: config["sizes"][each.name] for each in fields(ModelSize)})
        layers, vocabulary = read_pattern(config["layers"]), int(config["vocab_size"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG}: {error!r} is missing or of another kind") from None
    model = LargeLanguageModel(
        layers, sizes, generator=torch.Generator(), vocabulary=vocabulary, device="meta", backend=backend
    )
    found, expected = _weights(folder), model.state_dict()
    if found.keys() != expected.keys():
        raise ValueError(f"{folder}: weights {sorted(found.keys() ^ expected.keys())[:5]} are missing or unknown")
    for name, weight in found.items():
        if weight.shape != expected[name].shape:
            raise ValueError(f"{folder}: {name} is {tuple(weight.shape)}, expected {tuple(expected[name].shape)}")
    model.load_state_dict(found, assign=True)
    return model.to(device)


def _config(model: LargeLanguageModel, separator: int | None, length: int) -> dict[str, object]:
    sizes = model.sizes
    return {
        "architectures": ["AiraForCausalLM"],
        "auto_map": {
            "AutoConfig": "modeling_aira.AiraConfig", "AutoModelForCausalLM": "modeling_aira.AiraForCausalLM",
        },
        "model_type": MODEL_TYPE,
        "layers": "".join(BY_SYMBOL[symbol].letter for symbol in model.architecture),
        "sizes": asdict(sizes),
        "vocab_size": model.embed.weight.shape[0],
        "hidden_size": sizes.width,
        "num_hidden_layers": len(model.architecture),
        "num_attention_heads": sizes.query_heads,
        "max_position_embeddings": length,
        "tie_word_embeddings": True,
        "dtype": str(model.embed.weight.dtype).removeprefix("torch."),
        "bos_token_id": separator,
        "eos_token_id": separator,
        "pad_token_id": None,
    }  # fmt: skip


def _write_tokenizer(tokenizer: Path, separator: int | None, length: int, folder: Path) -> None:
    """Copy a tokenizer, and say what transformers needs to know of it."""
    known = json.loads(tokenizer.read_text(encoding="utf-8"))
    said: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": length}
    names = {index: name for name, index in known.get("model", {}).get("vocab", {}).items()}
    names |= {each["id"]: each["content"] for each in known.get("added_tokens", [])}
    if separator is None or separator in names:
        shutil.copyfile(tokenizer, folder / TOKENIZER)
    else:
        text = json.dumps(_with_separator(known, separator), ensure_ascii=False) + "\n"
        (folder / TOKENIZER).write_text(text, encoding="utf-8")
    if separator is not None:
        said["bos_token"] = said["eos_token"] = names.get(separator, SEPARATOR)
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


def _with_separator(known: dict[str, Any], separator: int) -> dict[str, Any]:
    """A tokenizer's file with one more special token, which comes before each text."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    token = {"SpecialToken": {"id": SEPARATOR, "type_id": 0}}
    first, second = ({"Sequence": {"id": each, "type_id": 0}} for each in "AB")
    template = {
        "type": "TemplateProcessing", "single": [token, first], "pair": [token, first, second],
        "special_tokens": {SEPARATOR: {"id": SEPARATOR, "ids": [separator], "tokens": [SEPARATOR]}},
    }  # fmt: skip
    before = known.get("post_processor")
    return known | {
        "added_tokens": [*known.get("added_tokens", []), {"id": separator, "content": SEPARATOR, **flags}],
        "post_processor": {"type": "Sequence", "processors": [before, template]} if before else template,
    }


def _weights(folder: Path) -> dict[str, Tensor]:
    """The weights of one file, or of the several that transformers makes of a large model."""
    if not (folder / INDEX).is_file():
        return read_tensors(folder / WEIGHTS)
    places: Mapping[str, str] = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
    found: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        if Path(name).name != name:
            raise TensorFileError(f"{folder / INDEX}: {name!r} is no file beside it")
        found |= read_tensors(folder / name)
    return found
