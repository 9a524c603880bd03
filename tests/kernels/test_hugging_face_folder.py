"""Models as folders: written and read back with torch alone, and what is no such folder refused."""

import json
from pathlib import Path

import pytest
import torch

from aira_contract.model_sizes import TOY_SCALE, model_size, space_of
from aira_contract.patterns import read_pattern
from aira_kernels.hugging_face.folder import SEPARATOR, read_folder, write_folder
from aira_kernels.hugging_face.tensor_file import TensorFileError, read_tensors, write_tensors
from aira_kernels.large import LargeLanguageModel


def toy_model(pattern: str) -> LargeLanguageModel:
    """A toy of these layers whose weights are far from those of a new one."""
    layers, generator = read_pattern(pattern), torch.Generator().manual_seed(0)
    sizes = model_size(TOY_SCALE, space_of(layers))
    model = LargeLanguageModel(layers, sizes, generator=generator, vocabulary=61)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        for parameter in model.layers.parameters():  # layers that say more than the residual path, which repeats itself
            if parameter.ndim > 1:
                parameter.add_(0.25 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.mark.parametrize("pattern", ["2(A-M)", "2Mb-M", "Mb-A-M-Mb"])
def test_a_model_is_read_back_as_it_was(pattern: str, tmp_path: Path) -> None:
    model, tokens = toy_model(pattern), torch.arange(20)[None] % 61
    write_folder(model, tmp_path / "made" / "model")
    again = read_folder(tmp_path / "made" / "model")
    assert again.architecture == model.architecture
    assert again.sizes == model.sizes
    assert torch.equal(again(tokens), model(tokens))
    assert {path.name for path in (tmp_path / "made" / "model").iterdir()} == {
        "config.json", "model.safetensors", "modeling_aira.py",
    }  # fmt: skip


def test_weights_keep_their_type(tmp_path: Path) -> None:
    model = toy_model("A-Mb").bfloat16()
    write_folder(model, tmp_path / "model")
    again = read_folder(tmp_path / "model")
    assert {parameter.dtype for parameter in again.parameters()} == {torch.bfloat16}
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    for ours, same in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, same)


def test_a_tokenizer_that_knows_the_separator_goes_along_as_it_is(tmp_path: Path) -> None:
    tokenizer = tmp_path / "tokens.json"
    tokenizer.write_text(json.dumps({"added_tokens": [{"id": 7, "content": "<|begin_of_text|>"}], "model": {}}))
    write_folder(toy_model("A"), tmp_path / "model", tokenizer=tokenizer, separator=7, length=256)
    assert (tmp_path / "model" / "tokenizer.json").read_bytes() == tokenizer.read_bytes()
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"], config["max_position_embeddings"]) == (7, 7, 256)
    said = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    assert (said["tokenizer_class"], said["model_max_length"]) == ("PreTrainedTokenizerFast", 256)
    assert said["bos_token"] == said["eos_token"] == "<|begin_of_text|>"


def test_a_separator_that_the_tokenizer_does_not_know_is_added_behind_what_it_does_already(tmp_path: Path) -> None:
    tokenizer, before = tmp_path / "tokens.json", {"type": "ByteLevel", "trim_offsets": True}
    tokenizer.write_text(json.dumps({"added_tokens": [], "model": {"vocab": {"a": 0}}, "post_processor": before}))
    write_folder(toy_model("A"), tmp_path / "model", tokenizer=tokenizer, separator=1)
    found = json.loads((tmp_path / "model" / "tokenizer.json").read_text())
    assert [(each["id"], each["content"], each["special"]) for each in found["added_tokens"]] == [(1, SEPARATOR, True)]
    first, then = found["post_processor"]["processors"]
    assert (first, then["type"]) == (before, "TemplateProcessing")
    assert json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())["bos_token"] == SEPARATOR


def test_a_folder_with_something_in_it_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        write_folder(toy_model("A"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_folder_whose_files_do_not_fit_is_refused(tmp_path: Path) -> None:
    write_folder(toy_model("A-M"), tmp_path / "model")
    config = tmp_path / "model" / "config.json"
    said = json.loads(config.read_text())
    for changed, wrong in (
        ({"model_type": "llama"}, "a model of type 'llama'"),
        ({"layers": "AMM"}, "missing or unknown"),
        ({"vocab_size": 60}, "embed.weight is \\(61, 64\\), expected \\(60, 64\\)"),
        ({"sizes": {}}, "KeyError..scale.. is missing"),
    ):
        config.write_text(json.dumps(said | changed))
        with pytest.raises(ValueError, match=wrong):
            read_folder(tmp_path / "model")


def test_tensors_of_every_type_and_shape_come_back(tmp_path: Path) -> None:
    types = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
    tensors = {str(dtype): torch.randn(3, 5).to(dtype) for dtype in types}
    tensors |= {
        "whole": torch.arange(4), "empty": torch.empty(0, 3), "one": torch.tensor(2.5), "strided": torch.randn(4, 6).t(),
    }  # fmt: skip
    write_tensors(tmp_path / "x", tensors, {"format": "pt"})
    found = read_tensors(tmp_path / "x")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
        {"dtype": "F99", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": "4", "data_offsets": [0, 16]},
        {"shape": [4], "data_offsets": [0, 16]},
        7,
    ],
)
def test_a_tensor_file_whose_parts_do_not_fit_is_refused(entry: object, tmp_path: Path) -> None:
    header = json.dumps({"x": entry}).encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    with pytest.raises(TensorFileError):
        read_tensors(tmp_path / "x")


@pytest.mark.parametrize("data", [b"", b"1234567", b"\xff" * 100, (50).to_bytes(8, "little") + b"x" * 50])
def test_a_file_without_a_header_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(TensorFileError):
        read_tensors(tmp_path / "x")
