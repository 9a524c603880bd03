"""Writes what vouches for a run: its record, and what a seed's journal begins and a step ends with.

Not covered: whether all of it agrees (`aira_bench.record.run_record`), and confirmations
(`aira_bench.record.confirmations`).
"""

import hashlib
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.files import Unacceptable, entries_below, hash_file, naming, read_file, write_atomically
from aira_bench.keys import MachineKey
from aira_bench.leasing.entries import FOLDER as LEASES
from aira_bench.leasing.entries import lease_store
from aira_bench.record.chain import MOST_BYTES, Chain, ChainWriter, Guard, Noted, read_chain
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.journal import AttemptBegan, JournalFile, SeedOpened, StepEnded, read_journal
from aira_bench.record.manifest import MOST_BYTES as MOST_MANIFEST_BYTES
from aira_bench.record.manifest import Manifest, encode_manifest
from aira_bench.record.node import Node
from aira_bench.record.schema import UNNAMED, LineSchema, decode, encode
from aira_bench.record.seen_chains import RECORD, Witness, journal_name

MOST_FILE_BYTES = 2**32
MOST_ENTRIES = 1_000_000


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SeedSeal:
    """How many lines a seed's journal has at the end of a run, and the seal of its last one."""

    seed: int
    lines: int
    seal: str


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RunOpened:
    """The first line of a run's record, which binds it to the manifest."""

    run_id: str
    manifest_sha256: str
    at: str
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["run_opened"] = "run_opened"


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Difference:
    """One thing that is no longer as a run has recorded it, in words."""

    what: str
    then: str
    now: str


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ChangesAccepted:
    """The run's user let it go on although something had changed."""

    differences: tuple[Difference, ...]
    finished: tuple[tuple[int, int], ...]
    """Each seed, and how many of its steps were finished by then."""
    at: str
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["changes_accepted"] = "changes_accepted"


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class RunEnded:
    """Every seed has ended; the seals say with which journals."""

    seeds: tuple[SeedSeal, ...]
    at: str
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["run_ended"] = "run_ended"


RunEvent = RunOpened | ChangesAccepted | RunEnded
_RUN_EVENT: TypeAdapter[RunEvent] = TypeAdapter(Annotated[RunEvent, Field(discriminator="event")])


def decode_run(chain: Chain) -> list[RunEvent]:
    """Return the events of a run's record.

    Raises:
        BrokenChain: a line is no such event.
        LaterSchema: a later version wrote it.
    """
    return [event for _, event in decode(chain, _RUN_EVENT)]


@dataclass(frozen=True)
class Keeper:
    """Keeps the record of one run with this machine's key."""

    folder: RunFolder
    key: MachineKey
    run_id: str
    manifest_sha256: str
    now: Callable[[], datetime]
    witness: Witness
    guard: Guard | None = None
    """Raises where this process may append no more; None where it has the whole run."""
    attempt: AttemptBegan | None = None
    """Which attempt of a worker's this is; None where one process has the whole run."""

    def remember(self) -> None:
        """Note outside the folder that this machine works on the run, and how far its record has come."""
        self.witness.begin(self.run_id, read_file(self.folder.path, "manifest.json", MOST_MANIFEST_BYTES))
        chain = read_chain(read_file(self.folder.path, "record.jsonl", MOST_BYTES))
        self.witness.note(self.run_id, RECORD, len(chain.bodies), chain.seal)

    def journal(self, seed: int) -> JournalFile:
        """Open the journal of a seed for appending, begun if it was not."""
        opening, known_as = SeedOpened(self.run_id, seed, self.manifest_sha256, self.at()), journal_name(seed)
        path = self.folder.seed(seed).journal
        journal = JournalFile(path, self.key, opening, self._noted(known_as), self.guard)
        if self.attempt is not None and journal.ended is None:
            journal.append(replace(self.attempt, at=self.at()))
        return journal

    def close(self, seeds: Sequence[int]) -> None:
        """Record that every seed has ended, unless that is recorded."""
        with self.chain(self.folder.path, "record.jsonl", RECORD) as (found, append):
            if not any(isinstance(event, RunEnded) for event in decode_run(found)):
                append(RunEnded(self._seals(seeds), self.at()))

    def close_shared(self, seeds: Sequence[int]) -> None:
        """Record that every seed has ended, as one of several workers: the first decides, others put the same there.

        The record with its last line is made as a shared object, of a name that is made of what stood there before.
        It is made once, whatever others do and however late; what it holds is then moved into place.
        """
        before = read_file(self.folder.path, "record.jsonl", MOST_BYTES)
        found = read_chain(before)
        if any(isinstance(event, RunEnded) for event in decode_run(found)):
            return
        own = self.folder.path / LEASES / f".closing-{secrets.token_hex(8)}.tmp"
        try:
            write_atomically(own, before)
            writer = ChainWriter(own, found, self.key)
            writer.append(encode(RunEnded(self._seals(seeds), self.at())), signed=True)
            writer.close()
            decided = f"closed-{hashlib.sha256(before).hexdigest()[:16]}.jsonl"
            closed = lease_store(self.folder.path).create(decided, read_file(own.parent, own.name, MOST_BYTES))
        finally:
            own.unlink(missing_ok=True)
        write_atomically(self.folder.path / "record.jsonl", closed)
        chain = read_chain(closed)
        self.witness.note(self.run_id, RECORD, len(chain.bodies), chain.seal)

    def _seals(self, seeds: Sequence[int]) -> tuple[SeedSeal, ...]:
        places = ((seed, self.folder.seed(seed).path.name) for seed in seeds)
        chains = ((seed, read_journal(self.folder.path, f"seeds/{name}/journal.jsonl").chain) for seed, name in places)
        return tuple(SeedSeal(seed, len(chain.bodies), chain.seal) for seed, chain in chains)

    def require_own(self, first: object, place: SeedFolder) -> None:
        """Raises Unacceptable unless the first event of a journal says that it is this run's, and of this seed."""
        expected = SeedOpened(self.run_id, place.number, self.manifest_sha256, "")
        if not isinstance(first, SeedOpened) or replace(first, at="") != expected:
            raise Unacceptable("it does not begin with the line that says whose it is")

    def accept(self, differences: tuple[Difference, ...], finished: Sequence[tuple[int, int]]) -> None:
        """Record that the run goes on although something changed; `finished` are each seed and its finished steps."""
        with self.chain(self.folder.path, "record.jsonl", RECORD) as (_, append):
            append(ChangesAccepted(differences, tuple(finished), self.at()))

    @contextmanager
    def chain(self, root: Path, name: str, known_as: str) -> Iterator[tuple[Chain, Callable[[object], None]]]:
        """What stands in the chain `name` below `root`, and a function that appends a signed event to it.

        `known_as` is what the machine's memory calls it.
        """
        try:
            found = read_chain(read_file(root, name, MOST_BYTES))
        except FileNotFoundError:
            found = read_chain(b"")
        writer = ChainWriter(root / name, found, self.key, self._noted(known_as), self.guard)
        try:
            yield found, lambda event: writer.append(encode(event), signed=True)
        finally:
            writer.close()

    def _noted(self, known_as: str) -> Noted:
        return lambda lines, seal: self.witness.note(self.run_id, known_as, lines, seal)

    def at(self) -> str:
        """Return the time as text, for an event."""
        return self.now().isoformat()


