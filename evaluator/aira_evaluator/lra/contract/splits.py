"""Storing and reading one split: a folder of flat arrays in numpy's format without pickles, read by memory map.

    manifest.json   what the split is, and how many examples were left out, and why
    symbols.npy     uint8 (S,), the symbols of all sequences end to end: bytes, or ListOps ids less one
    offsets.npy     int64 (M + 1,), where each of the M sequences starts; the last entry is S
    rows.npy        int32 (N, 1) or (N, 2), the sequences of each example
    labels.npy      uint8 (N,)

Sequences are stored whole (up to `MAX_SYMBOLS`), so that one store serves every length a configurable task may ask
for, and once, however many pairs of Retrieval a document is part of. A token id is its symbol plus one; id 0 is the
padding. Not covered: which examples a split holds (`build`).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.lra.contract.profiles import PROFILES
from aira_evaluator.lra.contract.submission import CONTRACTS, PADDING_ID, TaskName
from aira_evaluator.split_manifest import MANIFEST, DataError, read_manifest, write_manifest

MAX_SYMBOLS = 8192
"""Symbols kept of a sequence: the longest `SEQ_LEN` any task admits."""
_SCHEMA = 1
_ARRAYS = {"symbols": np.uint8, "offsets": np.int64, "rows": np.int32, "labels": np.uint8}


@dataclass(frozen=True)
class SplitManifest:
    """What `manifest.json` says of a split of a Long Range Arena task."""

    profile: str
    task: TaskName
    split: str
    """`train`, `validation` (public or hidden) or `test`."""
    source: str
    """`generated` (ListOps), `public` or `synthetic`."""
    configurable: bool
    """Whether the task's `model.py` may set hyperparameters."""
    seed_set: str | None = None
    """`search` or `final` for hidden splits, None for public ones."""
    training_seed: int | None = None
    """Seed of the judge's training; only beside hidden data."""
    counts: dict[str, int] = field(default_factory=dict)
    """What preparing it counted: examples left out, by reason, and documents shared with the train split."""


@dataclass(frozen=True)
class Sequences:
    """M sequences of symbols, stored end to end; the arrays may be memory maps."""

    symbols: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.symbols[self.offsets[index] : self.offsets[index + 1]]

    def token_ids(self, length: int) -> NDArray[np.uint16]:
        """Ids of all sequences, uint16 (M, length): cut at the end, padded on the right."""
        ids = np.full((len(self), length), PADDING_ID, dtype=np.uint16)
        for index in range(len(self)):
            start = int(self.offsets[index])
            stop = min(int(self.offsets[index + 1]), start + length)
            ids[index, : stop - start] = self.symbols[start:stop]
            ids[index, : stop - start] += 1  # 0 is the padding
        return ids


@dataclass(frozen=True)
class LabelledSplit:
    """N labelled examples over M sequences."""

    sequences: Sequences
    rows: NDArray[np.int32]
    """(N, documents): which sequences an example is made of."""
    labels: NDArray[np.uint8]
    """The class of each example, (N,)."""

    def __len__(self) -> int:
        return len(self.labels)


def write_split(folder: Path, split: LabelledSplit, manifest: SplitManifest) -> None:
    """Write a split; the manifest goes last, so that a folder with a manifest is complete."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, NDArray[Any]] = {
        "symbols": split.sequences.symbols,
        "offsets": split.sequences.offsets,
        "rows": split.rows,
        "labels": split.labels,
    }
    for name, dtype in _ARRAYS.items():
        if arrays[name].dtype != dtype:
            raise ValueError(f"{name}: {arrays[name].dtype}, expected {np.dtype(dtype)}")
        np.save(folder / f"{name}.npy", arrays[name], allow_pickle=False)
    write_manifest(folder, manifest, _SCHEMA)


def read_split(folder: Path) -> tuple[LabelledSplit, SplitManifest]:
    """Read a split by memory map and check that its parts fit together.

    Raises:
        DataError: naming the file and what is wrong with it.
    """
    manifest = read_split_manifest(folder)
    arrays: dict[str, NDArray[Any]] = {}
    for name, dtype in _ARRAYS.items():
        path = folder / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"{path}: {error}") from None
        if arrays[name].dtype != dtype:
            raise DataError(f"{path}: {arrays[name].dtype}, expected {np.dtype(dtype)}")
    split = LabelledSplit(Sequences(arrays["symbols"], arrays["offsets"]), arrays["rows"], arrays["labels"])
    _check(folder, split, manifest)
    return split, manifest


def _check(folder: Path, split: LabelledSplit, manifest: SplitManifest) -> None:
    contract = CONTRACTS[manifest.task]
    offsets, rows = split.sequences.offsets, split.rows
    problem = ""
    if offsets.ndim != 1 or len(offsets) < 2 or offsets[0] != 0 or offsets[-1] != split.sequences.symbols.size:
        problem = f"offsets do not cover the {split.sequences.symbols.size} symbols"
    elif (np.diff(offsets) < 1).any() or (np.diff(offsets) > MAX_SYMBOLS).any():
        problem = f"a sequence is empty or longer than {MAX_SYMBOLS}"
    elif rows.shape != (len(split.labels), contract.documents):
        problem = f"rows have shape {rows.shape}, expected {(len(split.labels), contract.documents)}"
    elif len(rows) and (rows.min() < 0 or rows.max() >= len(split.sequences)):
        problem = f"rows name sequences beyond the {len(split.sequences)} there are"
    elif len(rows) and split.labels.max() >= contract.num_classes:
        problem = f"label {split.labels.max()}, expected at most {contract.num_classes - 1}"
    elif int(split.sequences.symbols.max()) + 1 >= contract.vocab_size:
        problem = f"symbol {split.sequences.symbols.max()}, expected less than {contract.vocab_size - 1}"
    if problem:
        raise DataError(f"{folder}: {problem}; prepare the data again")


def read_split_manifest(folder: Path) -> SplitManifest:
    """Read a split's manifest.

    Raises:
        DataError: the manifest is absent or not one of ours.
    """
    manifest = read_manifest(folder, SplitManifest, _SCHEMA)
    if (manifest.profile, manifest.task) not in PROFILES:
        raise DataError(f"{folder / MANIFEST}: unknown profile {manifest.profile!r} of task {manifest.task!r}")
    return manifest
