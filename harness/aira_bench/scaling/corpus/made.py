"""What is said of a folder of tokens, and of whatever was trained on it. Not covered: the tokens themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from aira_bench.errors import UsageError
from aira_bench.files import hash_file, read_text, reason
from aira_contract.token_making import CORPUS

MANIFEST = "manifest.json"
SYNTHETIC, OWN_TOKENIZER = "synthetic text", "a tokenizer of our own"
_MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class _TokenFile:
    file: str
    tokens: int


@dataclass(frozen=True)
class _Manifest:
    """Of what the evaluator writes, what people are told."""

    name: str
    source: str
    synthetic: bool
    tokenizer: str
    vocabulary: int
    unigram_entropy: float
    train: tuple[_TokenFile, ...]
    validation: tuple[_TokenFile, ...]
    own_tokenizer: bool = False


@dataclass(frozen=True)
class _Corpus:
    documents: int
    training_documents: int
    held_out_documents: int
    candidates: int
    near_duplicates: int


_MANIFESTS, _CORPORA = TypeAdapter(_Manifest), TypeAdapter(_Corpus)


@dataclass(frozen=True)
class MadeTokens:
    """A folder of tokens, as its manifest describes it."""

    folder: Path
    manifest: _Manifest
    corpus: _Corpus | None
    """None of a folder that was not made of text by `scale data`."""

    sha256: str
    """Of the manifest, by which trainings name the tokens that they were begun on."""

    @property
    def tokens(self) -> int:
        """The number of training tokens."""
        return sum(file.tokens for file in self.manifest.train)

    @property
    def marks(self) -> tuple[str, ...]:
        """What keeps losses on these tokens from being compared with those of others."""
        return data_marks(vars(self.manifest))

    def record(self) -> dict[str, object]:
        """Return it as JSON values."""
        manifest = {name: value for name, value in vars(self.manifest).items() if name not in ("train", "validation")}
        corpus = {} if self.corpus is None else {"corpus": vars(self.corpus)}
        return {"folder": str(self.folder), **manifest, "tokens": self.tokens, "marks": list(self.marks), **corpus}

    def lines(self) -> list[str]:
        """Return it in words."""
        manifest = self.manifest
        found = [
            f"{self.folder}: {self.tokens:,} training tokens of {manifest.name}, {manifest.vocabulary:,} ids "
            f"({manifest.tokenizer}), unigram entropy {manifest.unigram_entropy:.3f} nats."
        ]
        if (corpus := self.corpus) is not None:
            found.append(
                f"{corpus.training_documents:,} of {corpus.documents:,} documents are for training, "
                f"{corpus.held_out_documents:,} held out; of {corpus.candidates:,} candidates for those "
                f"{corpus.near_duplicates:,} were near duplicates of training text."
            )
        if self.marks:
            found.append(f"Marked: {', '.join(self.marks)}. Losses compare with none on other tokens.")
        return found


def data_marks(data: Mapping[str, object]) -> tuple[str, ...]:
    """Return the marks of a manifest, or of what a training's record says of its data."""
    marks = {"synthetic": SYNTHETIC, "own_tokenizer": OWN_TOKENIZER}
    return tuple(text for key, text in marks.items() if data.get(key) is True)


def made_tokens(folder: Path) -> MadeTokens:
    """Read what a folder of tokens says of itself.

    Raises:
        UsageError: it is none.
    """
    if not (folder / MANIFEST).exists():
        raise UsageError(
            f"There is no folder of tokens at {folder}: {MANIFEST} is missing.",
            hint="aira-bench scale data --help   (makes folders of tokens)",
        )
    return MadeTokens(
        folder,
        _read(folder / MANIFEST, _MANIFESTS),
        _read(folder / CORPUS, _CORPORA) if (folder / CORPUS).exists() else None,
        hash_file(folder, MANIFEST, _MOST_BYTES),
    )


def _read(path: Path, kind: TypeAdapter[Any]) -> Any:  # noqa: ANN401
    try:
        return kind.validate_json(read_text(path, _MOST_BYTES))
    except (OSError, ValueError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else reason(error)
        raise UsageError(
            f"{path} cannot be read: {said}.", hint="aira-bench scale data --help   (makes folders of tokens)"
        ) from error
