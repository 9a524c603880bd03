"""What a run folder says, checked: the one way in which boards, `status`, `resume`, `confirm` and the rest read runs.

A signed run (schema 2 or above) holds these chains (`aira_bench.record.chain`):

    record.jsonl             run opened: run id, hash of the manifest; changes accepted: what was no longer as recorded;
                             run ended: lines and last link of each journal
    seeds/<seed>/journal.jsonl          seed opened: run id, seed, hash of the manifest; then the steps, each with the
                                        hashes of its score's line and of its files
    seeds/<seed>/hidden/confirmed.jsonl which run, seed and journal it belongs to; then trainings on the set `final`

Whatever disagrees is one `RunStateError` that names run, seed, step and file. A run of schema 1 is read as it always
was, and is unsigned: its journal is a chain that anyone can write anew.

Not covered: what was never recorded or was removed whole, as a run that somebody deleted
(docs/decisions/0014-signed-records.md says what can be seen and what cannot).
"""

import contextlib
import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aira_bench.errors import RunStateError
from aira_bench.files import Unacceptable, naming, read_file
from aira_bench.keys import KeyRing
from aira_bench.record.chain import MOST_BYTES, BrokenChain, Chain, read_chain, require_signed
from aira_bench.record.confirmations import Confirmations, read_confirmations
from aira_bench.record.folder import FROM_LAST_GOOD, RunFolder, SeedFolder
from aira_bench.record.journal import (
    AttemptBegan,
    JournalContent,
    SeedEnded,
    SeedOpened,
    StepEnded,
    StepStarted,
    read_journal,
    score_hashes,
)
from aira_bench.record.manifest import MOST_BYTES as MOST_MANIFEST_BYTES
from aira_bench.record.manifest import Manifest, load_manifest
from aira_bench.record.node import Node, best_node
from aira_bench.record.scores import TrustedScore
from aira_bench.record.sealing import ChangesAccepted, RunEnded, RunOpened, SeedSeal, decode_run, require_files
from aira_bench.record.seen_chains import RECORD, Witness, journal_name

Depth = Literal["records", "submitted", "all"]
"""Whose files are hashed: nobody's, those of submitted steps, or those of every step."""
MOST_RECORD_BYTES = 2**29
"""Of all journals and scores of a run that no trusted key signed: what takes a minute to read, not hours."""
MOST_SUBMITTED_BYTES = 2**34
"""Of the files of all its submitted steps."""


@dataclass(frozen=True)
class SeedRecord:
    """What the files of one seed say, checked, whether it was begun or not."""

    seed: int
    folder: SeedFolder
    nodes: tuple[Node, ...]
    ended: SeedEnded | None
    scores: Mapping[int, TrustedScore]
    confirmations: Confirmations
    """What trainings of its submission on the seed set `final` came to."""
    lines: int
    seal: str
    signers: tuple[str | None, ...]
    """Everybody who signed lines of the journal, the last at the end; None where nobody did."""
    restarts: int = 0
    """Steps begun again, after a stop or a crash."""

    @property
    def submitted(self) -> Node | None:
        """The submitted step of an ended seed."""
        wanted = self.ended.submitted if self.ended else None
        return next((node for node in self.nodes if node.step == wanted), None)


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
        reading = _Reading(folder, manifest, digest, ring, depth, ring.trusts(chain.signer), journals)
        wanted = [seed for seed in manifest.plan.seeds if only is None or seed in only]
        seeds = tuple(_read_seed(reading, seed, seals.get(seed)) for seed in wanted)
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


@dataclass
class _Reading:
    """A run that is being read, and how much of a stranger's was read so far."""

    folder: RunFolder
    manifest: Manifest
    manifest_sha256: str
    ring: KeyRing
    depth: Depth
    trusted: bool
    journals: dict[int, JournalContent] | None
    """Where each journal is to be left; None where nobody wants them."""
    record_bytes: int = 0
    submitted_bytes: int = 0

    def allow_records(self, place: SeedFolder) -> None:
        """Count the files that are about to be read; raises Unacceptable where a stranger's are too many."""
        for path in (place.journal, place.scores.path, place.confirmed.path):
            self.record_bytes += min(_size(path), MOST_BYTES)  # its reader refuses more
        self._require_at_most(self.record_bytes, MOST_RECORD_BYTES, "journals and scores")

    def allow_files(self, place: SeedFolder, names: Iterable[str]) -> None:
        """Count files that are about to be hashed, unless the user asked for all of this run; raises Unacceptable where
        a stranger's are too many.
        """
        if self.depth == "submitted":
            self.submitted_bytes += sum(_size(place.path / name) for name in names)
            self._require_at_most(self.submitted_bytes, MOST_SUBMITTED_BYTES, "submitted files")

    def _require_at_most(self, found: int, most: int, what: str) -> None:
        if found > most and not self.trusted:
            raise Unacceptable(
                f"its {what} have more than {most:,} bytes, which are read only if a trusted key signed the run"
            )


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except (OSError, ValueError):
        return 0  # whoever opens it says why


