"""Makes a published board again from its runs, and says every difference.

A board is what `leaderboard --out` wrote: its folder, of which then every file is compared, or `board.json` alone. The
runs are read with all their files: chains, signatures, scores and what each step left. So a changed figure, a removed
step, another manifest, a seed or a run that stands for another and a signature of somebody else are each a line.

A signature only says whose a record is, so every key that signed a run must be this machine's own, trusted by its user
(`aira-bench key trust`), or named to this check.

What a board tells of its own machine is taken as said where nothing contradicts it: how often seeds were begun, which
no folder of runs can show, and why runs were left out.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aira_bench.boards.board import Table, tables_of
from aira_bench.errors import RunStateError, UsageError
from aira_bench.files import Unacceptable, parse_json, read_file
from aira_bench.keys import KeyRing, short
from aira_bench.parquet import parquet_is_possible
from aira_bench.publication.document import BOARD_FILE, SCHEMA, Json, differences, run_evidence
from aira_bench.publication.files import PARQUET, board_files
from aira_bench.publication.pages import INDEX
from aira_bench.record.folder import RunFolder, is_run
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.seed_record import Depth
from aira_bench.tasks.schema import describe_validation_error

MOST_BOARD_BYTES = 2**28
"""Of one file of a board; 1,680 runs have some 10 MiB."""
MOST_RUNS = 100_000
_MOST_NAME_CHARS = 255


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class ToldKeys(_Told):
    """Whose the signatures are, as the machine knew them that wrote the board."""

    own: str | None = Field(pattern=r"^[0-9a-f]{64}$")
    trusted: tuple[str, ...]


class ToldRun(_Told):
    """What of a board's run is needed to find it."""

    name: str
    run_id: str


class ToldRow(_Told):
    """What of a row no run can show."""

    begun: dict[str, int]


class ToldSection(_Told):
    """What of a table no run can show."""

    rows: tuple[ToldRow, ...]


class ToldBoard(_Told):
    """What is taken from a board in order to make it again; all else is compared."""

    schema_: int = Field(alias="schema")
    keys: ToldKeys
    left_out: dict[str, str]
    runs: tuple[ToldRun, ...] = Field(min_length=1, max_length=MOST_RUNS)
    sections: tuple[ToldSection, ...]


@dataclass(frozen=True)
class PublishedBoard:
    """A board as it was read, before anything was compared."""

    folder: Path
    files: tuple[str, ...]
    """What is compared: all that belongs to it, or its document alone."""
    content: bytes
    document: Json
    told: ToldBoard


@dataclass(frozen=True)
class Verified:
    """What a check came to."""

    runs: int
    files: int
    differences: tuple[str, ...]
    """In words; none where everything is as its runs give it."""


def read_board(path: Path) -> PublishedBoard:
    """Read a board as `leaderboard --out` wrote it, its folder or its `board.json`.

    Raises:
        UsageError: there is none.
        RunStateError: it is no board, or a later version's.
    """
    folder, name = (path, BOARD_FILE) if path.is_dir() else (path.parent, path.name)
    try:
        content = read_file(folder, name, MOST_BOARD_BYTES)
        document = parse_json(content)
        if isinstance(document, dict) and document.get("schema") not in (SCHEMA, None):
            raise Unacceptable(f"it is of schema {document['schema']}, and this version knows {SCHEMA}")
        told = ToldBoard.model_validate(_with_tuples(document))
    except FileNotFoundError:
        raise UsageError(
            f"No board at {path}: {folder / name} is missing.", hint="aira-bench leaderboard --out DIR"
        ) from None
    except ValidationError as error:
        raise RunStateError(f"{folder / name} is no board: {describe_validation_error(error)}.") from error
    except Unacceptable as error:
        raise RunStateError(f"{folder / name} is no board: {error}.") from error
    files = () if not path.is_dir() else tuple(sorted(each.name for each in path.iterdir()))
    return PublishedBoard(folder, files, content, document, told)


