"""The three scripts of a text task's folder, as functions: `prepare`, `evaluate_prepare`, `evaluate`.

`AIRA_DATA_SOURCE` (`public`, the default, or `synthetic`) says what the text is; every manifest and report carries it.
The tokenizer is trained twice, by both preparations, because neither sees what the other wrote. It is deterministic.
Command line and exit statuses: `task_scripts.preparing` and `compose.judge.architecture_script`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from aira_evaluator import EVALUATOR_VERSION
from aira_evaluator.compose.judge.architecture_script import REPORT_SCHEMA, SUBMISSION, Report, evaluate_script
from aira_evaluator.compose.text.corpora import CORPORA, Corpus
from aira_evaluator.compose.text.profiles import TextProfile
from aira_evaluator.compose.text.splitting import Documents, Part, Split, train_tokenizer, write_hidden, write_train
from aira_evaluator.compose.text.windows import TOKENS, TextManifest, read_text_split, write_text_manifest
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.preparing import (
    HiddenSeeds,
    evaluate_prepare_script,
    hidden_folder,
    prepare_script,
    profile_in_force,
    seed_set_in_force,
    source_in_force,
)
from aira_evaluator.text.tokenizer import Tokenizer
from aira_kernels.architecture import Architecture, canonical

__all__ = ["HiddenSeeds", "evaluate", "evaluate_prepare", "prepare"]

METRIC = "Loss"


def prepare(corpus: str, primitives: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Write the public train split and its tokenizer to `<agent data mount>/train`."""

    def write(raw: Path, mount: Path) -> None:
        _Preparation(CORPORA[corpus], primitives, raw).write_train(mount)

    return prepare_script("Write the public train split.", write, arguments)


def evaluate_prepare(
    corpus: str,
    primitives: Sequence[str],
    hidden: Mapping[str, HiddenSeeds],
    arguments: Sequence[str] | None = None,
) -> int:
    """Write the train split and the hidden splits of every seed set, and copy the submission beside them.

    A hidden split of a seed set is `<agent data mount>/<split>_with_labels/<seed set>`.
    """

    def write(raw: Path, mount: Path) -> None:
        preparation = _Preparation(CORPORA[corpus], primitives, raw)
        tokenizer = preparation.write_train(mount)
        preparation.write_hidden(mount, tokenizer, hidden)

    return evaluate_prepare_script("Write the hidden splits.", SUBMISSION, write, arguments)


def evaluate(primitives: Sequence[str], arguments: Sequence[str] | None = None) -> int:
    """Train the submitted architecture once, print its loss on the test split, and report both hidden losses."""
    return evaluate_script(METRIC, primitives, score, arguments)


class _Preparation:
    """One run of a preparation script."""

    def __init__(self, corpus: Corpus, primitives: Sequence[str], raw: Path) -> None:
        self._corpus, self._primitives = corpus, tuple(primitives)
        self._profile: TextProfile = corpus.profiles[profile_in_force(corpus.profiles)]
        self._source = source_in_force()
        self._documents: Documents = lambda: corpus.documents(raw, self._source, self._profile)

    def write_train(self, mount: Path) -> Tokenizer:
        """Train the tokenizer and write the train split with it."""
        folder = mount / "train"
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = train_tokenizer(self._documents, self._profile)
        tokenizer.save(folder)
        split, counts = write_train(self._documents, tokenizer, self._profile, folder)
        if split.tokens <= self._profile.batch_size * self._profile.length:
            raise DataError(f"the text has {split.tokens} tokens, not even one batch")
        self._finish(folder, "train", split, tokenizer, asdict(counts))
        return tokenizer

    def write_hidden(self, mount: Path, tokenizer: Tokenizer, hidden: Mapping[str, HiddenSeeds]) -> None:
        """Write every hidden split."""
        folders: dict[Part, Path] = {}
        for seed_set, seeds in hidden.items():
            for split in seeds.by_split():
                folders[seed_set, split] = hidden_folder(mount, split, seed_set)
                folders[seed_set, split].mkdir(parents=True, exist_ok=True)
        written = write_hidden(
            self._documents, tokenizer, self._profile, mount / "train" / TOKENS, folders, _key(hidden)
        )
        for (seed_set, name), found in written.items():
            counts = {"near_duplicates": found.near_duplicates}
            self._finish(folders[seed_set, name], name, found, tokenizer, counts, seed_set, hidden[seed_set].training)

    def _finish(
        self,
        folder: Path,
        name: str,
        split: Split,
        tokenizer: Tokenizer,
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


def score(architecture: Architecture, data: Path) -> Report:
    """Train once and score both hidden splits; the report but for its `seconds`.

    Raises:
        DataError: the data is absent, damaged, or of another profile, or its parts do not belong together.
    """
    seed_set = seed_set_in_force()
    train, about = read_text_split(data / "train")
    validation, validation_about = read_text_split(hidden_folder(data, "validation", seed_set))
    test, test_about = read_text_split(hidden_folder(data, "test", seed_set))
    profile = text_profile(about)
    if profile.name != profile_in_force(CORPORA[about.corpus].profiles):
        raise DataError(f"the data is of profile {profile.name}, AIRA_PROFILE asks for another")
    for other in (validation_about, test_about):
        if other.belongs_to != about.belongs_to:
            raise DataError(f"the hidden {other.split} split is not of this train split; prepare the data again")
    if test_about.training_seed is None:
        raise DataError("the hidden test split names no training seed; run evaluate_prepare.py again")

    from aira_evaluator.compose.mad.split_scores import choose_device, make_deterministic
    from aira_evaluator.compose.text.text_losses import train_and_score

    make_deterministic()
    losses = train_and_score(
        architecture,
        profile,
        train,
        {"validation": validation, "test": test},
        seed=test_about.training_seed,
        device=choose_device(),
    )
    described = {"corpus": about.corpus, "source": about.source, "train_windows": about.windows}
    return {
        "schema": REPORT_SCHEMA,
        "canonical": canonical(architecture),
        "validation": losses["validation"].loss,
        "test": losses["test"].loss,
        "details": {"data": described, **{split: asdict(loss) for split, loss in losses.items()}},
        "evaluator_version": EVALUATOR_VERSION,
        "seed_set": seed_set,
    }


def text_profile(manifest: TextManifest) -> TextProfile:
    """The profile a split was made for.

    Raises:
        DataError: there is none of that name, or its sizes have changed since.
    """
    corpus = CORPORA.get(manifest.corpus)
    profile = corpus.profiles.get(manifest.profile) if corpus else None
    if profile is None:
        raise DataError(f"no profile {manifest.profile!r} of a corpus {manifest.corpus!r} is known")
    if (profile.vocabulary, profile.length) != (manifest.vocabulary, manifest.length):
        raise DataError(
            f"the data has {manifest.vocabulary} tokens and windows of {manifest.length}, "
            f"expected {profile.vocabulary} and {profile.length}; prepare it again"
        )
    return profile