def _read_seed(reading: _Reading, seed: int, seal: SeedSeal | None) -> SeedRecord:
    folder, manifest, ring = reading.folder, reading.manifest, reading.ring
    with naming(f"seed {seed}"), _offering_repair(folder):
        place = folder.seed(seed)
        reading.allow_records(place)
        with naming("journal.jsonl"):
            remembered = Witness(ring.seen).recall(manifest.run_id, journal_name(seed))
            content = _journal(folder, seed, ring)
            chain = content.chain
            if reading.journals is not None:
                reading.journals[seed] = content
            if seal is not None:
                _require_sealed(chain, seal)
            remembered.check(chain)
            if manifest.schema_version != 1 and chain.bodies:
                require_signed(chain)
                _require_opening(content, SeedOpened(manifest.run_id, seed, reading.manifest_sha256, ""))
            elif chain.version != 1 and chain.bodies:
                raise Unacceptable("it is signed, but the manifest is of schema 1, which is not")
            nodes, ended = _search(content, manifest)
        signed = bool(chain.bodies) and chain.version == 2
        with naming("hidden/scores.jsonl"):
            if signed:
                scores = place.scores.read_bound(
                    score_hashes(content.events), more=ended is None, ours=ring.trusts_all(chain.signers)
                )
            else:
                scores = {step: score for step, score in place.scores.read_unbound().items() if step <= len(nodes)}
            for node in nodes:
                if node.is_valid and node.step not in scores:
                    raise Unacceptable(f"the score of step {node.step} is missing, and the step is valid")
        with naming("hidden/confirmed.jsonl"):
            hash_all = reading.depth == "all"
            confirmed = read_confirmations(place, manifest.run_id, seed, chain, nodes, ring, hash_all=hash_all)
        if signed:
            _check_files(reading, place, content, ended)
        return SeedRecord(
            seed,
            place,
            nodes,
            ended,
            scores,
            confirmed,
            len(chain.bodies),
            chain.seal,
            chain.signers or ((None,) if chain.bodies else ()),
            _restarts(content),
        )


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


@contextlib.contextmanager
def _offering_repair(folder: RunFolder) -> Iterator[None]:
    """Name the command that goes on before what is wrong with a seed."""
    try:
        yield
    except Unacceptable as error:
        error.hint = error.hint or folder.command("resume", FROM_LAST_GOOD)
        raise


def _journal(folder: RunFolder, seed: int, ring: KeyRing) -> JournalContent:
    name = f"seeds/{folder.seed(seed).path.name}/journal.jsonl"
    try:
        return read_journal(folder.path, name, ring)
    except BrokenChain as error:
        good = read_file(folder.path, name, MOST_BYTES).splitlines()[: error.line - 1]
        steps = sum(line.endswith(b'"event":"step_ended"}}') for line in good)
        error.args = (f"{error}; its last good step is {steps or 'none'}",)
        raise


def _restarts(content: JournalContent) -> int:
    """How many of a journal's steps were begun again."""
    begun = [event.step for event in content.events if isinstance(event, StepStarted)]
    return len(begun) - len(set(begun))


def _require_sealed(chain: Chain, seal: SeedSeal) -> None:
    if len(chain.bodies) != seal.lines:
        raise Unacceptable(f"it has {len(chain.bodies)} whole lines, the run's end record says {seal.lines}")
    if chain.seal != seal.seal:
        raise Unacceptable("its last link is not the one in the run's end record")


def _require_opening(content: JournalContent, expected: SeedOpened) -> None:
    first, others = content.events[0], content.events[1:]
    if not isinstance(first, SeedOpened) or any(isinstance(event, SeedOpened) for event in others):
        raise Unacceptable("it does not begin, once, with the line that says whose it is")
    if first.run_id != expected.run_id:
        raise Unacceptable(f"it was copied: it is of run {first.run_id}, this is run {expected.run_id}")
    if first.seed != expected.seed:
        raise Unacceptable(f"it was copied: it is the journal of seed {first.seed}")
    if first.manifest_sha256 != expected.manifest_sha256:
        raise Unacceptable("manifest.json was changed: its hash is not the one the seed was opened with")


def _search(content: JournalContent, manifest: Manifest) -> tuple[tuple[Node, ...], SeedEnded | None]:
    """Steps and end, if they follow each other as a search's do."""
    nodes: list[Node] = []
    ended: SeedEnded | None = None
    _require_rising(content)
    for number, event in enumerate(content.events, start=1):
        if ended is not None:
            raise Unacceptable(f"line {number} follows the seed's end")
        if isinstance(event, SeedEnded):
            ended = event
        elif isinstance(event, StepStarted) and event.step != len(nodes) + 1:
            raise Unacceptable(f"line {number} begins step {event.step}, expected {len(nodes) + 1}")
        elif isinstance(event, StepEnded):
            if event.node.step != len(nodes) + 1:
                raise Unacceptable(f"line {number} is step {event.node.step}, expected {len(nodes) + 1}")
            nodes.append(event.node)
    if ended is not None and content.chain.torn:
        raise Unacceptable("something follows the seed's end")
    if len(nodes) > manifest.plan.steps:
        raise Unacceptable(f"it has {len(nodes)} steps, the plan has {manifest.plan.steps}")
    if ended is not None:
        best = best_node(nodes, lower_is_better=manifest.lower_is_better)
        if ended.submitted != (best.step if best else None):
            wanted = f"step {best.step}" if best else "none"
            raise Unacceptable(
                f"step {ended.submitted} is said to be submitted; by the rule of all runs it is {wanted}"
            )
    return tuple(nodes), ended


def _require_rising(content: JournalContent) -> None:
    """Raises Unacceptable where an earlier attempt of a worker's wrote after a later one had begun."""
    attempt = 0
    for number, event in enumerate(content.events, start=1):
        if isinstance(event, AttemptBegan):
            if event.attempt <= attempt:
                raise Unacceptable(f"line {number} begins attempt {event.attempt}, after attempt {attempt}")
            attempt = event.attempt


def _check_files(reading: _Reading, place: SeedFolder, content: JournalContent, ended: SeedEnded | None) -> None:
    if reading.depth == "records":
        return
    for event in content.events:
        if isinstance(event, StepEnded) and (reading.depth == "all" or (ended and ended.submitted == event.node.step)):
            reading.allow_files(place, event.files)
            with naming(f"step {event.node.step}"):
                require_files(place, event.files, place.step_folders(event.node.step))
