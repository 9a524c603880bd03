"""Where the text of Autoresearch comes from, document by document, and which part of it is hidden.

`paper`: ClimbMix (Diao et al., 2025) as shuffled parquet shards with one column `text`. Ten shards train, the last
one is the public validation shard of the reference, and the two before it are hidden: one for validation, one for
test. `cpu`: the Python standard library of the image, files split by a hash of their names. Its text is on disk in
every container, so hidden scores of that profile are marked `public_corpus`.

Which documents of the hidden part serve which split and seed set is decided by a seed that is not in this package.
"""

import hashlib
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, Protocol

from aira_evaluator.autoresearch.contract.profiles import AutoresearchProfile
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.hidden import HiddenSplit
from aira_evaluator.text.parquet import read_rows

Part = Literal["train", "val", "hidden"]

CLIMBMIX_TRAIN = tuple(f"shard_{index:05d}.parquet" for index in range(10))
CLIMBMIX_VAL = "shard_06542.parquet"
CLIMBMIX_HIDDEN: dict[str, HiddenSplit] = {
    "shard_06540.parquet": "validation",
    "shard_06541.parquet": "test",
}
_PARQUET_ROWS = 1024
_PASSAGE_CHARACTERS = 300
_HELD_OUT_PERCENT, _VAL_PERCENT = 30, 10
_FILE_PASSAGES = 40
"""At most of one file: a long and monotonous one would make its split unlike the others."""
_SKIPPED_FOLDERS = {
    # No text: tables of characters, generated topics, other people's packages, tests that distributions leave out.
    *("__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "encodings"),
    *("pydoc_data", "turtledemo", "ensurepip"),
}


@dataclass(frozen=True)
class Document:
    """One text. Documents of one `group` never come to different splits."""

    text: str
    group: str
    fixed_split: HiddenSplit | None = None
    """The hidden split its shard belongs to, where shards decide that."""


class Shard(Protocol):
    """A named run of documents, read anew at every call."""

    @property
    def name(self) -> str:
        """A file name without suffix."""
        ...

    def batches(self) -> Iterator[list[Document]]:
        """Documents, as many at a time as should be in memory."""
        ...


class DocumentSource(Protocol):
    """Where all text of one profile comes from, public and hidden."""

    def shards(self, part: Part) -> list[Shard]:
        """Return the shards of one part, in order."""
        ...


def open_corpus(profile: AutoresearchProfile, raw: Path) -> DocumentSource:
    """Return the corpus of a profile; `raw` holds its public files, where it has any.

    Raises:
        DataError: files are missing.
    """
    if profile.name == "cpu":
        return StandardLibrary(Path(sysconfig.get_paths()["stdlib"]))
    return ClimbMix(raw)


@dataclass(frozen=True)
class ClimbMix:
    """The ClimbMix text set: shards of parquet files in one folder."""

    folder: Path

    def __post_init__(self) -> None:
        """Raises DataError if a shard is not there."""
        names = (*CLIMBMIX_TRAIN, CLIMBMIX_VAL, *CLIMBMIX_HIDDEN)
        missing = [name for name in names if not (self.folder / name).is_file()]
        if missing:
            raise DataError(f"{len(missing)} of {len(names)} ClimbMix shards are missing, the first is {missing[0]}")

    def shards(self, part: Part) -> list[Shard]:
        """Return the shards of one part, in order."""
        names = {"train": CLIMBMIX_TRAIN, "val": (CLIMBMIX_VAL,), "hidden": tuple(CLIMBMIX_HIDDEN)}[part]
        return [ParquetShard(self.folder / name, CLIMBMIX_HIDDEN.get(name)) for name in names]


@dataclass(frozen=True)
class ParquetShard:
    """One parquet file with a column `text`."""

    path: Path
    split: HiddenSplit | None = None

    @property
    def name(self) -> str:
        """The file's name without suffix."""
        return self.path.stem

    def batches(self) -> Iterator[list[Document]]:
        """Rows without text are left out.

        Raises:
            DataError: the file is truncated, or has no such column.
        """
        for rows in read_rows(self.path, _PARQUET_ROWS):
            yield [
                Document(text, f"{self.name}/{rows.group}/{row}", self.split)
                for row, text in enumerate(rows.texts, start=rows.first)
                if text
            ]


@dataclass(frozen=True)
class StandardLibrary:
    """Python source files below a folder, cut into passages at blank lines."""

    root: Path

    def __post_init__(self) -> None:
        """Raises DataError if there is no Python source."""
        if not next(self.root.glob("*.py"), None):
            raise DataError(f"no Python source in {self.root}")

    def shards(self, part: Part) -> list[Shard]:
        """One shard, with the files whose names fall into that part."""
        paths = [path for path in self._files() if library_part(path) == part]
        return [LibraryShard(self.root, part, tuple(paths))]

    def _files(self) -> list[str]:
        """Relative paths, sorted."""
        found = (path for path in self.root.rglob("*.py") if path.is_file())
        relative = (path.relative_to(self.root) for path in found)
        return sorted(path.as_posix() for path in relative if not _SKIPPED_FOLDERS & set(path.parts))


@dataclass(frozen=True)
class LibraryShard:
    """Passages of some files of the standard library, in a shuffled order that is public."""

    root: Path
    name: str
    paths: tuple[str, ...]

    def batches(self) -> Iterator[list[Document]]:
        """All passages at once, of a long file only some; files that are not UTF-8 are left out."""
        documents = []
        for path in self.paths:
            try:
                text = (self.root / path).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
            chosen = sorted(passages(text), key=public_order)[:_FILE_PASSAGES]
            documents += [Document(passage, path) for passage in chosen]
        yield sorted(documents, key=lambda document: public_order(document.text))


def library_part(path: str) -> Part:
    """Return the part a file of the standard library belongs to, by a hash of its relative path."""
    percent = int(public_order(path), 16) % 100
    if percent >= _HELD_OUT_PERCENT:
        return "train"
    return "val" if percent < _VAL_PERCENT else "hidden"


def public_order(name: str) -> str:
    """Return a hash that orders and splits what need not be secret."""
    return hashlib.sha256(f"aira-bench autoresearch 1\0{name}".encode()).hexdigest()


def passages(text: str, characters: int = _PASSAGE_CHARACTERS) -> list[str]:
    """Cut a text after blank lines into passages of at least `characters`; joined again they are the text.

    Rows of the `cpu` profile hold about 800 characters, and what does not fit into a row is dropped: whole files
    would be dropped for the most part.
    """
    lines = text.splitlines(keepends=True)
    cuts, length = [0], 0
    for number, line in enumerate(lines):
        length += len(line)
        if length >= characters and not line.strip():
            cuts.append(number + 1)
            length = 0
    if cuts[-1] != len(lines):
        cuts.append(len(lines))
    return ["".join(lines[start:end]) for start, end in pairwise(cuts)]
