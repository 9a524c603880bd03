"""What can still be read of a run, damaged or not, and what is wrong with the rest: for people, never for boards.

A sound run is what `run_record.read_run` says. Of any other each file is read on its own, as far as it holds: a journal
up to the line that does not fit the one before, a score where its step's line names it, and everything that is left out
has a line that says why. Readers take no lock, so a run that is worked on is read like any other.

Not covered: files of steps (`aira_bench.looking.step_files`), and mending (`aira_bench.record.repair`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from aira_bench.errors import RunStateError
from aira_bench.files import Unacceptable, read_file
from aira_bench.keys import KeyRing
from aira_bench.record.chain import MOST_BYTES, BrokenChain, Chain, read_chain
from aira_bench.record.confirmations import NO_CONFIRMATIONS, Confirmations, read_confirmations
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.journal import (
    Event,
    JournalContent,
    SeedEnded,
    StepEnded,
    StepStarted,
    decode_journal,
    score_hashes,
)
from aira_bench.record.manifest import Manifest, load_manifest
from aira_bench.record.node import Node
from aira_bench.record.run_record import RunRecord, read_run_with_journals
from aira_bench.record.scores import TrustedScore
from aira_bench.record.seed_record import SeedRecord

_MOST_CUTS = 4
"""How often a journal is cut before a line that does not hold; whoever has broken more lines made them so."""
_BEFORE = "; what is before it is shown"
_MOST_SEEDS = 1000
"""Of a run that has lost its manifest: folders that are looked at."""


@dataclass(frozen=True)
class SeedRemains:
    """What holds of one seed."""

    seed: int
    folder: SeedFolder
    steps: tuple[StepEnded, ...]
    """Finished steps in order, from the first on without a gap."""
    begun: StepStarted | None
    """The step in flight; None where none is, or the journal does not say."""
    started: Mapping[int, str]
    """When each step began, for the last time; ISO 8601."""
    ended: SeedEnded | None
    scores: Mapping[int, TrustedScore]
    confirmations: Confirmations
    signed: bool
    """Whether the journal is a signed one, so that its lines name the hashes of files."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Nodes of the finished steps, in order."""
        return tuple(each.node for each in self.steps)

    def step(self, number: int) -> StepEnded | None:
        """Return the line of a finished step; None where there is none."""
        return self.steps[number - 1] if 1 <= number <= len(self.steps) else None


@dataclass(frozen=True)
class RunRemains:
    """What holds of a run."""

    folder: RunFolder
    manifest: Manifest | None
    """None where it cannot be read: then nothing says in which direction scores are better."""
    seeds: tuple[SeedRemains, ...]
    record: RunRecord | None
    """The whole run, checked; None if it is damaged."""
    faults: tuple[str, ...]
    """What is wrong, a line each, the worst first; empty if the run is sound."""
    hint: str | None = None
    """The command that goes on before the damage, where there is one."""

    @property
    def lower_is_better(self) -> bool:
        """Whether a lower score is better; what is usual where no manifest says it."""
        return self.manifest is not None and self.manifest.lower_is_better

    def seed(self, seed: int) -> SeedRemains | None:
        """Return what holds of a seed; None where the run has none of that number."""
        return next((each for each in self.seeds if each.seed == seed), None)


def read_remains(folder: RunFolder, ring: KeyRing) -> RunRemains:
    """Read what holds of a run, and say what does not.

    Args:
        folder: of the run, which may be anybody's: nothing of it is executed, and no link is followed.
        ring: the keys that this machine knows.
    """
    faults: list[str] = []
    try:
        record, journals = read_run_with_journals(folder, ring, "records")
        return RunRemains(
            folder, record.manifest, tuple(_whole(seed, journals[seed.seed]) for seed in record.seeds), record, ()
        )
    except RunStateError as error:
        faults.append(error.message)
        hint = error.hint
    manifest = _manifest(folder)
    seeds = []
    for number in manifest.plan.seeds if manifest else _seed_folders(folder):
        remains, wrong = _seed(folder, number, manifest, ring)
        seeds.append(remains)
        faults += [each for each in wrong if each.partition(_BEFORE)[0].removesuffix(".") not in faults[0]]
    return RunRemains(folder, manifest, tuple(seeds), None, tuple(faults), hint)


