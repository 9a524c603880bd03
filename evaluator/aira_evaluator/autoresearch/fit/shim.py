"""What a train.py may import. Read-only: a changed copy changes nothing that counts.

    from prepare import MAX_SEQ_LEN, TIME_BUDGET, Tokenizer, make_dataloader, evaluate_bpb

Data lies in ./data (or in the folder that AIRA_DATA names). The names are those of the public reference of this task,
so scripts in its style run unchanged where there is a GPU; `device` arguments, `get_device` and more keywords are those
of its ports. Documents are stored as tokens, so what reads text there decodes it here, to the same text.
There is no data preparation here, and nothing of the trusted score: a separate judge measures that, on hidden text,
with its own tokenizer, from the logits of the model that `evaluate_bpb` hands over.

Without a C++ compiler `torch.compile` cannot work on a CPU. Then importing this module makes it return what it was
given, and says so.
"""

import contextlib
import inspect
import itertools
import json
import math
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from torch.nn import functional

from aira_contract.claims import claim_text
from aira_contract.files import CLAIM_FILE, TRAINING_BEGAN_FILE
from aira_contract.settings import TIME_BUDGET_VARIABLE
from aira_evaluator.autoresearch.contract.packing import WAITING, pack
from aira_evaluator.autoresearch.contract.token_store import open_split
from aira_evaluator.autoresearch.fit.live_budget import LiveBudget
from aira_evaluator.autoresearch.handover import model_file as handover
from aira_evaluator.autoresearch.predict.serving import NoLogits, logits_of
from aira_evaluator.text import tokenizer as tokenization

DATA_DIR = str(Path(os.environ.get("AIRA_DATA", "data")).resolve())
CACHE_DIR = DATA_DIR
"""Below which the tokenizer lies."""
TOKENIZER_DIR = str(Path(DATA_DIR, "tokenizer"))
BASE_URL = Path(DATA_DIR).as_uri()
"""Nothing is downloaded: what there is of the data is here."""
VAL_FILENAME = "val"
"""What in `DATA_DIR` holds the documents of split `val`."""
BOS_TOKEN = "<|reserved_0|>"
"""What the beginning-of-document token is called. No text that is encoded produces it, whatever it spells."""
SPECIAL_TOKENS = [BOS_TOKEN]
SPLIT_PATTERN = tokenization.GPT4_SPLIT
"""How text is cut before pairs of bytes are merged."""
_MANIFEST: dict[str, Any] = json.loads(Path(DATA_DIR, "manifest.json").read_text(encoding="ascii"))

MAX_SEQ_LEN: int = _MANIFEST["sequence_length"]
"""Tokens of a row. The judge asks for logits of windows up to this long, or of full ones alone if it must."""
_TOLD_S: int | float = json.loads(os.environ.get(TIME_BUDGET_VARIABLE, str(_MANIFEST["time_budget_s"])))
EVAL_TOKENS: int = _MANIFEST["validation_tokens"]
"""Targets that `evaluate_bpb` averages over."""
VOCAB_SIZE: int = _MANIFEST["vocabulary"]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
_LIVE_BUDGET = LiveBudget(_TOLD_S, min(_TOLD_S, _MANIFEST["time_budget_s"])) if DEVICE.type == "cpu" else None
TIME_BUDGET: int | float = _TOLD_S if _LIVE_BUDGET is None else _LIVE_BUDGET
"""Seconds of training. On a CPU whose cores others use it grows while the script trains, by what they take. The clock
that counts is outside: it adds one start-up allowance, then kills the process.
"""
FOLDER = Path.cwd()
"""Where the script was started and its results are looked for; it may change directory later."""


def _run_eagerly_without_compiler() -> None:
    compiler = os.environ.get("CXX", "g++")
    if DEVICE.type != "cpu" or shutil.which(compiler) is not None:
        return
    print(f"prepare: there is no {compiler} here, so torch.compile leaves code as it is", flush=True)
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    if "torch._dynamo" in sys.modules:  # the script has compiled something before it imported this
        torch.compiler.set_stance("force_eager")


_run_eagerly_without_compiler()


class Tokenizer(tokenization.BytePairTokenizer):
    """Text to token ids and back: `encode`, `decode`, `get_vocab_size`, `get_bos_token_id`."""

    @classmethod
    def from_directory(cls, tokenizer_dir: Path | str = TOKENIZER_DIR) -> Self:
        """Return the tokenizer the data was made with."""
        return super().from_directory(tokenizer_dir)

    @property
    def bos_token_id(self) -> int:
        """The id that begins every document."""
        return self.get_bos_token_id()

    @property
    def enc(self) -> "Encoding":
        """The methods of a tiktoken encoding, which the public reference's tokenizer wraps."""
        return Encoding(self)

    def encode(
        self, text: str | Sequence[str], prepend: int | str | None = None, num_threads: int = 8
    ) -> list[int] | list[list[int]]:
        """Token ids of a text, or of each text of a list. The library chooses how many threads it uses.

        Args:
            text: what is encoded.
            prepend: a token's id, or the name of a special token, that comes first.
            num_threads: of no effect.

        Raises:
            KeyError: `prepend` is a text and names no special token.
        """
        return super().encode(text, self.enc.encode_single_token(prepend) if isinstance(prepend, str) else prepend)


