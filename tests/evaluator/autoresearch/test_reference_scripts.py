"""What scripts import, the whole baseline script, a script in the reference's style, and agents' validation."""

import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import cloudpickle  # type: ignore[import-untyped]
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split
from torch import nn

from aira_contract.files import HANDOVER_FILE
from aira_contract.script_constants import with_constants
from aira_evaluator.autoresearch.handover.model_file import HandoverError, hand_over, load
from eventually import stretched

SUMMARY = (
    *("val_bpb", "training_seconds", "total_seconds", "peak_vram_mb", "mfu_percent", "total_tokens_M", "num_steps"),
    *("num_params_M", "depth"),
)


@pytest.fixture
def prepare(imported: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The same, as of a script that was started in `tmp_path`."""
    monkeypatch.setattr(imported, "FOLDER", tmp_path)
    return imported


class Uniform(nn.Module):
    """Knows nothing: every token is as likely. `share` scales the loss it admits to."""

    def __init__(self, vocabulary: int, share: float = 1.0) -> None:
        super().__init__()
        self.logits, self.share = nn.Parameter(torch.zeros(vocabulary)), share

    def forward(self, idx: torch.Tensor, targets: torch.Tensor | None = None, reduction: str = "mean") -> torch.Tensor:
        logits = self.logits.expand(*idx.shape, -1)
        if targets is None:
            return logits
        return self.share * F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


class FixedBatch(Uniform):
    """Knows one number of rows."""

    def __init__(self, vocabulary: int, rows: int) -> None:
        super().__init__(vocabulary)
        self.rows = rows

    def forward(self, idx: torch.Tensor, targets: torch.Tensor | None = None, reduction: str = "mean") -> torch.Tensor:
        return super().forward(idx.view(self.rows, 256), targets, reduction)


class Unloadable(nn.Module):
    def __setstate__(self, state: object) -> None:
        raise RuntimeError("not here")


# What scripts import -------------------------------------------------------------------------------------------------


def test_batches_are_rows_and_the_same_rows_one_token_later(prepare: ModuleType) -> None:
    tokenizer = prepare.Tokenizer.from_directory()
    for length in (prepare.MAX_SEQ_LEN, 40):
        x, y, epoch = next(prepare.make_dataloader(tokenizer, 3, length, "train"))
        assert x.shape == y.shape == (3, length)
        assert x.dtype == y.dtype == torch.int64
        assert (x[:, 1:] == y[:, :-1]).all()
        assert (x[:, 0] == tokenizer.get_bos_token_id()).all()
        assert epoch == 1


def test_a_split_begins_again_when_it_is_through(prepare: ModuleType, public: Path) -> None:
    tokens = json.loads((public / "manifest.json").read_text())["splits"]["val"]["tokens"]
    loader = prepare.make_dataloader(prepare.Tokenizer.from_directory(), 4, 256, "val", buffer_size=20)
    epochs = [epoch for _, _, epoch in itertools.islice(loader, 2 * tokens // 1024)]
    assert epochs[0] == 1
    assert epochs[-1] >= 2
    assert epochs == sorted(epochs)


def test_only_two_splits_and_one_tokenizer_fit_the_data(prepare: ModuleType) -> None:
    tokenizer = prepare.Tokenizer.from_directory()
    with pytest.raises(ValueError, match="split is 'test', expected 'train' or 'val'"):
        next(prepare.make_dataloader(tokenizer, 1, 8, "test"))
    other = SimpleNamespace(get_vocab_size=lambda: 77)
    with pytest.raises(ValueError, match="the tokenizer has 77 tokens, the data was made with 2048"):
        next(prepare.make_dataloader(other, 1, 8, "train"))


def test_the_claim_is_the_models_own_loss_over_the_bytes_of_the_text(prepare: ModuleType, tmp_path: Path) -> None:
    tokenizer = prepare.Tokenizer.from_directory()
    claimed = prepare.evaluate_bpb(Uniform(prepare.VOCAB_SIZE), tokenizer, 8)
    lengths, targets = prepare.get_token_bytes(), []
    batches = prepare.make_dataloader(tokenizer, 8, prepare.MAX_SEQ_LEN, "val")
    for _, y, _ in itertools.islice(batches, prepare.EVAL_TOKENS // (8 * prepare.MAX_SEQ_LEN)):
        targets.append(y.flatten())
    counted = lengths[torch.cat(targets)]
    assert claimed == pytest.approx(math.log2(prepare.VOCAB_SIZE) * int((counted > 0).sum()) / int(counted.sum()))
    assert json.loads((tmp_path / "validation.json").read_text()) == {"metric": "BPB", "value": claimed}
    # Whoever admits to half of its loss claims half of it: this is why a claim is no score.
    assert prepare.evaluate_bpb(Uniform(prepare.VOCAB_SIZE, 0.5), tokenizer, 8) == pytest.approx(claimed / 2)
    loaded = load(tmp_path / HANDOVER_FILE, torch.device("cpu")).model
    assert loaded(torch.zeros(1, 5, dtype=torch.int64)).shape == (1, 5, prepare.VOCAB_SIZE)


def test_a_claim_that_is_no_number_is_not_written(prepare: ModuleType, tmp_path: Path) -> None:
    claimed = prepare.evaluate_bpb(Uniform(prepare.VOCAB_SIZE, math.nan), prepare.Tokenizer.from_directory(), 8)
    assert math.isnan(claimed)
    assert not (tmp_path / "validation.json").exists()
    assert (tmp_path / HANDOVER_FILE).exists()


def test_batches_go_where_ports_to_other_hardware_ask_for_them(prepare: ModuleType) -> None:
    tokenizer = prepare.Tokenizer.from_directory()
    x, y, _ = next(prepare.make_dataloader(tokenizer, 2, 8, "train", device="meta"))
    assert (x.device.type, y.device.type) == ("meta", "meta")
    x, _, _ = next(prepare.make_dataloader(tokenizer, 2, 8, "train"))
    assert x.device.type == prepare.get_device().type == prepare.DEVICE.type
    model, device = Uniform(prepare.VOCAB_SIZE).to(prepare.DEVICE), prepare.get_device()
    assert prepare.evaluate_bpb(model, tokenizer, 8, device=device) == prepare.evaluate_bpb(model, tokenizer, 8)


def test_names_have_the_types_that_the_reference_gives_them(prepare: ModuleType) -> None:
    assert isinstance(prepare.DATA_DIR, str)
    assert isinstance(prepare.TOKENIZER_DIR, str)
    assert int(f"{prepare.TIME_BUDGET:d}") >= 25, "more where others use the cores of a training that has begun"
    tokenizer = prepare.Tokenizer.from_directory(tokenizer_dir=prepare.TOKENIZER_DIR)
    bos = tokenizer.bos_token_id
    assert bos == tokenizer.get_bos_token_id() == tokenizer.enc.n_vocab - 1
    text = "def f(x):\n    return x\n"
    ids = tokenizer.enc.encode_ordinary(text)
    assert tokenizer.encode(text, prepend=bos, num_threads=4) == [bos, *ids]
    assert tokenizer.encode([text], num_threads=4) == tokenizer.enc.encode_ordinary_batch([text]) == [ids]
    assert tokenizer.enc.decode(ids) == text


def test_a_special_token_is_prepended_by_its_name(prepare: ModuleType) -> None:
    """The name's text used to stand among the ids."""
    tokenizer = prepare.Tokenizer.from_directory()
    bos, ids = tokenizer.get_bos_token_id(), tokenizer.encode("some text")
    assert tokenizer.encode("some text", prepend="<|reserved_0|>") == [bos, *ids]
    assert tokenizer.encode(["some text"] * 2, prepend=prepare.BOS_TOKEN) == [[bos, *ids]] * 2
    assert bos not in tokenizer.encode("<|reserved_0|>"), "no text spells it"
    with pytest.raises(KeyError):
        tokenizer.encode("some text", prepend="<|reserved_1|>")


def test_names_that_public_scripts_import_are_there_and_mean_what_they_did(prepare: ModuleType, public: Path) -> None:
    names = ("BASE_URL", "CACHE_DIR", "VOCAB_SIZE", "SPLIT_PATTERN", "SPECIAL_TOKENS", "BOS_TOKEN", "VAL_FILENAME",
             "list_parquet_files", "text_iterator", "_document_batches", "TOKENIZER_DIR")  # fmt: skip
    assert all(hasattr(prepare, name) for name in names)
    assert os.path.join(prepare.CACHE_DIR, "tokenizer") == prepare.TOKENIZER_DIR  # noqa: PTH118
    assert Path(prepare.DATA_DIR, prepare.VAL_FILENAME).exists()
    assert prepare.list_parquet_files() == []
    assert prepare.BOS_TOKEN in prepare.SPECIAL_TOKENS
    text = "It's 2 dogs,  and\n7 cats"
    told = Split(Regex(prepare.SPLIT_PATTERN), "isolated").pre_tokenize_str(text)
    cut = json.loads(Path(public, "tokenizer", "tokenizer.json").read_text())["pre_tokenizer"]["pretokenizers"]
    assert [part["type"] for part in cut] == ["Split", "ByteLevel"]
    assert cut[0]["pattern"]["Regex"] == prepare.SPLIT_PATTERN
    assert [piece for piece, _ in told] == ["It", "'s", " ", "2", " dogs", ",", " ", " and", "\n", "7", " cats"]


def test_text_is_what_the_tokens_were_made_of(prepare: ModuleType, public: Path) -> None:
    tokenizer = prepare.Tokenizer.from_directory()
    counts = {split: json.loads((public / "manifest.json").read_text())["splits"][split] for split in ("train", "val")}
    texts = list(prepare.text_iterator(doc_cap=10**9))
    assert sum(len(tokenizer.encode(text)) for text in texts) == counts["train"]["tokens"]
    short = list(prepare.text_iterator(max_chars=500, doc_cap=40))
    assert short == [text[:40] for text in texts[: len(short)]]
    assert 500 <= sum(map(len, short)) < 540
    batches = prepare._document_batches("val", tokenizer_batch_size=7)
    first: list[str] = []
    for batch, epoch in batches:
        if epoch == 2:
            break
        assert 0 < len(batch) <= 7
        first += batch
    assert sum(len(tokenizer.encode(text)) for text in first) == counts["val"]["tokens"], "each document once an epoch"


def test_single_tokens_have_their_bytes(prepare: ModuleType) -> None:
    tokenizer = prepare.Tokenizer.from_directory()
    enc, lengths = tokenizer.enc, prepare.get_token_bytes().tolist()
    assert enc.special_tokens_set == {prepare.BOS_TOKEN}
    for token in range(enc.n_vocab):
        piece = enc.decode_single_token_bytes(token)
        assert enc.encode_single_token(piece) == token
        assert lengths[token] == (0 if token == tokenizer.bos_token_id else len(piece))
    assert enc.encode_single_token(prepare.BOS_TOKEN) == tokenizer.bos_token_id
    for unknown in (
        lambda: enc.encode_single_token("no single token of text"),
        lambda: enc.decode_single_token_bytes(-1),
    ):
        with pytest.raises(KeyError):
            unknown()


def test_keywords_of_ports_are_taken_and_told_once(prepare: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer, model = prepare.Tokenizer.from_directory(), Uniform(prepare.VOCAB_SIZE).to(prepare.DEVICE)
    next(prepare.make_dataloader(tokenizer, 2, 8, "train", data_budget_tokens=1000))
    next(prepare.make_dataloader(tokenizer, 2, 8, "train", data_budget_tokens=1000))
    assert prepare.evaluate_bpb(model, tokenizer, 8, eval_tokens=256) == prepare.evaluate_bpb(model, tokenizer, 8)
    assert capsys.readouterr().out.splitlines() == [
        "prepare: make_dataloader takes data_budget_tokens=1000 and does nothing with it",
        "prepare: evaluate_bpb takes eval_tokens=256 and does nothing with it",
    ]
    with pytest.raises(TypeError, match="no_such"):
        prepare.evaluate_bpb(model, tokenizer, 8, no_such=1)


class LogitsAndMeanLoss(Uniform):
    """Its loss cannot be asked for target by target."""

    def forward(self, idx: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:  # type: ignore[override]
        return super().forward(idx, targets)


def test_a_claim_is_found_among_other_outputs_or_made_from_logits(prepare: ModuleType) -> None:
    tokenizer, model = prepare.Tokenizer.from_directory(), Uniform(prepare.VOCAB_SIZE, 0.5)
    half = prepare.evaluate_bpb(model, tokenizer, 8)

    def with_auxiliary_losses(x: torch.Tensor, y: torch.Tensor | None = None, reduction: str = "mean") -> object:
        return model(x) if y is None else (torch.zeros(1), model(x, y, reduction), None)

    def with_logits_and_mean(x: torch.Tensor, y: torch.Tensor | None = None, reduction: str = "mean") -> object:
        return model(x), None if y is None else model(x, y)

    assert prepare.evaluate_bpb(with_auxiliary_losses, tokenizer, 8) == half
    assert prepare.evaluate_bpb(with_logits_and_mean, tokenizer, 8) == pytest.approx(2 * half)
    assert prepare.evaluate_bpb(LogitsAndMeanLoss(prepare.VOCAB_SIZE), tokenizer, 8) == pytest.approx(2 * half)


def test_a_model_that_needs_targets_is_refused_at_once_and_the_earlier_one_stays(
    prepare: ModuleType, tmp_path: Path
) -> None:
    tokenizer, model = prepare.Tokenizer.from_directory(), Uniform(prepare.VOCAB_SIZE)
    prepare.evaluate_bpb(model, tokenizer, 8)
    before = (tmp_path / HANDOVER_FILE).read_bytes()

    def loss_alone(x: torch.Tensor, y: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        return model(x, y, reduction)

    def broken(x: torch.Tensor, y: torch.Tensor | None = None, reduction: str = "mean") -> torch.Tensor:
        return model(x)[:, :-1]

    asked = r"model\(x\) must return logits \(1, 256, 2048\) for token ids x \(1, 256\); it "
    with pytest.raises(HandoverError, match=asked + r"raised TypeError: .*missing 1 required .* argument: 'y'\. The"):
        prepare.evaluate_bpb(loss_alone, tokenizer, 8)
    with pytest.raises(HandoverError, match=asked + r"returned float32 of shape \(1, 255, 2048\)"):
        prepare.evaluate_bpb(broken, tokenizer, 8)
    assert (tmp_path / HANDOVER_FILE).read_bytes() == before


def test_asking_for_logits_compiles_nothing(prepare: ModuleType) -> None:
    """With `dynamic=False` every new shape would cost a script tens of seconds."""
    rows: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., torch.Tensor]:
        rows.extend(part.shape[0] for part in inputs if part.dtype is torch.int64)
        return cast(Callable[..., torch.Tensor], graph.forward)

    model = torch.compile(Uniform(prepare.VOCAB_SIZE), backend=backend, dynamic=False)
    prepare.evaluate_bpb(model, prepare.Tokenizer.from_directory(), 8)
    assert set(rows) == {8}


def test_results_are_left_where_the_script_was_started(
    prepare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    tokenizer = prepare.Tokenizer.from_directory()
    next(prepare.make_dataloader(tokenizer, 1, 8, "train"))
    prepare.evaluate_bpb(Uniform(prepare.VOCAB_SIZE), tokenizer, 8)
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"elsewhere", HANDOVER_FILE, "training_began", "validation.json"}
    assert not list((tmp_path / "elsewhere").iterdir())


# Whole scripts -------------------------------------------------------------------------------------------------------


def in_folder(script: Path, public: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a fit container does: beside prepare.py, with ./data."""
    shutil.copyfile(script, folder / "train.py")
    for name in ("prepare.py", "kernels.py"):
        shutil.copyfile(public / name, folder / name)
    (folder / "data").symlink_to(public)
    return subprocess.run(
        [sys.executable, "train.py"], cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def summary(output: str) -> dict[str, float]:
    block = output.rpartition("---\n")[2]
    return {name: float(value) for name, value in re.findall(r"^(\w+): +([\d.]+)$", block, re.MULTILINE)}


def test_the_baseline_learns_within_its_budget_and_hands_its_model_over(public: Path, tmp_path: Path) -> None:
    # By seconds of its own: on a busy machine four of the wall's may be two steps.
    (tmp_path / "script.py").write_text(
        f"import time\n\ntime.perf_counter = time.thread_time\n{(public / 'train.py').read_text()}"
    )
    finished = in_folder(tmp_path / "script.py", public, tmp_path, AIRA_TIME_BUDGET_S="4")
    assert finished.returncode == 0, finished.stderr
    found = summary(finished.stdout)
    assert tuple(found) == SUMMARY
    assert found["val_bpb"] < 3.3, "a uniform guess costs about 3.5"
    assert 4 <= found["training_seconds"] < stretched(10)
    assert found["total_tokens_M"] == pytest.approx(found["num_steps"] * 2048 / 1e6, abs=1e-3)
    assert found["depth"] == 2
    assert json.loads((tmp_path / "validation.json").read_text())["value"] == pytest.approx(found["val_bpb"], abs=1e-6)
    loaded = load(tmp_path / HANDOVER_FILE, torch.device("cpu"))
    logits = loaded.model(torch.zeros(1, 9, dtype=torch.int64))
    assert logits.shape == (1, 9, 2048)
    assert logits.abs().max() <= 15


def test_a_script_in_the_references_style_runs_unchanged(public: Path, tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "folders" / "reference_style_train.py"
    finished = in_folder(script, public, tmp_path, AIRA_TIME_BUDGET_S="1")
    assert finished.returncode == 0, finished.stderr
    assert 0 < summary(finished.stdout)["val_bpb"] < 4
    loaded = load(tmp_path / HANDOVER_FILE, torch.device("cpu"))
    assert loaded.ambience.autocast, "its bfloat16 embedding meets float32 matrices outside an autocast block"


PORT = """
import os
import torch
from torch import nn
from torch.nn import functional as F

@torch.compile(dynamic=False, fullgraph=True)
def early(x):
    return x + 1

early(torch.ones(1)) if os.environ["PATH"] else None
from kernels import get_kernel
fa3 = get_kernel("kernels-community/flash-attn3").flash_attn_interface
from prepare import MAX_SEQ_LEN, Tokenizer, evaluate_bpb, get_device, make_dataloader

@torch.compile(dynamic=False, fullgraph=True)
def step(parameter, gradient):
    parameter.sub_(0.1 * gradient)

class Attention(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, 16).bfloat16()
        self.head = nn.Linear(16, vocabulary)
    def forward(self, idx, targets=None, reduction="mean"):
        x = early(self.embed(idx)) - 1
        heads = x.view(*idx.shape, 2, 8)
        x = x + fa3.flash_attn_func(heads, heads, heads, causal=True, window_size=(MAX_SEQ_LEN // 2, 0)).flatten(2)
        logits = self.head(x).float()
        if targets is None:
            return logits
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), reduction=reduction)

if __name__ == "__main__":
    device = get_device()
    tokenizer = Tokenizer.from_directory()
    model = Attention(tokenizer.get_vocab_size()).to(device)
    model = torch.compile(model, dynamic=False)
    x, y, _ = next(make_dataloader(tokenizer, 4, MAX_SEQ_LEN, "train", device=device))
    with torch.autocast(device.type, dtype=torch.bfloat16):
        model(x, y).backward()
        with torch.no_grad():
            step(model.head.weight, model.head.weight.grad)
        os.chdir("/")
        print("---")
        print(f"val_bpb: {evaluate_bpb(model, tokenizer, 8):.4f}")
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch.compile needs no C++ compiler for a GPU")
def test_a_port_that_compiles_runs_where_there_is_no_compiler(public: Path, tmp_path: Path) -> None:
    (tmp_path / "port.py").write_text(PORT)
    (tmp_path / "run").mkdir()
    finished = in_folder(tmp_path / "port.py", public, tmp_path / "run", PATH="")
    assert finished.returncode == 0, finished.stderr
    assert "prepare: there is no g++ here, so torch.compile leaves code as it is\n" in finished.stdout
    assert 3 < summary(finished.stdout)["val_bpb"] < 5
    assert load(tmp_path / "run" / HANDOVER_FILE, torch.device("cpu")).ambience.autocast


# Agents' own validation ----------------------------------------------------------------------------------------------


@pytest.fixture
def hurried(public: Path, tmp_path: Path) -> Path:
    """The public data with a clock of 5 seconds in all."""
    data = tmp_path / "data"
    data.mkdir()
    for path in public.iterdir():
        (data / path.name).symlink_to(path)
    manifest = json.loads((public / "manifest.json").read_text())
    (data / "manifest.json").unlink()
    (data / "manifest.json").write_text(json.dumps({**manifest, "time_budget_s": 1, "start_up_s": 4}))
    leave(Uniform(manifest["vocabulary"]), tmp_path)
    return data


def leave(model: nn.Module, folder: Path) -> None:
    """Hand over a model of this module to processes that cannot import it."""
    here = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(here)
    try:
        hand_over(model, folder).rename(folder / "handed.bin")
    finally:
        cloudpickle.unregister_pickle_by_value(here)


def validated(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "mine.py").write_text(code)
    command = [
        sys.executable,
        "-m",
        "aira_evaluator.autoresearch.agent.validate",
        "--script",
        "mine.py",
        "--data",
        "data",
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


CLAIMING = """
import json, shutil
json.dump({"metric": "BPB", "value": 1.25}, open("validation.json", "w"))
shutil.copyfile("../handed.bin", "handover.bin")
"""


def test_validation_keeps_the_claim_and_nothing_else(hurried: Path, tmp_path: Path) -> None:
    finished = validated(tmp_path, CLAIMING + "print('trained')")
    assert (finished.returncode, finished.stdout) == (0, "trained\nBPB 1.2500\n")
    assert json.loads((tmp_path / "validation.json").read_text())["value"] == 1.25
    assert {path.name for path in tmp_path.iterdir()} == {"data", "handed.bin", "mine.py", "validation.json"}


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Embedding(2048, 5), "model(x) must return logits (1, 256, 2048) for x (1, 256); it returned float32 of"),
        (FixedBatch(2048, 8), "the loaded model(x) raised RuntimeError: shape '[8, 256]' is invalid"),
        (Unloadable(), "its model cannot be loaded in a process without the script (RuntimeError: not here)"),
    ],
)
def test_validation_finds_models_that_cannot_be_served(
    hurried: Path, tmp_path: Path, model: nn.Module, reason: str
) -> None:
    leave(model, tmp_path)
    finished = validated(tmp_path, CLAIMING)
    assert finished.returncode == 2
    assert finished.stderr.startswith(f"validate: mine.py was trained, but cannot be scored: {reason}")
    assert finished.stderr.count("\n") == 1
    assert not (tmp_path / "validation.json").exists()


def test_validation_says_why_there_is_no_claim(hurried: Path, tmp_path: Path) -> None:
    finished = validated(tmp_path, "raise SystemExit(3)")
    assert finished.returncode == 2
    assert finished.stderr == "validate: mine.py ended with exit status 3 without a completed evaluate_bpb\n"


def test_validation_ends_at_the_outside_clock_and_keeps_what_was_claimed_before(hurried: Path, tmp_path: Path) -> None:
    stubborn = "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.fork()\ntime.sleep(99)\n"
    finished = validated(tmp_path, CLAIMING + stubborn)
    assert (finished.returncode, finished.stdout) == (0, "BPB 1.2500\n")


# Constants -----------------------------------------------------------------------------------------------------------


def test_constants_are_set_without_touching_anything_else() -> None:
    source = '# é\nA = 1; B = "é"  # kept\nC = -3\n\ndef f():\n    A = 5\n'
    assert with_constants(source, {"B": "SL", "A": 22, "C": 0.5}) == (
        "# é\nA = 22; B = 'SL'  # kept\nC = 0.5\n\ndef f():\n    A = 5\n"
    )
    assert with_constants(source, {}) == source
    for wrong, name in ((source, "D"), ("A = 1\nA = 2\n", "A")):
        with pytest.raises(ValueError, match=f"not assigned exactly once at the top level: {name}"):
            with_constants(wrong, {name: 1})
