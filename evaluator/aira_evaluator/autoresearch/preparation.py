"""The two preparing scripts of an Autoresearch task folder, as functions: `prepare` and `evaluate_prepare`.

What agents see:

    manifest.json                      sizes of the profile, documents, tokens and bytes of both splits, hashes
    train/, val/                       tokenized documents (`token_store`), near duplicates of train removed from val
    tokenizer/tokenizer.json           trained on train alone; token_bytes.npy, bytes of each token from its merges
    train.py                           the baseline script, its dials set to the profile
    prepare.py, kernels.py             what scripts import (`shim`, `offline_kernels`)
    pwc/                               papers and code, where the task has them

What judges see:

    <seed set>/validation.npy, test.npy    uint16 rows [N, T + 1], packed as training rows are
    <seed set>/manifest.json               rows, targets, bytes of the targets' text, removed near duplicates, hashes
    tokenizer/                             the same files again, made anew from the same text

Command line, settings and exit statuses: `aira_evaluator.scripts`. No torch is imported.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aira_evaluator.autoresearch.corpus import Corpus, Document, Part, Shard, open_corpus
from aira_evaluator.autoresearch.packing import pack
from aira_evaluator.autoresearch.profiles import PROFILES, Profile
from aira_evaluator.autoresearch.script_constants import set_constants
from aira_evaluator.autoresearch.token_store import write_shard
from aira_evaluator.manifests import DataError
from aira_evaluator.scripts import HiddenSplit, evaluate_prepare_script, prepare_script, profile_in_force
from aira_evaluator.text.contained import NearDuplicates, keep_fresh
from aira_evaluator.text.tokenizer import Tokenizer, Tokens

SUBMISSION = "train.py"
LITERATURE = "pwc"
SCHEMA = 1
HIDDEN_SPLITS: tuple[HiddenSplit, ...] = ("validation", "test")
_TEXT_BATCH = 1024
_PUBLIC_PARTS: tuple[Part, ...] = ("train", "val")


@dataclass(frozen=True)
class Encoded:
    """A document as tokens."""

    tokens: Tokens
    document: Document


def prepare(task_folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Write everything agents see to `<agent data mount>`."""

    def write(raw: Path, mount: Path) -> None:
        profile = _profile()
        write_public(profile, open_corpus(profile, raw), mount)
        _write_scripts(profile, task_folder, mount)

    return prepare_script("Write the public data.", write, arguments)


def evaluate_prepare(hidden_seeds: Mapping[str, int], arguments: Sequence[str] | None = None) -> int:
    """Write the hidden rows of every seed set to `<agent data mount>`, and copy the submission beside them.

    Args:
        hidden_seeds: the secret seed of each seed set. Together they also say which hidden documents serve which set.
        arguments: the command line, `sys.argv` if None.
    """

    def write(raw: Path, mount: Path) -> None:
        profile = _profile()
        write_hidden(profile, open_corpus(profile, raw), mount, hidden_seeds)

    return evaluate_prepare_script("Write the hidden data.", SUBMISSION, write, arguments)


def write_public(profile: Profile, corpus: Corpus, folder: Path) -> None:
    """Write tokenizer, train and val shards, and their manifest.

    Raises:
        DataError: the text cannot be read, or does not come back from its tokens.
    """
    tokenizer = train_tokenizer(profile, corpus)
    tokenizer.save(folder / "tokenizer")
    held_out = [entry for shard in corpus.shards("val") for entry in _encode(shard, tokenizer, profile)]
    found = NearDuplicates([entry.tokens for entry in held_out])
    counts = {"train": _Count(), "val": _Count()}
    for shard in corpus.shards("train"):
        documents = [entry.tokens for entry in _encode(shard, tokenizer)]
        found.look_at(documents)
        counts["train"].add(documents, tokenizer)
        write_shard(folder / "train", shard.name, documents)
    kept = [entry.tokens for entry, near in zip(held_out, found.duplicates(), strict=True) if not near]
    if not kept:
        raise DataError("no validation document is left after near duplicates of the train split were removed")
    counts["val"].add(kept, tokenizer)
    counts["val"].near_duplicates_removed = len(held_out) - len(kept)
    write_shard(folder / "val", "val", kept)
    manifest = {
        "schema": SCHEMA,
        "profile": profile.name,
        "sequence_length": profile.sequence_length,
        "vocabulary": tokenizer.get_vocab_size(),
        "time_budget_s": profile.time_budget_s,
        "start_up_s": profile.start_up_s,
        "validation_tokens": profile.public_validation_tokens,
        "tokenizer_sha256": tokenizer.sha256,
        "splits": {name: count.describe() for name, count in counts.items()},
    }
    _write_json(folder / "manifest.json", manifest)


