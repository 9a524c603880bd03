"""Folders of models in transformers itself: loaded with their own model file, offline, with equal logits.

Needs `aira-bench[hf]`; `make test-formats` has it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from aira_kernels.hugging_face.folder import read_folder, write_folder  # noqa: E402
from aira_kernels.hugging_face.tensor_file import read_tensors  # noqa: E402
from aira_kernels.large import LargeLanguageModel  # noqa: E402
from kernels.test_hugging_face_folder import toy_model  # noqa: E402

Exported = tuple[LargeLanguageModel, Path]
FAMILIES = {"former": "2A-M-A", "mamba": "Mb-M-Mb", "hybrid": "2Mb-M-A-M-Mb"}


def _loaded(folder: Path, monkeypatch: pytest.MonkeyPatch, **more: object) -> Any:  # noqa: ANN401
    """A model as a stranger's program gets it: no network, and a cache of modules that is new."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(folder.parent / "home"))
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, **more)


@pytest.fixture(params=FAMILIES)
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> Exported:
    """A toy of each family, and its folder."""
    model = toy_model(FAMILIES[request.param])
    write_folder(model, tmp_path / "model")
    return model, tmp_path / "model"


def test_logits_are_equal_and_every_weight_is_taken(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    model, folder = exported
    theirs, said = _loaded(folder, monkeypatch, output_loading_info=True)
    assert not any(said.values()), said
    assert sum(each.numel() for each in theirs.parameters()) == sum(each.numel() for each in model.parameters())
    tokens = torch.randint(1, 61, (3, 70), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        # In float32 what either rounds is up to 2e-5 of a logit of these loud weights.
        torch.testing.assert_close(theirs(tokens).logits, model(tokens), rtol=1e-5, atol=5e-5)
        torch.testing.assert_close(theirs.double()(tokens).logits, model.double()(tokens), rtol=0, atol=1e-5)


def test_generating_with_the_cache_is_generating_without(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    model, folder = exported
    theirs = _loaded(folder, monkeypatch)
    tokens = torch.randint(1, 61, (2, 19), generator=torch.Generator().manual_seed(2))
    greedy = {"max_new_tokens": 24, "do_sample": False, "pad_token_id": 0}
    with torch.no_grad():
        seen: list[int] = []
        theirs.embed.register_forward_hook(lambda _module, inputs, _out: seen.append(inputs[0].shape[1]))
        cached = theirs.generate(tokens, **greedy)
        assert seen == [19] + [1] * 23  # the cache is used: one token a step
        plain = theirs.generate(tokens, use_cache=False, **greedy)
        ours = tokens
        for _ in range(24):
            ours = torch.cat((ours, model(ours)[:, -1:].argmax(-1)), dim=1)
    assert torch.equal(cached, plain)
    assert torch.equal(cached, ours)
    assert len(set(cached[0, 19:].tolist())) > 2


def test_beams_carry_their_caches_along(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = exported
    theirs = _loaded(folder, monkeypatch)
    tokens = torch.randint(1, 61, (2, 9), generator=torch.Generator().manual_seed(3))
    beams = {"max_new_tokens": 12, "num_beams": 3, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(theirs.generate(tokens, **beams), theirs.generate(tokens, use_cache=False, **beams))


def test_a_text_in_pieces_has_the_logits_of_the_whole(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    _, folder = exported
    theirs = _loaded(folder, monkeypatch).double()
    tokens = torch.randint(1, 61, (2, 50), generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        whole, cache, found = theirs(tokens).logits, None, []
        for piece in tokens.split([17, 1, 30, 2], dim=1):
            out = theirs(piece, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            found.append(out.logits)
    torch.testing.assert_close(torch.cat(found, dim=1), whole, rtol=0, atol=1e-5)


def test_what_transformers_saves_is_read_back_in_several_files_too(
    exported: Exported,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    model, folder = exported
    theirs = _loaded(folder, monkeypatch)
    theirs.save_pretrained(tmp_path / "saved", max_shard_size="100KB")
    assert len(list((tmp_path / "saved").glob("*.safetensors"))) > 1
    again, tokens = read_folder(tmp_path / "saved"), torch.arange(30)[None]
    assert torch.equal(again(tokens), model(tokens))


def test_our_tensor_file_is_theirs(exported: Exported) -> None:
    from safetensors.torch import load_file, save_file

    model, folder = exported
    theirs = load_file(folder / "model.safetensors")
    assert theirs.keys() == model.state_dict().keys()
    assert all(torch.equal(theirs[name], weight) for name, weight in model.state_dict().items())
    save_file(theirs, folder / "saved.safetensors")
    assert all(torch.equal(theirs[name], weight) for name, weight in read_tensors(folder / "saved.safetensors").items())


def test_losses_are_of_the_next_tokens_and_padding_on_the_left_is_refused(
    exported: Exported,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, folder = exported
    theirs = _loaded(folder, monkeypatch)
    tokens = torch.arange(12)[None]
    expected = torch.nn.functional.cross_entropy(model(tokens)[0, :-1], tokens[0, 1:])
    torch.testing.assert_close(theirs(tokens, labels=tokens).loss, expected)
    behind = torch.tensor([[1] * 9 + [0] * 3])
    torch.testing.assert_close(theirs(tokens, attention_mask=behind).logits[:, :9], model(tokens)[:, :9])
    with pytest.raises(ValueError, match="padded on the left"):
        theirs(tokens, attention_mask=behind.flip(1))


def test_a_folder_loads_where_our_packages_are_not(tmp_path: Path) -> None:
    model, folder = toy_model(FAMILIES["hybrid"]), tmp_path / "model"
    write_folder(model, folder)
    program = (
        "import sys, json, torch\n"
        "for name in ('aira_kernels', 'aira_contract', 'aira_bench'): sys.modules[name] = None\n"
        "from transformers import AutoModelForCausalLM\n"
        f"model = AutoModelForCausalLM.from_pretrained({str(folder)!r}, trust_remote_code=True).eval()\n"
        "print(json.dumps(model(torch.arange(8)[None]).logits[0, -1].tolist()))\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=240, check=True
    )
    found = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    torch.testing.assert_close(found, model(torch.arange(8)[None])[0, -1], rtol=0, atol=1e-5)
