"""Token rows as the judge holds them, hidden ones and those of the public number, checked against their manifest.

Not covered: making them (`prepare.split_assignment`).
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aira_contract.reports import PUBLIC
from aira_evaluator.autoresearch.contract.byte_lengths import ByteTableError, Lengths, read_byte_lengths
from aira_evaluator.autoresearch.contract.references import References
from aira_evaluator.split_manifest import MANIFEST, DataError
from aira_evaluator.task_scripts.hidden import HiddenSplit

SCHEMA = 3
SPLITS: tuple[HiddenSplit, ...] = ("validation", "test")
Rows = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class SplitRows:
    """Token rows of one split.

    A row of T + 1 tokens holds T targets, `tokens[1]` to `tokens[T]`; target p is predicted from `tokens[:p]`. Targets
    of no bytes (beginnings of documents) are not scored.
    """

    name: str
    tokens: Rows
    """[rows, T + 1]; may be mapped from a file."""
    lengths: Lengths
    """How many bytes of text each token stands for, int64 [vocabulary]."""
    containers: npt.NDArray[np.int64]
    """[rows]: which predict container may be asked about a row. Rows that share a source file have different ones."""
    rows_drawn: int
    """How many rows one submission is asked about."""

    def __post_init__(self) -> None:
        """Raises ValueError for rows of no targets, unknown tokens, or numbers that do not fit together."""
        if self.tokens.ndim != 2 or not self.tokens.size or self.tokens.shape[1] < 2:
            raise ValueError(f"{self.name} has rows of shape {self.tokens.shape}, expected [rows, T + 1]")
        if self.tokens.max() >= len(self.lengths):
            raise ValueError(f"token {self.tokens.max()} is not in the table of {len(self.lengths)} byte lengths")
        if self.containers.shape != (len(self.tokens),) or not 0 < self.rows_drawn <= len(self.tokens):
            raise ValueError(f"{self.name}: containers and rows_drawn do not fit {len(self.tokens)} rows")

    def bytes_of_targets(self, rows: slice | npt.NDArray[np.int64] = slice(None)) -> Lengths:
        """Bytes of every target of some rows, [rows, T]; 0 where it is not scored."""
        return self.lengths[self.tokens[rows, 1:]]


@dataclass(frozen=True)
class PublicSplit:
    """The public rows that a script claims a number on, and what our own models say of every target of them."""

    rows: SplitRows
    references: References


@dataclass(frozen=True)
class HiddenSet:
    """One seed set: its rows, and what only the judge may know of them."""

    splits: Mapping[str, SplitRows]
    references: Mapping[str, References]
    """What our own models say of every target, by split."""
    secret: bytes
    """Decides what is asked, together with one of the machine's."""
    public_corpus: bool
    """The text can be read elsewhere in an agent's container."""


def write_split(folder: Path, rows: SplitRows, references: References) -> dict[str, Any]:
    """Write one split's arrays; return its entry in the manifest of its seed set."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "": rows.tokens,
        ".containers": rows.containers,
        ".references": references.values,
    }
    for suffix, array in arrays.items():
        np.save(folder / f"{rows.name}{suffix}.npy", array)
    return {
        "rows": len(rows.tokens),
        "rows_drawn": rows.rows_drawn,
        "targets": references.targets,
        "bytes": references.bytes,
        "sha256": {f"{rows.name}{suffix}.npy": _sha256(array) for suffix, array in arrays.items()},
    }


def _sha256(array: npt.NDArray[Any]) -> str:
    """Hash of an array's bytes; a mapped one is read in pieces."""
    digest = hashlib.sha256()
    for part in np.array_split(array, max(1, array.nbytes >> 26)):
        digest.update(part.tobytes())
    return digest.hexdigest()


def read_hidden(data: Path, seed_set: str, profile: str) -> HiddenSet:
    """Read a seed set that `evaluate_prepare.py` wrote.

    Raises:
        DataError: files are missing, damaged, of another profile, or stand for another number of bytes than their text.
    """
    named = f"hidden data of seed set {seed_set}"
    manifest, read = _read(named, data, seed_set, {"profile": profile, "seed_set": seed_set}, SPLITS)
    try:
        return HiddenSet(
            splits={name: rows for name, (rows, _) in read.items()},
            references={name: references for name, (_, references) in read.items()},
            secret=str(manifest["seed"]).encode(),
            public_corpus=bool(manifest["public_corpus"]),
        )
    except KeyError as error:
        raise DataError(f"{named}: {error!r}") from error


def read_public(data: Path, profile: str) -> PublicSplit:
    """Read the public rows that `evaluate_prepare.py` wrote for the judge.

    Raises:
        DataError: as of `read_hidden`.
    """
    _, read = _read("the judge's public rows", data, PUBLIC, {"profile": profile, "seed_set": None}, (PUBLIC,))
    return PublicSplit(*read[PUBLIC])


def _read(
    named: str, data: Path, folder_name: str, of: Mapping[str, str | None], splits: Sequence[str]
) -> tuple[dict[str, Any], dict[str, tuple[SplitRows, References]]]:
    """The manifest of a folder, and rows and references of its splits."""
    folder = data / folder_name
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="ascii"))
        if not isinstance(manifest, dict):
            raise ValueError(f"{MANIFEST} holds no object")
        lengths = read_byte_lengths(data / "tokenizer")
        arrays = {path.name: np.load(path, mmap_mode="r", allow_pickle=False) for path in folder.glob("*.npy")}
    except (OSError, ValueError, ByteTableError) as error:
        raise DataError(f"{named}: {error}") from error
    expected = {"schema": SCHEMA, **of}
    found = {name: manifest.get(name) for name in expected}
    if found != expected:
        raise DataError(f"{named} is {found}, expected {expected}; prepare the data again")
    try:
        return manifest, {name: _read_split(name, arrays, lengths, manifest["splits"][name]) for name in splits}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{named}: {error!r}") from error


def _read_split(
    name: str, arrays: Mapping[str, npt.NDArray[Any]], lengths: Lengths, recorded: Mapping[str, Any]
) -> tuple[SplitRows, References]:
    files = [f"{name}{suffix}.npy" for suffix in ("", ".containers", ".references")]
    for file in files:
        if _sha256(arrays[file]) != recorded["sha256"][file]:
            raise DataError(f"{file} is not what was made")
    tokens, containers, values = (arrays[file] for file in files)
    if not isinstance(drawn := recorded["rows_drawn"], int):
        raise ValueError(f"rows_drawn is {drawn!r}")
    rows = SplitRows(name, tokens, lengths, containers, drawn)
    references = References.of(values, rows.bytes_of_targets())
    if references.bytes != recorded["bytes"]:
        raise DataError(f"the targets of {name} stand for {references.bytes} bytes, their text has {recorded['bytes']}")
    return rows, references