def _whole(seed: SeedRecord, journal: JournalContent) -> SeedRemains:
    """What holds of a seed that was checked: all of it."""
    events, chain = journal.events, journal.chain
    steps, ended = in_order(events)
    signed = chain.version == 2 and bool(chain.bodies)
    return SeedRemains(
        seed.seed,
        seed.folder,
        steps,
        _in_flight(events),
        _started(events),
        ended,
        seed.scores,
        seed.confirmations,
        signed,
    )


def _manifest(folder: RunFolder) -> Manifest | None:
    try:
        return load_manifest(folder.path)[0]
    except Unacceptable:
        return None


def _seed_folders(folder: RunFolder) -> list[int]:
    """Numbers of the seeds whose folders are there, at most so many."""
    try:
        names = [path.name for path in (folder.path / "seeds").iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and len(name) < 11)[:_MOST_SEEDS]


def _seed(folder: RunFolder, number: int, manifest: Manifest | None, ring: KeyRing) -> tuple[SeedRemains, list[str]]:
    place, wrong = folder.seed(number), list[str]()
    name = f"Run {folder.path.name}: seed {number}: "
    events, chain, fault = journal_remains(folder, number)
    wrong += [f"{name}journal.jsonl: {fault}"] if fault else []
    steps, ended = in_order(events)
    whole = (*steps, *([ended] if ended else ()))
    nodes, signed = tuple(each.node for each in steps), chain.version == 2 and bool(chain.bodies)
    scores: Mapping[int, TrustedScore] = {}
    try:
        if signed:
            hashes = score_hashes(whole)
            scores = place.scores.read_named(hashes)
            missing = [str(step) for step in hashes if step not in scores]
            if missing:
                wrong.append(f"{name}hidden/scores.jsonl: no line is the score of step {', '.join(missing[:20])}.")
        else:
            scores = {step: score for step, score in place.scores.read_unbound().items() if step <= len(steps)}
    except Unacceptable as error:
        wrong.append(f"{name}hidden/scores.jsonl: {error}.")
    confirmations = NO_CONFIRMATIONS
    try:
        if manifest is not None and not fault:
            confirmations = read_confirmations(place, manifest.run_id, number, chain, nodes, ring, hash_all=False)
    except Unacceptable as error:
        wrong.append(f"{name}hidden/confirmed.jsonl: {error}.")
    in_flight, started = _in_flight(events), _started(events)
    return SeedRemains(number, place, steps, in_flight, started, ended, scores, confirmations, signed), wrong


def journal_remains(folder: RunFolder, seed: int) -> tuple[list[Event], Chain, str]:
    """Return events and chain of a journal as far as they hold, and what is wrong with the rest."""
    fault = ""
    try:
        data = read_file(folder.path, f"seeds/{folder.seed(seed).path.name}/journal.jsonl", MOST_BYTES)
    except FileNotFoundError:
        return [], read_chain(b""), ""
    except Unacceptable as error:
        return [], read_chain(b""), f"{error}."
    for _ in range(_MOST_CUTS):
        try:
            chain = read_chain(data)
            return decode_journal(chain), chain, fault
        except BrokenChain as error:
            fault = fault or f"{error}{_BEFORE}."
            data = b"".join(data.splitlines(keepends=True)[: error.line - 1])
        except Unacceptable as error:
            return [], read_chain(b""), f"{error}."
    return [], read_chain(b""), fault.replace(_BEFORE, "")


def in_order(events: Sequence[Event]) -> tuple[tuple[StepEnded, ...], SeedEnded | None]:
    """Return the steps that follow each other from the first on, and the end behind them."""
    steps: list[StepEnded] = []
    for event in events:
        if isinstance(event, StepEnded):
            if event.node.step != len(steps) + 1:
                return tuple(steps), None
            steps.append(event)
    last = events[-1] if events else None
    if not isinstance(last, SeedEnded):
        return tuple(steps), None
    known = last.submitted is None or 1 <= last.submitted <= len(steps)
    return tuple(steps), last if known else replace(last, submitted=None)


def _started(events: Sequence[Event]) -> dict[int, str]:
    return {event.step: event.at for event in events if isinstance(event, StepStarted)}


def _in_flight(events: Sequence[Event]) -> StepStarted | None:
    last = events[-1] if events else None
    return last if isinstance(last, StepStarted) else None
