"""Assigns the hidden documents of Autoresearch to seed sets and splits, and writes their rows for judges.

Which seed set a document serves is public and the same for every task: a hash of its source's name says so. So no
search, of whatever task, is ever served text that `confirm` scores on. Which split it serves, in which row it stands
and which container is asked about it is decided by the secret seeds.

Not covered: reading them (`contract.hidden_rows`), and what agents see (`preparation`).
"""

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from aira_contract.reports import PUBLIC
from aira_contract.settings import SEED_SETS
from aira_evaluator.autoresearch.contract.hidden_rows import SCHEMA, SPLITS, SplitRows, write_split
from aira_evaluator.autoresearch.contract.packing import pack
from aira_evaluator.autoresearch.contract.profiles import AutoresearchProfile
from aira_evaluator.autoresearch.contract.references import References, Stored
from aira_evaluator.autoresearch.contract.token_store import open_split
from aira_evaluator.autoresearch.prepare.corpus import DocumentSource, public_order
from aira_evaluator.autoresearch.prepare.encoding import Encoded, encode
from aira_evaluator.split_manifest import MANIFEST, DataError
from aira_evaluator.task_scripts.hidden import HiddenSplit
from aira_evaluator.text.contained import keep_fresh
from aira_evaluator.text.tokenizer import BytePairTokenizer, Tokens

Part = tuple[str, HiddenSplit]
Describe = Callable[[Tokens], Stored]
"""From rows [rows, T + 1] to what references say of their targets, [rows, T, references]."""


def write_hidden(
    profile: AutoresearchProfile,
    corpus: DocumentSource,
    public: Path,
    folder: Path,
    hidden_seeds: Mapping[str, int],
    describe: Describe,
) -> None:
    """Write hidden rows, references and manifests of every seed set.

    Documents near to public ones are removed, and so are documents near to one of an earlier part: validation comes
    before test, and the seed sets come in the order given.

    Args:
        profile: sizes.
        corpus: where the text comes from.
        public: what `write_public` made of the same corpus.
        folder: where everything goes.
        hidden_seeds: the secret seed of each seed set.
        describe: the references.

    Raises:
        DataError: the text cannot be read, or too little of it is left.
    """
    tokenizer = BytePairTokenizer.from_directory(public / "tokenizer")
    tokenizer.save(folder / "tokenizer")
    parts = _assigned(profile, corpus, tokenizer, hidden_seeds)
    fresh = keep_fresh(
        {part: [entry.tokens for entry in entries] for part, entries in parts.items()},
        (tokens for split in ("train", "val") for shard in open_split(public / split) for tokens in shard.documents()),
    )
    for seed_set, seed in hidden_seeds.items():
        (folder / seed_set).mkdir(exist_ok=True)
        splits: dict[str, Any] = {}
        for split in SPLITS:
            assigned, kept = parts[seed_set, split], fresh[seed_set, split]
            rows = _packed(profile, split, assigned, kept, tokenizer, seed)
            references = References.of(describe(rows.tokens), rows.bytes_of_targets())
            splits[split] = {
                "documents": len(kept),
                "near_duplicates_removed": len(assigned) - len(kept),
                **write_split(folder / seed_set, rows, references),
            }
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
            "splits": splits,
        }
        (folder / seed_set / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="ascii")
    _write_public_rows(profile, public, folder / PUBLIC, tokenizer, describe)


def _write_public_rows(
    profile: AutoresearchProfile, public: Path, folder: Path, tokenizer: BytePairTokenizer, describe: Describe
) -> None:
    """The rows that `evaluate_bpb` sums over, for a judge to ask about as it asks about hidden ones."""
    folder.mkdir(exist_ok=True)
    rows = public_rows(profile, public, tokenizer)
    found = write_split(folder, rows, References.of(describe(rows.tokens), rows.bytes_of_targets()))
    manifest = {"schema": SCHEMA, "profile": profile.name, "seed_set": None, "splits": {PUBLIC: found}}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="ascii")