def is_closed(folder: RunFolder) -> bool:
    """Whether the end of a run is recorded; it is not yet where only its seeds have ended.

    Raises:
        Unacceptable: its record cannot be read.
    """
    try:
        chain = read_chain(read_file(folder.path, "record.jsonl", MOST_BYTES))
    except FileNotFoundError:  # of schema 1
        return True
    return any(isinstance(event, RunEnded) for event in decode_run(chain))


def open_run(
    folder: RunFolder, manifest: Manifest, key: MachineKey, now: Callable[[], datetime], witness: Witness
) -> Keeper:
    """Write the record's first line, and then the manifest, which makes the folder a run."""
    data = encode_manifest(manifest)
    digest = hashlib.sha256(data).hexdigest()
    keeper = Keeper(folder, key, manifest.run_id, digest, now, witness)
    witness.begin(manifest.run_id, data)
    with keeper.chain(folder.path, "record.jsonl", RECORD) as (_, append):
        append(RunOpened(manifest.run_id, digest, now().isoformat()))
    write_atomically(folder.path / "manifest.json", data)
    return keeper


def step_ended(folder: SeedFolder, node: Node, at: str) -> StepEnded:
    """Make the line of a finished step, with the hashes of its score and of the files it left."""
    files = hash_files(folder, folder.step_folders(node.step))
    return StepEnded(node, at, folder.scores.hash_of_last(node.step), files)


def hash_files(place: SeedFolder, folders: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of each file in the folders, by its path in the seed's folder."""
    return {name: hash_file(place.path, name, MOST_FILE_BYTES) for name in files_below(place.path, folders)}


def files_below(root: Path, folders: Sequence[str]) -> Iterator[str]:
    """Names of all that is no folder. What is no plain file has a name too, and fails when it is opened.

    Raises:
        Unacceptable: there are too many, or they are nested too deeply.
    """
    for folder in folders:
        yield from sorted(name for name, _ in entries_below(root, PurePosixPath(folder), MOST_ENTRIES))


def require_files(place: SeedFolder, expected: Mapping[str, str], folders: Sequence[str]) -> None:
    """Whether the folders hold the expected files, by name and hash, and no others.

    Raises:
        Unacceptable: a file is missing, replaced, or one too many.
    """
    for name, digest in expected.items():
        if not name.startswith(tuple(f"{folder}/" for folder in folders)):
            raise Unacceptable(f"{name} is recorded with it, but is not its file")
        with naming(name):
            try:
                found = hash_file(place.path, name, MOST_FILE_BYTES)
            except FileNotFoundError:
                raise Unacceptable("it is missing") from None
            if found != digest:
                raise Unacceptable("it was replaced: its hash is not the recorded one")
    for name in files_below(place.path, folders):
        if name not in expected:
            raise Unacceptable(f"{name} was not there when the step was recorded")