def write_hidden(profile: Profile, corpus: Corpus, folder: Path, hidden_seeds: Mapping[str, int]) -> None:
    """Write hidden rows and manifests of every seed set.

    Documents near to one of train or val are removed, and so are documents near to one of an earlier set: validation
    comes before test, and the seed sets come in the order given.

    Raises:
        DataError: the text cannot be read, or too little of it is left.
    """
    tokenizer = train_tokenizer(profile, corpus)
    tokenizer.save(folder / "tokenizer")
    lots = _draw_lots(profile, corpus, tokenizer, hidden_seeds)
    fresh = keep_fresh(
        {name: [entry.tokens for entry in lot] for name, lot in lots.items()},
        (tokens for part in _PUBLIC_PARTS for tokens in _public_tokens(part, profile, corpus, tokenizer)),
    )
    manifests: dict[str, dict[str, Any]] = {name: {} for name in hidden_seeds}
    for (seed_set, split), kept in fresh.items():
        targets = profile.final_hidden_tokens if seed_set == "final" else profile.hidden_tokens
        rows = _hidden_rows(kept, profile, tokenizer.get_bos_token_id(), targets)
        if not len(rows):
            raise DataError(f"too little hidden text for a single row of {split} ({seed_set})")
        (folder / seed_set).mkdir(exist_ok=True)
        np.save(folder / seed_set / f"{split}.npy", rows)
        manifests[seed_set][split] = {
            "documents": len(kept),
            "near_duplicates_removed": len(lots[seed_set, split]) - len(kept),
            "rows": len(rows),
            "targets": rows[:, 1:].size,
            "bytes": int(tokenizer.byte_lengths()[rows[:, 1:]].sum()),
            "sha256": hashlib.sha256(rows.tobytes()).hexdigest(),
        }
    for seed_set, seed in hidden_seeds.items():
        manifest = {
            "schema": SCHEMA,
            "profile": profile.name,
            "seed_set": seed_set,
            "seed": seed,
            "sequence_length": profile.sequence_length,
            "vocabulary": tokenizer.get_vocab_size(),
            "bos": tokenizer.get_bos_token_id(),
            "tokenizer_sha256": tokenizer.sha256,
            "public_corpus": profile.public_corpus,
            "splits": manifests[seed_set],
        }
        _write_json(folder / seed_set / "manifest.json", manifest)


def train_tokenizer(profile: Profile, corpus: Corpus) -> Tokenizer:
    """Train the tokenizer on the beginning of each train shard."""
    shards = corpus.shards("train")
    share = profile.tokenizer_characters // len(shards)
    texts = (document.text for shard in shards for batch in _limited(shard, share) for document in batch)
    return Tokenizer.train(texts, profile.vocabulary)


def _draw_lots(
    profile: Profile, corpus: Corpus, tokenizer: Tokenizer, hidden_seeds: Mapping[str, int]
) -> dict[tuple[str, HiddenSplit], list[Encoded]]:
    """Hidden documents by seed set and split, each lot in an order that only its seed tells.

    Groups of documents come in a secret order, each to the lot that has least so far of those it may go to.
    """
    groups: dict[str, list[Encoded]] = {}
    for shard in corpus.shards("hidden"):
        for entry in _encode(shard, tokenizer, profile):
            groups.setdefault(entry.document.group, []).append(entry)
    key = hashlib.sha256(repr(list(hidden_seeds.values())).encode()).digest()
    lots: dict[tuple[str, HiddenSplit], list[Encoded]] = {
        (name, split): [] for name in hidden_seeds for split in HIDDEN_SPLITS
    }
    sizes = dict.fromkeys(lots, 0)
    for name in sorted(groups, key=lambda name: _keyed(key, name)):
        group = groups[name]
        chosen = min((lot for lot in lots if group[0].document.fixed_split in (None, lot[1])), key=sizes.__getitem__)
        lots[chosen] += group
        sizes[chosen] += sum(len(entry.tokens) for entry in group)
    for (seed_set, _), lot in lots.items():
        own = hidden_seeds[seed_set].to_bytes(16, "big", signed=True)
        lot.sort(key=lambda entry: _keyed(own, entry.document.group + "\0" + entry.document.text))
    return lots


