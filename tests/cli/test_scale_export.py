"""`aira-bench scale export` as a user types it: checkpoints of toys of one rank and two, to transformers' form and back."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from aira_bench.cli.main import run_command_line
from aira_contract.exports import ExportRequest
from aira_evaluator.pretrain.checkpoints import load_weights
from aira_evaluator.pretrain.export import export as carry_out
from aira_evaluator.pretrain.train import main
from aira_evaluator.pretrain.trained import TrainedFolder
from aira_evaluator.split_manifest import DataError
from aira_kernels.hugging_face.folder import read_folder
from aira_kernels.large import LargeLanguageModel
from evaluator.pretrain.toy_trainings import RECIPE, SEQUENCE, arguments, make_inputs, start_ranks

pytestmark = pytest.mark.timeout(900)
PATIENCE_S = 240
SHORT = RECIPE.replace("steps = 48", "steps = 4").replace("checkpoint_every_steps = 8", "checkpoint_every_steps = 2")


TRAINED = {"A-M": 1, "Mb-M-A": 2, "Mb-M": 2}
"""The toys, and how many ranks each has."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy of each family after four steps, with checkpoints of steps 2 and 4."""
    folder = tmp_path_factory.mktemp("trained")
    make_inputs(folder, SHORT)
    ranks = start_ranks(folder, 2, *(pattern for pattern, size in TRAINED.items() if size == 2))
    assert [rank.wait(PATIENCE_S) for rank in ranks] == [0, 0], (folder / "rank0.log").read_text()
    assert main(arguments(folder, "A-M", folder / "A-M")) == 0
    return folder


def export(source: Path, out: Path, *more: str) -> int:
    return run_command_line(["scale", "export", str(source), "--out", str(out), *more])


def refused(source: Path, out: Path, step: int | None = None, data: Path | None = None) -> str:
    """What the process of an export says that cannot be done, without starting it."""
    with pytest.raises(DataError) as error:
        carry_out(ExportRequest(str(source), str(out), step=step, data=None if data is None else str(data)))
    return str(error.value)


def of_checkpoint(folder: Path, step: int) -> LargeLanguageModel:
    """The model that the trainer's checkpoint holds, read without the code under test."""
    found = TrainedFolder(folder)
    model = LargeLanguageModel(found.layers, found.size, generator=torch.Generator(), vocabulary=520)
    load_weights(folder / "checkpoints", step, model)
    return model


