"""Looks for hidden labels in the public data that a task's scripts made.

Three ways in which labels really slip in are found: a labelled file is copied as it is; a public file of the test
split keeps the scoring column, in CSV, JSON lines or a saved dataset; a column of a public CSV file equals the
labels under another name, row by row.

Not covered: labels that are permuted, encoded or spread over columns, and the values in Arrow, Parquet and other
binary files; there only names of columns are read. Nobody but the author can say that no label is public.
"""

import csv
import io
import itertools
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from aira_bench import files
from aira_bench.tasks.metadata import LoggingInfo
from aira_contract.files import LABELLED

LARGEST_READ_BYTES = 16 << 20
"""Of a file whose values are compared; larger ones are compared by their hash alone."""
MOST_FILES = 2000
FEWEST_ROWS = 8
"""Shorter columns may be equal by chance."""

_ABOUT_DATA = frozenset({"dataset_info.json", "state.json", "dataset_dict.json"})
_LARGEST_HASHED_BYTES, _MOST_ENTRIES = 64 << 30, 1 << 20

Columns = Mapping[str, Sequence[str]]


def find_public_labels(public: Path, hidden: Path, info: LoggingInfo) -> str | None:
    """Return what of the labels is public, in words; None where nothing is found.

    Args:
        public: the folder that agents see.
        hidden: the folder with labels.
        info: names the test split and the scoring columns.
    """
    found = itertools.chain(
        _copies(public, hidden, info.scoring_column),
        _kept_columns(public, info),
        _equal_columns(public, hidden, info.scoring_column),
    )
    return next(found, None)


def _names(folder: Path) -> list[str]:
    """Paths below a folder of its regular files, the first `MOST_FILES` of them."""
    entries = files.entries_below(folder, PurePosixPath(), _MOST_ENTRIES)
    regular = (name for name, mode in entries if stat.S_ISREG(mode))
    return sorted(itertools.islice(regular, MOST_FILES))


def _copies(public: Path, hidden: Path, scoring: Sequence[str]) -> Iterator[str]:
    """Labelled files that are public. Of a labelled folder one file is no proof, unless its name says what it holds."""
    labelled = {name: _content(hidden, name) for name in _names(hidden) if _is_labelled(name)}
    sizes = {size for size, _ in labelled.values()}
    copies: dict[tuple[int, str], str] = {}
    for name in _names(public):
        if (public / name).stat().st_size in sizes:
            copies[_content(public, name)] = name
    entries: dict[str, list[str]] = {}
    for name in labelled:
        entries.setdefault(name.partition("/")[0], []).append(name)
    for entry, names in entries.items():
        whole = all(labelled[name] in copies for name in names)
        for name in names:
            telling = name != entry and any(word in Path(name).stem for word in ("label", *scoring))
            if labelled[name] in copies and (whole or telling):
                yield f"{copies[labelled[name]]} is the same file as the hidden {name}"


def _is_labelled(name: str) -> bool:
    return LABELLED in name.partition("/")[0] and Path(name).name not in _ABOUT_DATA


def _content(folder: Path, name: str) -> tuple[int, str]:
    return (folder / name).stat().st_size, files.hash_file(folder, name, _LARGEST_HASHED_BYTES)


def _kept_columns(public: Path, info: LoggingInfo) -> Iterator[str]:
    for name in _names(public):
        top = name.partition("/")[0].partition(".")[0]
        if top not in ("test", info.test_split) or top == info.train_split:
            continue
        for column in _column_names(public, name):
            if column in info.scoring_column:
                yield f"{name} has the scoring column {column!r}"


def _column_names(folder: Path, name: str) -> list[str]:
    """The names of the columns of a data file, where its format is one that is read here."""
    suffix = Path(name).suffix
    if suffix in (".csv", ".tsv"):
        return list(_columns(folder, name))
    if suffix in (".jsonl", ".json"):
        text = _text(folder, name)
        value = _json(text.partition("\n")[0] if suffix == ".jsonl" else text)
        if Path(name).name == "dataset_info.json" and isinstance(value, dict):
            value = value.get("features")
        if isinstance(value, list) and value:
            value = value[0]
        return [str(key) for key in value] if isinstance(value, dict) else []
    return []


def _equal_columns(public: Path, hidden: Path, scoring: Sequence[str]) -> Iterator[str]:
    labels = [
        (name, column, values)
        for name in _names(hidden)
        if name.endswith(".csv")
        for column, values in _columns(hidden, name).items()
        if column in scoring and len(values) >= FEWEST_ROWS and len(set(values)) > 1
    ]
    if not labels:
        return
    for name in _names(public):
        if not name.endswith(".csv"):
            continue
        for column, values in _columns(public, name).items():
            for of, label, hidden_values in labels:
                if values == hidden_values:
                    yield f"column {column!r} of {name} equals the labels, column {label!r} of the hidden {of}"


def _columns(folder: Path, name: str) -> Columns:
    """The columns of a CSV file with a header; none of a file that is no such thing, or too large."""
    delimiter = "\t" if name.endswith(".tsv") else ","
    try:
        rows = list(csv.reader(io.StringIO(_text(folder, name), newline=""), delimiter=delimiter))
    except csv.Error:
        return {}
    if not rows:
        return {}
    header, body = rows[0], [row for row in rows[1:] if row]
    return {column.strip(): [row[at] if at < len(row) else "" for row in body] for at, column in enumerate(header)}


def _text(folder: Path, name: str) -> str:
    try:
        return files.read_file(folder, name, LARGEST_READ_BYTES).decode("utf-8-sig")
    except (files.Unacceptable, UnicodeDecodeError):
        return ""


def _json(text: str) -> object:
    try:
        return files.parse_json(text)
    except files.Unacceptable:
        return None