class Encoding:
    """A tokenizer under the names of tiktoken's methods, for scripts that print samples or look at single tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Another view of `tokenizer`."""
        self._tokenizer = tokenizer
        self.n_vocab = tokenizer.get_vocab_size()
        self.special_tokens_set = set(SPECIAL_TOKENS)
        self.encode_ordinary = self.encode_ordinary_batch = tokenizer.encode
        self.decode = tokenizer.decode

    def encode_single_token(self, text_or_bytes: str | bytes) -> int:
        """Return the id of the token that is exactly this text, or special by this name.

        Raises:
            KeyError: no single token is.
        """
        if text_or_bytes in (BOS_TOKEN, BOS_TOKEN.encode()):
            return self._tokenizer.get_bos_token_id()
        piece = text_or_bytes.encode() if isinstance(text_or_bytes, str) else text_or_bytes
        return self._tokenizer.ids_by_bytes[piece]

    def decode_single_token_bytes(self, token: int) -> bytes:
        """Return the bytes that a token stands for; a special token's name.

        Raises:
            KeyError: there is no such id.
        """
        if token == self._tokenizer.get_bos_token_id():
            return BOS_TOKEN.encode()
        if not 0 <= token < self.n_vocab:
            raise KeyError(token)
        return self._tokenizer.bytes_by_id[token]


def get_device() -> torch.device:
    """Return the device that batches are on."""
    return DEVICE


def get_token_bytes(device: str | torch.device = "cpu") -> torch.Tensor:
    """Bytes of text each token stands for, int32 [vocabulary]; 0 for the beginning-of-document token."""
    return torch.from_numpy(np.load(Path(TOKENIZER_DIR, tokenization.BYTES_FILE))).to(device)


def list_parquet_files() -> list[str]:
    """Return the paths of parquet files in `DATA_DIR`. There are none: `text_iterator` yields the text itself."""
    return sorted(str(path) for path in Path(DATA_DIR).glob("*.parquet"))


def text_iterator(max_chars: int = 1_000_000_000, doc_cap: int = 10_000) -> Iterator[str]:
    """Yield the training documents as text, once, each cut to `doc_cap` characters, until `max_chars` were given."""
    given, tokenizer = 0, Tokenizer.from_directory()
    for shard in open_split(Path(DATA_DIR, "train")):
        for tokens in shard.documents():
            document = tokenizer.decode(tokens.tolist())[:doc_cap]
            given += len(document)
            yield document
            if given >= max_chars:
                return


def _document_batches(
    split: Literal["train", "val"], tokenizer_batch_size: int = 128
) -> Iterator[tuple[list[str], int]]:
    """Yield (texts, epoch) without end: at most `tokenizer_batch_size` documents of a split at a time."""
    documents, tokenizer = _Documents(split), Tokenizer.from_directory()
    texts: list[str] = []
    epoch = documents.epoch
    for tokens in documents:
        if texts and (documents.epoch != epoch or len(texts) == tokenizer_batch_size):
            yield texts, epoch
            texts, epoch = [], documents.epoch
        texts.append(tokenizer.decode(tokens.tolist()))


def _note_ignored(function: str, **keywords: object) -> None:
    """Say once what was asked for in vain: nobody may think that it had an effect."""
    for name, value in keywords.items():
        if value is not None and (function, name) not in _NOTED:
            _NOTED.add((function, name))
            print(f"prepare: {function} takes {name}={value!r} and does nothing with it", flush=True)


_NOTED: set[tuple[str, str]] = set()


def make_dataloader(
    tokenizer: Tokenizer,
    B: int,
    T: int,
    split: Literal["train", "val"],
    buffer_size: int = WAITING,
    *,
    device: str | torch.device | None = None,
    data_budget_tokens: int | None = None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, int]]:
    """Endless batches (inputs, targets, epoch), int64 [B, T] on the device; targets are the inputs one token later.

    Rows begin with the beginning-of-document token, are packed by best fit from whole documents, hold no padding, and
    crop at most their last document.

    Args:
        tokenizer: the tokenizer of `Tokenizer.from_directory`; the documents are stored as its tokens.
        B: rows of a batch.
        T: tokens of a row; need not be `MAX_SEQ_LEN`.
        split: which documents.
        buffer_size: documents held ready; more crop less.
        device: where batches go; the GPU if there is one, unless given.
        data_budget_tokens: of a port that limits how much text there is; of no effect, which is said.
    """
    _note_ignored("make_dataloader", data_budget_tokens=data_budget_tokens)
    if split not in ("train", "val"):
        raise ValueError(f"split is {split!r}, expected 'train' or 'val'")
    if tokenizer.get_vocab_size() != VOCAB_SIZE:
        raise ValueError(f"the tokenizer has {tokenizer.get_vocab_size()} tokens, the data was made with {VOCAB_SIZE}")
    target = DEVICE if device is None else torch.device(device)
    documents = _Documents(split)
    rows = pack(documents, T + 1, tokenizer.get_bos_token_id(), buffer_size)
    while True:
        batch = torch.from_numpy(np.stack([next(rows) for _ in range(B)]).astype(np.int64))
        if target.type == "cuda":
            batch = batch.pin_memory()
        batch = batch.to(target, non_blocking=True)
        # Made with the first training batch, so that the host can tell start-up from training by the kernel's clock.
        if split == "train" and not (FOLDER / TRAINING_BEGAN_FILE).exists():
            (FOLDER / TRAINING_BEGAN_FILE).touch()
            if _LIVE_BUDGET is not None:
                _LIVE_BUDGET.begin()
        yield batch[:, :-1].contiguous(), batch[:, 1:].contiguous(), documents.epoch