@pytest.mark.parametrize("pattern", TRAINED)
def test_a_checkpoint_goes_out_and_back_with_equal_logits(
    trained: Path, pattern: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder, again = trained / pattern, tmp_path / "model", tmp_path / "again"
    assert export(source, folder, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    tokens, model = torch.arange(SEQUENCE)[None], of_checkpoint(source, 4)
    assert torch.equal(read_folder(folder)(tokens), model(tokens))
    assert run_command_line(["scale", "export", "--from", str(folder), "--out", str(again), "--json"]) == 0
    back = json.loads(capsys.readouterr().out)
    assert torch.equal(of_checkpoint(again, 4)(tokens), model(tokens))
    assert back["weights_sha256"] == said["weights_sha256"]
    record = json.loads((source / "pretrain.json").read_text())
    assert record["ranks"] == TRAINED[pattern]
    assert json.loads((again / "pretrain.json").read_text()) == record


def test_an_own_tokenizer_goes_along_marked_and_puts_the_separator_before_a_text(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tokenizers import Tokenizer

    assert export(trained / "A-M", tmp_path / "model") == 0
    shown = capsys.readouterr()
    assert "The tokenizer is one of our own" in shown.err
    assert "synthetic text (toy stories)" in shown.err
    assert "one of our own" in (tmp_path / "model" / "README.md").read_text()
    manifest = json.loads((trained / "tokens" / "manifest.json").read_text())
    theirs = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    plain = Tokenizer.from_file(str(trained / "tokens" / "tokenizer.json"))
    ids = plain.encode("Once upon a time").ids
    assert theirs.encode("Once upon a time").ids == [manifest["separator"], *ids]
    assert theirs.encode("Once upon a time", add_special_tokens=False).ids == ids
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["bos_token_id"] == config["eos_token_id"] == manifest["separator"]
    assert config["max_position_embeddings"] == SEQUENCE


def test_an_earlier_step_says_that_it_is_one_and_takes_another_type(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(trained / "Mb-M", tmp_path / "model", "--step", "2", "--dtype", "bfloat16", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["step"] == 2
    assert "not finished: step 2 of 4" in said["notes"][0]
    found = read_folder(tmp_path / "model")
    assert {each.dtype for each in found.parameters()} == {torch.bfloat16}
    expected = of_checkpoint(trained / "Mb-M", 2).bfloat16().state_dict()
    assert all(torch.equal(each, expected[name]) for name, each in found.state_dict().items())
    record = json.loads((tmp_path / "model" / "pretrain.json").read_text())
    assert (record["steps_done"], record["finished"], record["validation_loss"]) == (2, False, None)


def test_half_a_checkpoint_is_refused_by_name(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = shutil.copytree(trained / "Mb-M", tmp_path / "trained"), tmp_path / "model"
    (source / "checkpoints" / "step-00000004" / ".metadata").unlink()
    assert export(source, out, "--step", "4") == 3
    assert "step-00000004 was cut off: it has no .metadata; whole are 2" in capsys.readouterr().err
    assert "no checkpoint of step 3; whole are 2" in refused(source, out, step=3)
    assert carry_out(ExportRequest(str(source), str(tmp_path / "newest"))).step == 2  # the newest whole one
    (gone, *_) = (source / "checkpoints" / "step-00000002").glob("*.distcp")
    gone.unlink()
    assert "step-00000002 cannot be read" in refused(source, out)
    (source / "checkpoints" / "step-00000002" / ".metadata").write_bytes(b"\x80")
    assert "step-00000002 cannot be read" in refused(source, out)
    (source / "checkpoints" / "step-00000002" / ".metadata").unlink()
    said = refused(source, out)
    assert "no whole checkpoint" in said
    assert "step-00000002, step-00000004 was cut off" in said
    assert not out.exists()


def test_a_checkpoint_of_weights_alone_is_not_trained_on(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(trained / "A-M", tmp_path / "model", "--step", "2") == 0
    assert (
        run_command_line(["scale", "export", "--from", str(tmp_path / "model"), "--out", str(tmp_path / "again")]) == 0
    )
    assert "no training goes on from it" in capsys.readouterr().err
    assert main(arguments(trained, "A-M", tmp_path / "again")) == 2
    assert "weights and no optimizer" in capsys.readouterr().err


def test_without_a_copy_of_the_manifest_the_folder_of_tokens_is_named(trained: Path, tmp_path: Path) -> None:
    source = shutil.copytree(trained / "A-M", tmp_path / "trained")
    (source / "tokens.json").unlink()
    bare = carry_out(ExportRequest(str(source), str(tmp_path / "bare")))
    assert any(note.startswith("No tokenizer") for note in bare.notes)
    assert not (tmp_path / "bare" / "tokenizer.json").exists()
    carry_out(ExportRequest(str(source), str(tmp_path / "model"), data=str(trained / "tokens")))
    assert (tmp_path / "model" / "tokenizer.json").exists()
    other = shutil.copytree(trained / "tokens", tmp_path / "other")
    (other / "manifest.json").write_text((other / "manifest.json").read_text() + "\n")
    said = refused(source, tmp_path / "wrong", data=other)
    assert "other tokens than the training's record names" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "x"], "Expected the folder of a training, or --from DIR."),
        (["a", "--from", "b", "--out", "x"], "Expected the folder of a training, or --from DIR."),
        (["--from", "b", "--step", "2", "--out", "x"], "leave out --step, --data and --dtype"),
    ],
)
def test_words_that_do_not_fit_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["scale", "export", *words]) == 2
    assert said in capsys.readouterr().err


def test_what_is_no_training_or_not_empty_is_refused(trained: Path, tmp_path: Path) -> None:
    assert f"is {tmp_path} the folder of a training?" in refused(tmp_path, tmp_path / "model")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    assert "is not empty; choose another folder" in refused(trained / "A-M", tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