def public_rows(profile: AutoresearchProfile, public: Path, tokenizer: BytePairTokenizer) -> SplitRows:
    """Return the first rows that scripts pack of the public val split, as many as a script's `EVAL_TOKENS` fill.

    A script sums over whole batches, so over fewer rows where its batches do not divide them.
    """
    documents = (
        tokens for _ in itertools.count() for shard in open_split(public / "val") for tokens in shard.documents()
    )
    packed = pack(documents, profile.sequence_length + 1, tokenizer.get_bos_token_id())
    tokens = np.stack(list(islice(packed, max(1, profile.public_validation_tokens // profile.sequence_length))))
    lengths = tokenizer.byte_lengths().astype(np.int64)
    return SplitRows(PUBLIC, tokens, lengths, np.zeros(len(tokens), dtype=np.int64), len(tokens))


def _assigned(
    profile: AutoresearchProfile, corpus: DocumentSource, tokenizer: BytePairTokenizer, hidden_seeds: Mapping[str, int]
) -> dict[Part, list[Encoded]]:
    """Hidden documents by seed set and split, each part in an order that only its seed tells.

    The sources of a seed set come in a secret order, each to the split that has least so far of those it may go to.
    """
    sources: dict[str, list[Encoded]] = {}
    for shard in corpus.shards("hidden"):
        for entry in encode(shard, tokenizer, profile.hidden_characters):
            sources.setdefault(entry.document.group, []).append(entry)
    parts: dict[Part, list[Encoded]] = {(name, split): [] for name in hidden_seeds for split in SPLITS}
    sizes = dict.fromkeys(parts, 0)
    most = profile.predict_containers * profile.sequence_length  # no more of one source is used
    for seed_set, seed in hidden_seeds.items():
        own = [name for name in sources if seed_set == _seed_set_of(name)]
        for name in sorted(own, key=lambda name: _keyed(seed, name)):
            fixed = sources[name][0].document.fixed_split
            # To the emptiest split it may go to: that keeps sizes within one source of each other.
            chosen = min(
                (part for part in parts if part[0] == seed_set and fixed in (None, part[1])), key=sizes.__getitem__
            )
            parts[chosen] += sorted(sources[name], key=lambda entry: _keyed(seed, entry.document.text))
            sizes[chosen] += min(most, sum(len(entry.tokens) for entry in sources[name]))
    return parts


def _seed_set_of(source: str) -> str:
    return SEED_SETS[int(public_order(f"seed set\0{source}")[:8], 16) % len(SEED_SETS)]


def _keyed(seed: int, name: str) -> bytes:
    return hashlib.blake2b(name.encode(), key=seed.to_bytes(16, "big", signed=True)).digest()


def _packed(
    profile: AutoresearchProfile,
    split: str,
    assigned: Sequence[Encoded],
    kept: Sequence[Tokens],
    tokenizer: BytePairTokenizer,
    seed: int,
) -> SplitRows:
    """Rows of a part; those of one source, if it has several documents, are assigned to different containers.

    With one container all documents are packed together: each is then the only one of its source, and stands in one
    row. With more, a row holds documents of one source, and a source has at most one row for each container, drawn
    from all it could fill: the first ones that best fit packs are the easiest.
    """
    row_tokens, most = profile.sequence_length + 1, profile.hidden_tokens // profile.sequence_length
    bos, containers = tokenizer.get_bos_token_id(), profile.predict_containers
    rng = np.random.default_rng(seed)
    rows: list[Tokens] = []
    for documents in [kept] if containers == 1 else _by_source(assigned, kept):
        packed = list(islice(pack(documents, row_tokens, bos), most))
        rows += packed if containers == 1 else [packed[index] for index in rng.permutation(len(packed))[:containers]]
    if not rows:
        raise DataError(f"too little hidden text for a single row of {split}")
    tokens = np.stack(rows[:most])
    numbers = np.arange(len(tokens), dtype=np.int64) % containers
    lengths = tokenizer.byte_lengths().astype(np.int64)
    return SplitRows(split, tokens, lengths, numbers, max(1, len(tokens) // profile.pool_factor))


def _by_source(assigned: Sequence[Encoded], kept: Sequence[Tokens]) -> Iterator[list[Tokens]]:
    """The documents of each source; `kept` are some of those that were assigned, in the same order."""
    sources: dict[str, list[Tokens]] = {}
    entries = iter(assigned)
    for tokens in kept:
        source = next(entry.document.group for entry in entries if entry.tokens is tokens)
        sources.setdefault(source, []).append(tokens)
    yield from sources.values()
