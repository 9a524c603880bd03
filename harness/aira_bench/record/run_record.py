"""What a run folder says, checked: the one way in which boards, `status`, `resume`, `confirm` and the rest read runs.

A signed run (schema 2 or above) holds these chains (`aira_bench.record.chain`):

    record.jsonl             run opened: run id, hash of the manifest; changes accepted: what was no longer as recorded;
                             run ended: lines and last link of each journal
    seeds/<seed>/journal.jsonl          seed opened: run id, seed, hash of the manifest; then the steps, each with the
                                        hashes of its score's line and of its files
    seeds/<seed>/hidden/confirmed.jsonl which run, seed and journal it belongs to; then trainings on the set `final`

Whatever disagrees is one `RunStateError` that names run, seed, step and file. A run of schema 1 is read as it always
was, and is unsigned: its journal is a chain that anyone can write anew.

`aira_bench.record.seed_record` reads one seed's part.

Not covered: what was never recorded or was removed whole, as a run that somebody deleted
(docs/decisions/0014-signed-records.md says what can be seen and what cannot).
"""

import contextlib
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from aira_bench.errors import RunStateError
from aira_bench.files import Unacceptable, naming, read_file
from aira_bench.keys import KeyRing
from aira_bench.record.chain import MOST_BYTES, Chain, read_chain, require_signed
from aira_bench.record.folder import FROM_LAST_GOOD, RunFolder
from aira_bench.record.journal import JournalContent
from aira_bench.record.manifest import MOST_BYTES as MOST_MANIFEST_BYTES
from aira_bench.record.manifest import Manifest, load_manifest
from aira_bench.record.sealing import ChangesAccepted, RunEnded, RunOpened, decode_run
from aira_bench.record.seed_record import Depth, RunReading, SeedRecord, read_seed
from aira_bench.record.seen_chains import RECORD, Witness


@dataclass(frozen=True)
class RunRecord:
    """A run whose files agree with each other."""

    folder: RunFolder
    manifest: Manifest
    manifest_sha256: str
    seeds: tuple[SeedRecord, ...]
    signer: str | None
    """Who signed the run's own record."""
    closed: bool
    """Whether the run's end is recorded."""
    accepted: tuple[ChangesAccepted, ...] = ()
    """What changed since it began with its user's consent, in order."""

    @property
    def name(self) -> str:
        """The run's name, as its folder has it."""
        return self.folder.path.name

    def seed(self, seed: int) -> SeedRecord:
        """Return the record of one seed of the plan."""
        return next(each for each in self.seeds if each.seed == seed)

    @property
    def signers(self) -> tuple[str | None, ...]:
        """Everybody who signed a part of it; None for a part that is unsigned."""
        return tuple(dict.fromkeys((self.signer, *(each for seed in self.seeds for each in seed.signers))))

    def describe_signer(self, ring: KeyRing) -> str:
        """Return what boards say of who signed the record."""
        return ring.describe_all(self.signers)


def read_run(
    folder: RunFolder, ring: KeyRing, depth: Depth = "submitted", *, only: Collection[int] | None = None
) -> RunRecord:
    """Read the files of a run and check that they agree with each other.

    Args:
        folder: of the run.
        ring: the keys this machine knows.
        depth: whose files are hashed.
        only: the seeds to read, as if there were no others; None for all.

    Raises:
        RunStateError: a file is not what a run's file is, or two of them disagree.
    """
    return _read(folder, ring, depth, None, only)


def read_run_with_journals(
    folder: RunFolder, ring: KeyRing, depth: Depth
) -> tuple[RunRecord, Mapping[int, JournalContent]]:
    """Read a run as `read_run` does, and return the journals of its seeds too, which take several times its memory.

    Raises:
        RunStateError: a file is not what a run's file is, or two of them disagree.
    """
    journals: dict[int, JournalContent] = {}
    return _read(folder, ring, depth, journals, None), journals


