"""`prepare.py` and `evaluate_prepare.py` of the text tasks' folders, as functions.

`AIRA_DATA_SOURCE` (`public`, the default, or `synthetic`) says what the text is; every manifest and report carries it.
The tokenizer is trained twice, by both preparations, because neither sees what the other wrote. It is deterministic.
Command line and exit statuses: `task_scripts.preparing`.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from aira_contract.files import ARCHITECTURE_FILE
from aira_evaluator.compose.prepare.corpora import CORPORA, TextCorpus
from aira_evaluator.compose.prepare.splitting import (
    Documents,
    Part,
    WrittenStream,
    train_tokenizer,
    write_hidden,
    write_public,
)
from aira_evaluator.compose.text.profiles import PROFILES
from aira_evaluator.compose.text.windows import TOKENS, TextManifest, write_text_manifest
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.hidden import HiddenSeeds, hidden_folder, seeds_in_force
from aira_evaluator.task_scripts.preparing import evaluate_prepare_script, prepare_script
from aira_evaluator.task_scripts.settings import hidden_key_in_force, profile_in_force, source_in_force
from aira_evaluator.text.tokenizer import BytePairTokenizer

__all__ = ["HiddenSeeds", "evaluate_prepare", "prepare"]


def prepare(corpus: str, primitives: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Write the public splits to `<agent data mount>/train`, with their tokenizer, and `.../validation`."""

    def write(raw: Path, mount: Path) -> None:
        TextPreparation(CORPORA[corpus], primitives, raw).write_public(mount)

    return prepare_script("Write the public splits.", write, arguments)


def evaluate_prepare(
    corpus: str,
    primitives: Sequence[str],
    hidden: Mapping[str, HiddenSeeds],
    arguments: Sequence[str] | None = None,
) -> int:
    """Write the public splits and the hidden ones of every seed set, and copy the submission beside them.

    A hidden split of a seed set is `<agent data mount>/<split>_with_labels/<seed set>`.
    """

    def write(raw: Path, mount: Path) -> None:
        preparation = TextPreparation(CORPORA[corpus], primitives, raw)
        tokenizer = preparation.write_public(mount)
        preparation.write_hidden(mount, tokenizer, seeds_in_force(hidden))

    return evaluate_prepare_script("Write the hidden splits.", ARCHITECTURE_FILE, write, arguments)


class TextPreparation:
    """One run of a script that prepares text: the public splits, then the hidden ones."""

    def __init__(self, corpus: TextCorpus, primitives: Sequence[str], raw: Path) -> None:
        self._corpus, self._primitives = corpus, tuple(primitives)
        profiles = PROFILES[corpus.name]
        self._profile = profiles[profile_in_force(profiles)]
        self._source = source_in_force()
        self._documents: Documents = lambda: corpus.documents(raw, self._source, self._profile)

    def write_public(self, mount: Path) -> BytePairTokenizer:
        """Train the tokenizer, write the train split with it, and of the documents that are left a validation split.

        A corpus that ends with the train split leaves none.
        """
        folders = {name: mount / name for name in ("train", "validation")}
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        tokenizer = train_tokenizer(self._documents, self._profile)
        tokenizer.save(folders["train"])
        written, counts = write_public(self._documents, tokenizer, self._profile, folders)
        train, validation = written["train"], written["validation"]
        if train.tokens <= self._profile.batch_size * self._profile.length:
            raise DataError(f"the text has {train.tokens} tokens, not even one batch")
        if validation.tokens > self._profile.length:
            self._finish(folders["validation"], "validation", validation, tokenizer, {})
        else:
            shutil.rmtree(folders["validation"])
        self._finish(folders["train"], "train", train, tokenizer, asdict(counts))
        return tokenizer

    def write_hidden(self, mount: Path, tokenizer: BytePairTokenizer, hidden: Mapping[str, HiddenSeeds]) -> None:
        """Write every hidden split of every seed set, with the tokenizer of the train split."""
        folders: dict[Part, Path] = {}
        for seed_set, seeds in hidden.items():
            for split in seeds.by_split():
                folders[seed_set, split] = hidden_folder(mount, split, seed_set)
                folders[seed_set, split].mkdir(parents=True, exist_ok=True)
        written = write_hidden(
            self._documents,
            tokenizer,
            self._profile,
            mount / "train" / TOKENS,
            folders,
            _key(hidden),
            sets_are_public=hidden_key_in_force() is not None,
        )
        for (seed_set, name), found in written.items():
            counts = {"near_duplicates": found.near_duplicates}
            self._finish(folders[seed_set, name], name, found, tokenizer, counts, seed_set, hidden[seed_set].training)

    def _finish(
        self,
        folder: Path,
        name: str,
        split: WrittenStream,
        tokenizer: BytePairTokenizer,
        counts: dict[str, int],
        seed_set: str | None = None,
        training_seed: int | None = None,
    ) -> None:
        length = self._profile.length
        write_text_manifest(
            folder,
            TextManifest(
                corpus=self._corpus.name,
                profile=self._profile.name,
                split=name,
                primitives=self._primitives,
                source=self._source,
                vocabulary=self._profile.vocabulary,
                length=length,
                windows=(split.tokens - 1) // length,
                tokens=split.tokens,
                tokens_sha256=split.sha256,
                tokenizer_sha256=tokenizer.sha256,
                documents=split.documents,
                counts=counts,
                seed_set=seed_set,
                training_seed=training_seed,
            ),
        )


def _key(hidden: Mapping[str, HiddenSeeds]) -> bytes:
    """The key that deals held-out documents to hidden splits: a hash of all their seeds."""
    seeds = [f"{name} {split} {seed}" for name in sorted(hidden) for split, seed in hidden[name].by_split().items()]
    return hashlib.blake2b("\n".join(seeds).encode(), digest_size=32).digest()