@torch.no_grad()
def evaluate_bpb(
    model: Callable[..., Any],
    tokenizer: Tokenizer,
    batch_size: int,
    device: str | torch.device | None = None,
    *,
    eval_tokens: int | None = None,
) -> float:
    """Hand the model over to the judge, and return the bits per byte it claims for itself on the public val split.

    The claim sums what `model(x, y, reduction="none")` returns over targets that stand for at least one byte, as the
    public reference does; for a model that has no losses by target, the cross-entropy of `model(x)`. It is shown beside
    the trusted score and decides nothing. May be called again while training goes on; the last model handed over before
    the deadline counts.

    Args:
        model: called as above here; the judge calls `model(x)`, which returns logits [batch, length, vocabulary].
        tokenizer: the tokenizer of `Tokenizer.from_directory`.
        batch_size: rows of a batch.
        device: where batches go; the GPU if there is one, unless given.
        eval_tokens: of ports that claim for fewer targets; of no effect, which is said.

    Raises:
        HandoverError: `model(x)` gives no logits, or the model cannot be pickled. A model handed over earlier stays.
    """
    _note_ignored("evaluate_bpb", eval_tokens=eval_tokens)
    batches = make_dataloader(tokenizer, batch_size, MAX_SEQ_LEN, "val", device=device)
    first = next(batches)
    _check_logits(model, first[0][:1])
    handover.hand_over(model, FOLDER)
    token_bytes = get_token_bytes(first[0].device)
    nats, byte_count = 0.0, 0
    count = max(1, EVAL_TOKENS // (batch_size * MAX_SEQ_LEN))
    for x, y, _ in itertools.islice(itertools.chain([first], batches), count):
        losses = _losses(model, x, y).reshape(-1).double()
        counted = token_bytes[y.reshape(-1)]
        nats += float((losses * (counted > 0)).sum())
        byte_count += int(counted.sum())
    claimed = nats / (math.log(2) * byte_count)
    if math.isfinite(claimed):
        (FOLDER / CLAIM_FILE).write_text(claim_text("BPB", claimed), encoding="ascii")
    return claimed


def _losses(model: Callable[..., Any], x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    if _takes_reduction(model):
        found = model(x, y, reduction="none")
        parts = found if isinstance(found, tuple | list) else (found,)  # auxiliary losses may lie beside it
        losses: torch.Tensor | None = next((part for part in parts if _is_by_target(part, y)), None)
        if losses is not None:
            return losses
    logits = logits_of(model(x), x.shape[0], x.shape[1], VOCAB_SIZE)
    return functional.cross_entropy(logits.float().flatten(0, 1), y.flatten(), reduction="none")


def _is_by_target(part: object, y: torch.Tensor) -> bool:
    return isinstance(part, torch.Tensor) and part.is_floating_point() and part.numel() == y.numel()


def _takes_reduction(model: Callable[..., Any]) -> bool:
    plain = getattr(model, "_orig_mod", model)  # under torch.compile's wrapper
    try:
        parameters = inspect.signature(getattr(plain, "forward", plain)).parameters
    except (TypeError, ValueError):  # implemented in C++
        return True
    return "reduction" in parameters or any(found.kind is found.VAR_KEYWORD for found in parameters.values())


def _check_logits(model: Callable[..., Any], x: torch.Tensor) -> None:
    """Ask as the judge will, before it is too late."""
    compiler = sys.modules.get("torch._dynamo")
    eager = contextlib.nullcontext() if compiler is None else torch.compiler.set_stance("force_eager")
    try:
        with eager:
            logits_of(model(x), x.shape[0], x.shape[1], VOCAB_SIZE)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        seen = str(error) if isinstance(error, NoLogits) else f"it raised {type(error).__name__}: {error}"
        raise handover.HandoverError(
            f"model(x) must return logits {(*x.shape, VOCAB_SIZE)} for token ids x {tuple(x.shape)}; {seen}. The judge "
            "sends no targets: give them a default of None"
        ) from error


class _Documents:
    """The documents of a split, over and over; `epoch` counts from 1."""

    def __init__(self, split: str) -> None:
        self._shards = open_split(Path(DATA_DIR, split))
        self.epoch = 1

    def __iter__(self) -> Iterator[tokenization.Tokens]:
        while True:
            for shard in self._shards:
                yield from shard.documents()
            self.epoch += 1