def _read(
    folder: RunFolder,
    ring: KeyRing,
    depth: Depth,
    journals: dict[int, JournalContent] | None,
    only: Collection[int] | None,
) -> RunRecord:
    try:
        manifest, digest = load_manifest(folder.path)
        chain, accepted, ended = _read_run_events(folder, manifest, digest, ring)
        seals = {seal.seed: seal for seal in ended.seeds} if ended else {}
        if ended and sorted(seals) != sorted(manifest.plan.seeds):
            raise Unacceptable("the end record does not list the seeds of the plan")
        reading = RunReading(folder, manifest, digest, ring, depth, ring.trusts(chain.signer), journals)
        wanted = [seed for seed in manifest.plan.seeds if only is None or seed in only]
        seeds = tuple(read_seed(reading, seed, seals.get(seed)) for seed in wanted)
    except Unacceptable as error:
        way_on = folder.command("resume", FROM_LAST_GOOD) if _can_be_taken_back(folder, ring) else None
        raise RunStateError(f"Run {folder.path.name}: {error}.", hint=error.hint or way_on) from error
    return RunRecord(folder, manifest, digest, seeds, chain.signer, ended is not None, accepted)


def read_runs(
    folders: Sequence[RunFolder], ring: KeyRing, depth: Depth = "submitted"
) -> tuple[list[RunRecord], list[RunStateError]]:
    """Read every run that can be read, each once, and say why the others cannot.

    Of several with one run id the one of the best standing counts: nobody may put a run of his own in another's place.
    """
    records: list[RunRecord] = []
    faults = []
    for folder in folders:
        try:
            records.append(read_run(folder, ring, depth))
        except RunStateError as error:
            faults.append(error)
    counts: dict[str, RunRecord] = {}
    for record in sorted(records, key=lambda record: _standing(record, ring)):
        counts.setdefault(record.manifest.run_id, record)
    for record in records:
        if (known := counts[record.manifest.run_id]) is not record:
            faults.append(
                RunStateError(
                    f"Run {record.name}: it has the run id of run {known.name}, so it is a copy of it or begins like "
                    "it; only that one counts."
                )
            )
    return [record for record in records if counts[record.manifest.run_id] is record], faults


def _standing(record: RunRecord, ring: KeyRing) -> tuple[bool, bool, bool, int, bool]:
    """Smaller is better: signed here, by trusted keys, at all; then the longer record; then the folder's own name."""
    return (
        any(signer != ring.own or signer is None for signer in record.signers),
        not all(map(ring.trusts, record.signers)),
        None in record.signers,
        -sum(seed.lines for seed in record.seeds),
        record.name != record.manifest.plan.name,
    )


def _read_run_events(
    folder: RunFolder, manifest: Manifest, digest: str, ring: KeyRing
) -> tuple[Chain, tuple[ChangesAccepted, ...], RunEnded | None]:
    with naming("record.jsonl"):
        remembered = Witness(ring.seen).recall(manifest.run_id, RECORD)
        try:
            chain = read_chain(read_file(folder.path, "record.jsonl", MOST_BYTES))
        except FileNotFoundError:
            if manifest.schema_version == 1:
                remembered.check(None)
                return read_chain(b""), (), None
            raise Unacceptable("it is missing, and only runs of schema 1 have none") from None
        remembered.check(chain)
        events = decode_run(chain)
        opened = events[0] if events else None
        ended = events[-1] if events and isinstance(events[-1], RunEnded) else None
        accepted = tuple(event for event in events if isinstance(event, ChangesAccepted))
        if not isinstance(opened, RunOpened) or len(events) != 1 + len(accepted) + (ended is not None):
            raise Unacceptable("it is not the beginning of one run, changes that were accepted, and perhaps its end")
        require_signed(chain)
        if opened.manifest_sha256 != digest:
            raise Unacceptable("manifest.json was changed: its hash is not the one the run was opened with")
        if opened.run_id != manifest.run_id:
            raise Unacceptable("it is the record of another run")
        if ended is not None and chain.torn:
            raise Unacceptable("something follows the run's end")
        return chain, accepted, ended


def _can_be_taken_back(folder: RunFolder, ring: KeyRing) -> bool:
    """Whether the record still begins with the line of a trusted key that says which run it is, and its manifest is in
    the folder or in this machine's memory: all that taking back the rest needs.
    """
    try:
        first = read_file(folder.path, "record.jsonl", MOST_BYTES).partition(b"\n")
        chain = read_chain(b"".join(first[:2]))
        (opened,) = decode_run(chain)
    except (FileNotFoundError, Unacceptable, ValueError):
        return False
    if not isinstance(opened, RunOpened) or not ring.trusts_all(chain.signers or (None,)):
        return False
    with contextlib.suppress(Unacceptable):
        if load_manifest(folder.path)[1] == opened.manifest_sha256:
            return True
    copy = Witness(ring.seen).manifest(opened.run_id, MOST_MANIFEST_BYTES)
    return copy is not None and hashlib.sha256(copy).hexdigest() == opened.manifest_sha256