def _with_tuples(value: Json) -> object:
    """JSON as strict validation takes it, whose sequences are tuples."""
    if isinstance(value, dict):
        return {key: _with_tuples(inner) for key, inner in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def verify(
    board: PublishedBoard, runs: Path, ring: KeyRing, named: Collection[str] = (), depth: Depth = "all"
) -> Verified:
    """Make a board again from the runs in a folder, and compare.

    Args:
        board: as it was read.
        runs: the folder of run folders.
        ring: the keys that this machine knows.
        named: public keys that count as known for this check.
        depth: whose files are hashed: everybody's, or none where only journals and scores are at hand.
    """
    trusting = replace(ring, trusted=ring.trusted | set(named))
    records, found = read_evidence(board, runs, trusting, depth)
    if found:
        return Verified(len(records), 0, tuple(found))
    told = board.told
    by_board = KeyRing(told.keys.own, frozenset(told.keys.trusted))
    tables, faults = _as_begun(tables_of(records, by_board, told.left_out), told)
    files = board_files(tables, records, by_board, told.left_out, with_parquet=_has_parquet(board))
    there = {record.manifest.run_id for record in records}
    faults += [
        f"run id {each}: it is left out, and is none of the board's runs" for each in told.left_out.keys() - there
    ]
    found = [*faults, *_of_document(board, files[BOARD_FILE])]
    if board.files:
        found += _of_files(board, files)
    return Verified(len(records), len(files) if board.files else 1, tuple(found))


def read_evidence(
    board: PublishedBoard, runs: Path, ring: KeyRing, depth: Depth = "all"
) -> tuple[list[RunRecord], list[str]]:
    """Read the runs that a board names; return those that can be read, and in words what speaks against any.

    Figures are not compared, so that a record of one version is evidence for another.

    Args:
        board: as it was read.
        runs: the folder of run folders.
        ring: the keys that may have signed them.
        depth: whose files are hashed.
    """
    records: list[RunRecord] = []
    faults: list[str] = []
    seen: dict[str, str] = {}
    evidence = _evidence(board.document)
    for told, evident in zip(board.told.runs, evidence, strict=True):
        if told.run_id in seen:
            faults.append(f"run {told.name}: it has the run id of run {seen[told.run_id]}, and counts twice")
            continue
        seen[told.run_id] = told.name
        folder = RunFolder(runs / told.name)
        if not _is_plain(told.name) or not is_run(folder.path):
            faults.append(f"run {told.name}: it is not in {runs}")
            continue
        try:
            record = read_run(folder, ring, depth)
        except RunStateError as error:
            faults.append(error.message)
            continue
        records.append(record)
        faults += _of_signers(record, ring)
        found = run_evidence(record)
        if isinstance(evident, dict):  # what a later version says besides is not the board's
            found = {name: value for name, value in found.items() if name in evident}
        faults += differences(evident, found, f"run {told.name}")
    return records, faults


def _is_plain(name: str) -> bool:
    """Whether a name is one of a folder, and leads nowhere else."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name and len(name) <= _MOST_NAME_CHARS


def _evidence(document: Json) -> list[Json]:
    assert isinstance(document, dict), "read as a board"
    runs = document["runs"]
    assert isinstance(runs, list), "read as a board"
    return runs


def _of_signers(record: RunRecord, ring: KeyRing) -> Iterator[str]:
    for signer in record.signers:
        if signer is None:
            yield f"run {record.name}: it is unsigned, so anybody can have written it"
        elif not ring.trusts(signer):
            yield (
                f"run {record.name}: it is signed by {short(signer)}, a key that this machine does not know "
                f"(--signed-by ed25519:{signer} if it is the board's)"
            )


def _has_parquet(board: PublishedBoard) -> bool:
    """Whether the Parquet file is there, or the site leads to it, so that it is missing."""
    if PARQUET in board.files or INDEX not in board.files:
        return PARQUET in board.files
    try:
        return f'href="{PARQUET}"'.encode() in read_file(board.folder, INDEX, MOST_BOARD_BYTES)
    except (Unacceptable, FileNotFoundError):
        return False


def _as_begun(tables: list[Table], told: ToldBoard) -> tuple[list[Table], list[str]]:
    """Tables with the counts of begun seeds that the board tells, where they are possible."""
    changed, faults = [], []
    for place, table in enumerate(tables):
        rows = []
        for index, row in enumerate(table.rows):
            try:
                begun = {int(seed): count for seed, count in told.sections[place].rows[index].begun.items()}
            except (IndexError, ValueError):
                begun = {}
            least = {**dict.fromkeys(begun, 1), **row.runs_by_seed}  # seeds of no run are told, too
            if any(begun.get(seed, 0) < count for seed, count in least.items()):
                faults.append(
                    f"{table.section.task}, row {index + 1} ({row.entry.agent}): it counts fewer beginnings of seeds "
                    "than its runs have"
                )
                begun = dict(row.runs_by_seed)
            unseen = sum(begun.values()) - sum(row.runs_by_seed.values())
            rows.append(replace(row, runs_by_seed=begun, runs_not_shown=unseen))
        changed.append(replace(table, rows=tuple(rows)))
    return changed, faults


def _of_document(board: PublishedBoard, made: bytes) -> Iterator[str]:
    if board.content == made:
        return
    found = list(differences(board.document, parse_json(made)))
    yield from found or [f"{BOARD_FILE}: its bytes are not those that its runs give, though its values are"]


def _of_files(board: PublishedBoard, made: dict[str, bytes]) -> Iterator[str]:
    for name in board.files:  # hidden ones are of who serves it, and no reader is led to them
        if name not in made and not name.startswith(".") and name != PARQUET:
            yield f"{name}: it is in the board's folder, and no file of the board"
    for name, content in made.items():
        if name == BOARD_FILE:
            continue
        try:
            same = read_file(board.folder, name, MOST_BOARD_BYTES) == content
        except FileNotFoundError:
            yield f"{name}: it is missing"
        except Unacceptable as error:
            yield f"{name}: {error}"
        else:
            if not same:
                reason = "; another version of pyarrow also writes other bytes" if name == PARQUET else ""
                yield f"{name}: it is not what its runs give{reason}"
    if _has_parquet(board) and not parquet_is_possible():
        yield f"{PARQUET}: it cannot be made again without pyarrow (pip install 'aira-bench[stats]')"
