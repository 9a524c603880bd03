"""What the files of one seed say, checked: its journal, its scores, its confirmations and the files of its steps.

`aira_bench.record.run_record` has the chains they are, and reads whole runs.

Not covered: the run's own record and its manifest, which whoever calls this has read.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aira_bench.files import Unacceptable, naming, read_file
from aira_bench.keys import KeyRing
from aira_bench.record.chain import MOST_BYTES, BrokenChain, Chain, require_signed
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
from aira_bench.record.manifest import Manifest
from aira_bench.record.node import Node, best_node
from aira_bench.record.scores import TrustedScore
from aira_bench.record.sealing import SeedSeal, require_files
from aira_bench.record.seen_chains import Witness, journal_name

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


@dataclass
class RunReading:
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


def read_seed(reading: RunReading, seed: int, seal: SeedSeal | None) -> SeedRecord:
    """Read the files of a seed and check that they agree with each other and with the run's end record.

    Args:
        reading: the run that is being read.
        seed: of its plan.
        seal: what the run's end record says of its journal; None before that.

    Raises:
        Unacceptable: a file is not what a run's file is, or two of them disagree.
    """
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


def _check_files(reading: RunReading, place: SeedFolder, content: JournalContent, ended: SeedEnded | None) -> None:
    if reading.depth == "records":
        return
    for event in content.events:
        if isinstance(event, StepEnded) and (reading.depth == "all" or (ended and ended.submitted == event.node.step)):
            reading.allow_files(place, event.files)
            with naming(f"step {event.node.step}"):
                require_files(place, event.files, place.step_folders(event.node.step))