def _keyed(key: bytes, name: str) -> bytes:
    return hashlib.blake2b(name.encode(), key=key[:64]).digest()


def _hidden_rows(documents: Iterable[Tokens], profile: Profile, bos: int, targets: int) -> Tokens:
    most = targets // profile.sequence_length
    rows = [row for row, _ in zip(pack(documents, profile.sequence_length + 1, bos), range(most), strict=False)]
    return np.stack(rows) if rows else np.zeros((0, profile.sequence_length + 1), dtype=np.uint16)


def _encode(shard: Shard, tokenizer: Tokenizer, held_out: Profile | None = None) -> Iterator[Encoded]:
    """A shard's documents as tokens, checked to stand for exactly its bytes; of a held-out one only the beginning."""
    lengths = tokenizer.byte_lengths()
    batches = shard.batches() if held_out is None else _limited(shard, held_out.held_out_characters)
    for batch in batches:
        for start in range(0, len(batch), _TEXT_BATCH):
            part = batch[start : start + _TEXT_BATCH]
            encoded = tokenizer.encode_documents([document.text for document in part])
            for document, tokens in zip(part, encoded, strict=True):
                if int(lengths[tokens].sum()) != len(document.text.encode()):
                    raise DataError(f"a document of {shard.name} does not come back from its tokens")
                if len(tokens):
                    yield Encoded(tokens, document)


def _public_tokens(part: Part, profile: Profile, corpus: Corpus, tokenizer: Tokenizer) -> Iterator[Tokens]:
    for shard in corpus.shards(part):
        yield from (entry.tokens for entry in _encode(shard, tokenizer, profile if part == "val" else None))


def _limited(shard: Shard, characters: int) -> Iterator[list[Document]]:
    """Batches of a shard until about `characters` were read."""
    for batch in shard.batches():
        kept = []
        for document in batch:
            if characters <= 0:
                break
            characters -= len(document.text)
            kept.append(document)
        yield kept
        if characters <= 0:
            return


@dataclass
class _Count:
    """What is in a public split."""

    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    near_duplicates_removed: int = 0

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, documents: Iterable[Tokens], tokenizer: Tokenizer) -> None:
        """Count the documents of one shard."""
        lengths = tokenizer.byte_lengths()
        for tokens in documents:
            self.documents += 1
            self.tokens += len(tokens)
            self.bytes += int(lengths[tokens].sum())
            self._digest.update(tokens.tobytes())

    def describe(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "documents": self.documents,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "near_duplicates_removed": self.near_duplicates_removed,
            "sha256": self._digest.hexdigest(),
        }


def _write_scripts(profile: Profile, task_folder: Path, mount: Path) -> None:
    """The baseline with the profile's dials, what scripts import, and the literature where there is any."""
    baseline = (task_folder / SUBMISSION).read_text(encoding="utf-8")
    (mount / SUBMISSION).write_text(set_constants(baseline, profile.baseline), encoding="utf-8")
    for module, name in (("shim.py", "prepare.py"), ("offline_kernels.py", "kernels.py")):
        shutil.copyfile(Path(__file__).with_name(module), mount / name)
    if (task_folder / LITERATURE).is_dir():
        shutil.copytree(task_folder / LITERATURE, mount / LITERATURE, ignore=shutil.ignore_patterns("__pycache__"))


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="ascii")


def _profile() -> Profile:
    return PROFILES[profile_in_force(PROFILES)]
