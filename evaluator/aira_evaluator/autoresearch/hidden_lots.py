"""Deals the hidden documents of Autoresearch to seed sets and splits, and writes their rows for judges.

Not covered: reading them (`hidden`), and what agents see (`preparation`).
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from aira_evaluator.autoresearch.corpus import Corpus, Part
from aira_evaluator.autoresearch.encoding import Encoded, encode, train_tokenizer
from aira_evaluator.autoresearch.packing import pack
from aira_evaluator.autoresearch.profiles import Profile
from aira_evaluator.manifests import MANIFEST, DataError
from aira_evaluator.scripts import HiddenSplit
from aira_evaluator.text.contained import keep_fresh
from aira_evaluator.text.tokenizer import Tokenizer, Tokens

SCHEMA = 1
HIDDEN_SPLITS: tuple[HiddenSplit, ...] = ("validation", "test")
_PUBLIC_PARTS: tuple[Part, ...] = ("train", "val")


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
        text = json.dumps(manifest, indent=2) + "\n"
        (folder / seed_set / MANIFEST).write_text(text, encoding="ascii")


def _draw_lots(
    profile: Profile, corpus: Corpus, tokenizer: Tokenizer, hidden_seeds: Mapping[str, int]
) -> dict[tuple[str, HiddenSplit], list[Encoded]]:
    """Hidden documents by seed set and split, each lot in an order that only its seed tells.

    Groups of documents come in a secret order, each to the lot that has least so far of those it may go to.
    """
    groups: dict[str, list[Encoded]] = {}
    for shard in corpus.shards("hidden"):
        for entry in encode(shard, tokenizer, profile):
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


def _public_tokens(part: Part, profile: Profile, corpus: Corpus, tokenizer: Tokenizer) -> Iterator[Tokens]:
    for shard in corpus.shards(part):
        yield from (entry.tokens for entry in encode(shard, tokenizer, profile if part == "val" else None))
