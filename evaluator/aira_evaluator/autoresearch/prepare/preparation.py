"""The two preparing scripts of an Autoresearch task folder, as functions: `prepare` and `evaluate_prepare`.

What agents see:

    manifest.json                      sizes of the profile, documents, tokens and bytes of both splits, hashes
    train/, val/                       tokenized documents (`token_store`), near duplicates of train removed from val
    tokenizer/tokenizer.json           trained on train alone; token_bytes.npy, bytes of each token from its merges
    train.py                           the baseline script, its hyperparameters set to the profile
    prepare.py, kernels.py             what scripts import (`shim`, `offline_kernels`)
    pwc/                               papers and code, where the task has them

What judges see:

    <seed set>/<split>.npy                 uint16 rows [N, T + 1], packed as training rows are
    <seed set>/<split>.containers.npy      int64 [N], which predict container may be asked about each
    <seed set>/<split>.references.npy      float16 [N, T, references], what our own models say of each target
    <seed set>/manifest.json               rows, targets, bytes of the targets' text, removed near duplicates, hashes
    public/public.npy, ...                 rows and references of the public number, which scripts claim
    tokenizer/                             the same files again, made anew from the same text

Command line, settings and exit statuses: `task_scripts.preparing`. torch is imported for hidden data alone.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aira_contract.files import COMPANION_FILES, SCRIPT_FILE
from aira_contract.script_constants import with_constants
from aira_evaluator.autoresearch.contract.profiles import PROFILES, AutoresearchProfile
from aira_evaluator.autoresearch.contract.token_store import write_shard
from aira_evaluator.autoresearch.prepare.corpus import DocumentSource, open_corpus
from aira_evaluator.autoresearch.prepare.encoding import encode, train_tokenizer
from aira_evaluator.autoresearch.prepare.script_clock import ScriptClock, read_clock
from aira_evaluator.autoresearch.prepare.split_assignment import write_hidden
from aira_evaluator.split_manifest import MANIFEST, DataError
from aira_evaluator.task_scripts.hidden import keyed_seed
from aira_evaluator.task_scripts.preparing import evaluate_prepare_script, prepare_script
from aira_evaluator.task_scripts.settings import hidden_key_in_force, profile_in_force
from aira_evaluator.text.contained import NearDuplicates
from aira_evaluator.text.tokenizer import BytePairTokenizer, Tokens

LITERATURE = "pwc"
SCHEMA = 1


def prepare(task_folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Write everything agents see to `<agent data mount>`."""

    def write(raw: Path, mount: Path) -> None:
        profile = _profile()
        write_public(profile, read_clock(task_folder, profile.name), open_corpus(profile, raw), mount)
        _write_scripts(profile, task_folder, mount)

    return prepare_script("Write the public data.", write, arguments)


def evaluate_prepare(
    task_folder: Path,
    hidden_seeds: Mapping[str, int],
    arguments: Sequence[str] | None = None,
    *,
    reference_budgets_s: tuple[float, ...] | None = None,
) -> int:
    """Write hidden rows and references of every seed set to `<agent data mount>`, and copy the submission beside them.

    Args:
        task_folder: with the baseline script, which is trained to be a reference.
        hidden_seeds: the secret seed of each seed set.
        arguments: the command line, `sys.argv` if None.
        reference_budgets_s: other budgets than the profile's. Short ones, or none, make scores less precise, not wrong.
    """

    def write(raw: Path, mount: Path) -> None:
        from aira_evaluator.autoresearch.prepare.reference_models import train_references  # imports torch

        profile = _profile()
        corpus = open_corpus(profile, raw)
        with tempfile.TemporaryDirectory(prefix=".public-", dir=mount) as name:
            public = Path(name)
            write_public(profile, read_clock(task_folder, profile.name), corpus, public)
            _write_scripts(profile, task_folder, public)
            budgets_s = profile.reference_budgets_s if reference_budgets_s is None else reference_budgets_s
            references = train_references(public, budgets_s, on_gpu=profile.trains_on_gpu)
            key = hidden_key_in_force()
            seeds = {name: keyed_seed(key, name, seed) for name, seed in hidden_seeds.items()}
            write_hidden(profile, corpus, public, mount, seeds, references.describe)

    return evaluate_prepare_script("Write the hidden data.", SCRIPT_FILE, write, arguments)


def write_public(profile: AutoresearchProfile, clock: ScriptClock, corpus: DocumentSource, folder: Path) -> None:
    """Write tokenizer, train and val shards, and their manifest, which tells scripts their clock.

    Raises:
        DataError: the text cannot be read, or does not come back from its tokens.
    """
    tokenizer = train_tokenizer(profile, corpus)
    tokenizer.save(folder / "tokenizer")
    held_out = [entry for shard in corpus.shards("val") for entry in encode(shard, tokenizer, profile.val_characters)]
    found = NearDuplicates([entry.tokens for entry in held_out])
    counts = {"train": _Count(), "val": _Count()}
    for shard in corpus.shards("train"):
        documents = [entry.tokens for entry in encode(shard, tokenizer)]
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
        "time_budget_s": clock.budget_s,
        "start_up_s": clock.start_up_s,
        "validation_tokens": profile.public_validation_tokens,
        "tokenizer_sha256": tokenizer.sha256,
        "splits": {name: count.describe() for name, count in counts.items()},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="ascii")


@dataclass
class _Count:
    """What is in a public split."""

    documents: int = 0
    tokens: int = 0
    bytes: int = 0
    near_duplicates_removed: int = 0

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, documents: Iterable[Tokens], tokenizer: BytePairTokenizer) -> None:
        """Count the documents of one shard."""
        lengths = tokenizer.byte_lengths()
        for tokens in documents:
            self.documents += 1
            self.tokens += len(tokens)
            self.bytes += int(lengths[tokens].sum())
            self._digest.update(tokens.tobytes())

    def describe(self) -> dict[str, Any]:
        """Return the counts and the hash as a manifest has them."""
        return {
            "documents": self.documents,
            "tokens": self.tokens,
            "bytes": self.bytes,
            "near_duplicates_removed": self.near_duplicates_removed,
            "sha256": self._digest.hexdigest(),
        }


def _write_scripts(profile: AutoresearchProfile, task_folder: Path, mount: Path) -> None:
    """The baseline with the profile's hyperparameters, what scripts import, and the literature where there is any."""
    baseline = (task_folder / SCRIPT_FILE).read_text(encoding="utf-8")
    (mount / SCRIPT_FILE).write_text(with_constants(baseline, profile.baseline), encoding="utf-8")
    beside_scripts = Path(__file__).parents[1] / "fit"
    for module, name in zip(("shim.py", "offline_kernels.py"), COMPANION_FILES, strict=True):
        shutil.copyfile(beside_scripts / module, mount / name)
    if (task_folder / LITERATURE).is_dir():
        shutil.copytree(task_folder / LITERATURE, mount / LITERATURE, ignore=shutil.ignore_patterns("__pycache__"))


def _profile() -> AutoresearchProfile:
    return PROFILES[profile_in_force(PROFILES)]
