"""Takes a damaged run back to the last step of each seed that everything vouches for, so that it can go on from there.

Nothing is thrown away: a file that is cut stays whole beside itself as `<name>.damaged-<n>`, and what later steps left
becomes an attempt of theirs. Their model calls are not used again, since nothing says that they are what was answered.
The run's record says what was damaged, like any change that its user accepted, and boards show it.

Not covered: unsigned runs, whose files nothing vouches for, and a run whose record has lost its first line.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from aira_bench.errors import RunStateError
from aira_bench.files import Unacceptable, read_file, write_atomically
from aira_bench.keys import KeyRing
from aira_bench.record.attempts import keep_attempt
from aira_bench.record.chain import MOST_BYTES, BrokenChain, Chain, read_chain
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.journal import JournalContent, SeedEnded, StepEnded, decode_journal
from aira_bench.record.manifest import MOST_BYTES as MOST_MANIFEST_BYTES
from aira_bench.record.manifest import Manifest, load_manifest
from aira_bench.record.node import best_node
from aira_bench.record.run_record import read_run
from aira_bench.record.scores import MOST_BYTES as MOST_SCORE_BYTES
from aira_bench.record.sealing import Difference, Keeper, RunEnded, RunOpened, SeedSeal, decode_run, require_files
from aira_bench.record.seen_chains import RECORD, Witness, confirmed_name, journal_name
from aira_bench.record.trust import require_plain


@dataclass(frozen=True)
class _Damage:
    """What of a seed is good, and what is wrong with what follows."""

    seed: int
    lines: tuple[bytes, ...]
    """Of the journal."""
    steps: int
    scores: int
    """Lines of the scores of these steps."""
    reason: str


def repair(folder: RunFolder, ring: KeyRing, keeper_of: Callable[[Manifest, str], Keeper]) -> tuple[Difference, ...]:
    """Take every damaged seed of a run back to its last good step; the run is locked. Returns what was damaged.

    Args:
        folder: the run.
        ring: the keys this machine knows.
        keeper_of: makes who goes on with the record, of its manifest and the hash of that.

    Raises:
        RunStateError: what is left does not say which run it was, or is not signed by a key that is trusted.
    """
    require_plain(folder)
    try:
        chain, lines = _good_chain(_read(folder.path, "record.jsonl"), decode_run)
        events = decode_run(chain)
        if not events or not isinstance(opened := events[0], RunOpened) or chain.version == 1:
            raise Unacceptable("record.jsonl does not say which run it was")
        if not ring.trusts_all(chain.signers):
            raise Unacceptable(f"it is {ring.describe_all(chain.signers or (None,))}")
        manifest = _manifest(folder, opened, Witness(ring.seen))
    except Unacceptable as error:
        raise RunStateError(
            f"Run {folder.path.name} cannot be taken back: {error}.", hint="aira-bench run --help   (a new run)"
        ) from error
    keeper = keeper_of(manifest, opened.manifest_sha256)
    ended = events[-1] if isinstance(events[-1], RunEnded) else None
    problem = _lost_of_record(folder, chain, opened, Witness(ring.seen))
    seals = {seal.seed: seal for seal in ended.seeds} if ended else {}
    damages = (_damage(keeper, seed, ring, seals.get(seed)) for seed in manifest.plan.seeds)
    found = [damage for damage in damages if damage is not None]
    for damage in found:
        _cut(keeper, damage)
    if (found or problem) and ended:
        lines = lines[:-1]
    _replaced(folder.path, "record.jsonl", b"".join(lines))
    named = [
        Difference(f"journal of seed {each.seed}", each.reason, f"taken again from step {each.steps + 1}")
        for each in found
    ]
    if problem:
        named.append(Difference("record of the run", problem, f"goes on after line {len(lines)}"))
    if named:  # only this tells the machine's memory: killed before, the run is found damaged again
        finished = {each.seed: each.steps for each in found}
        if problem:
            finished = {seed: len(folder.seed(seed).nodes) for seed in manifest.plan.seeds}
        keeper.accept(tuple(named), list(finished.items()))
    read_run(folder, ring, "all")
    return tuple(named)


def _lost_of_record(folder: RunFolder, chain: Chain, opened: RunOpened, witness: Witness) -> str:
    """Why lines of the record may be gone, among them changes that were accepted; nothing where none is missed."""
    try:
        witness.recall(opened.run_id, RECORD).check(chain)
    except Unacceptable as error:
        return str(error)
    ends = any(isinstance(event, RunEnded) for event in decode_run(chain))
    more = len(chain.bodies) < _read(folder.path, "record.jsonl").count(b"\n")
    return f"line {len(chain.bodies) + 1} was changed or damaged" if more and not ends else ""


def _manifest(folder: RunFolder, opened: RunOpened, witness: Witness) -> Manifest:
    """The manifest, from this machine's memory where the run's own is not the one it was opened with."""
    try:
        manifest, digest = load_manifest(folder.path)
        if digest == opened.manifest_sha256:
            return manifest
        problem = "manifest.json was changed"
    except Unacceptable as error:
        problem = str(error)
    copy = witness.manifest(opened.run_id, MOST_MANIFEST_BYTES)
    if copy is None or hashlib.sha256(copy).hexdigest() != opened.manifest_sha256:
        raise Unacceptable(f"{problem}, and this machine has no copy of it")
    _replaced(folder.path, "manifest.json", copy)
    return load_manifest(folder.path)[0]


def _damage(keeper: Keeper, seed: int, ring: KeyRing, seal: SeedSeal | None) -> _Damage | None:
    """What is wrong with a seed; None where all is well."""
    place, reason = keeper.folder.seed(seed), ""
    data = _read_own(keeper.folder.path, f"seeds/{place.path.name}/journal.jsonl")
    chain, lines = _good_chain(data, decode_journal)
    if len(lines) < data.count(b"\n"):
        reason = f"line {len(lines) + 1} was changed or damaged"
    elif data and not data.endswith(b"\n") and any(isinstance(event, SeedEnded) for event in decode_journal(chain)):
        reason = "something follows the seed's end"
    elif seal is not None and (seal.lines, seal.seal) != (len(chain.bodies), chain.seal):
        reason = f"it has {len(chain.bodies)} whole lines, the run's end record says {seal.lines}"
    try:
        Witness(ring.seen).recall(keeper.run_id, journal_name(seed)).check(chain)
    except Unacceptable as error:
        reason = reason or str(error)
    content = JournalContent(decode_journal(chain), chain)
    kept, steps, scores, problem = _walk(keeper, place, content)
    reason = problem or reason
    return _Damage(seed, tuple(lines[:kept]), steps, scores, reason) if reason else None


def _walk(keeper: Keeper, place: SeedFolder, content: JournalContent) -> tuple[int, int, int, str]:
    """How many lines, steps and scores from the beginning belong to steps that all holds of, and what holds no more."""
    kept = steps = scores = 0
    nodes = []
    try:
        score_lines = _read_own(place.path, "hidden/scores.jsonl", MOST_SCORE_BYTES).splitlines(keepends=True)
        for number, event in enumerate(content.events, start=1):
            if number == 1:
                keeper.require_own(event, place)
                kept = 1
            elif isinstance(event, StepEnded):
                if event.node.step != steps + 1:
                    raise Unacceptable(f"line {number} is step {event.node.step}, expected {steps + 1}")
                if event.node.is_valid and event.score_sha256 is None:
                    raise Unacceptable(f"the score of step {steps + 1} is missing")
                if event.score_sha256 is not None:
                    found = score_lines[scores] if scores < len(score_lines) else b""
                    if hashlib.sha256(found).hexdigest() != event.score_sha256:
                        raise Unacceptable(f"the score of step {steps + 1} is missing or another")
                require_files(place, event.files, place.step_folders(event.node.step))
                nodes.append(event.node)
                kept, steps, scores = number, steps + 1, scores + (event.score_sha256 is not None)
            elif isinstance(event, SeedEnded):
                best = best_node(nodes, lower_is_better=keeper.folder.manifest.lower_is_better)
                if event.submitted != (best.step if best else None) or number != len(content.events):
                    raise Unacceptable(f"line {number} is no end of this seed")
                kept = number
    except Unacceptable as error:
        return kept, steps, scores, f"step {steps + 1}: {error}"
    return len(content.events), steps, scores, ""


def _good_chain(data: bytes, decode: Callable[[Chain], object]) -> tuple[Chain, list[bytes]]:
    """The longest beginning of a chain's file that holds, and its lines; a torn last line is not among them."""
    lines = [line for line in io.BytesIO(data) if line.endswith(b"\n")]
    while True:
        try:
            chain = read_chain(b"".join(lines))
            decode(chain)
            return chain, lines
        except BrokenChain as error:
            lines = lines[: error.line - 1]
        except Unacceptable:
            lines = lines[:-1]


def _cut(keeper: Keeper, damage: _Damage) -> None:
    """Take a seed back to its good steps. Killed on the way, it is found damaged again: the journal is cut last."""
    place = keeper.folder.seed(damage.seed)
    for part in ("nodes", "calls", "hidden"):
        for step in (place.path / part).glob("[0-9]*"):
            if step.is_dir() and step.name.isdecimal() and int(step.name) > damage.steps:
                keep_attempt(step)
    lines = _read_own(place.path, "hidden/scores.jsonl", MOST_SCORE_BYTES).splitlines(keepends=True)
    _replaced(place.path, "hidden/scores.jsonl", b"".join(lines[: damage.scores]))
    for name in ("hidden/confirmed.jsonl", "hidden/confirmed"):
        if (place.path / name).exists():
            (place.path / name).rename(_beside(place.path / name))
    keeper.witness.forget(keeper.run_id, confirmed_name(damage.seed))
    kept = b"".join(damage.lines)
    _replaced(place.path, "journal.jsonl", kept)
    chain = read_chain(kept)
    if chain.bodies:
        keeper.witness.note(keeper.run_id, journal_name(damage.seed), len(chain.bodies), chain.seal)
    else:
        keeper.witness.forget(keeper.run_id, journal_name(damage.seed))


def _replaced(root: Path, name: str, data: bytes) -> bool:
    """Put `data` into a file and keep what it held beside it; False if it held that already."""
    path = root / name
    if path.exists():
        if path.is_file() and path.stat().st_size == len(data) and path.read_bytes() == data:
            return False
        path.rename(_beside(path))
    elif not data:
        return False
    write_atomically(path, data)
    return True


def _beside(path: Path) -> Path:
    number = 1
    while (found := path.with_name(f"{path.stem}.damaged-{number}{path.suffix}")).exists():
        number += 1
    return found


def _read(root: Path, name: str, most: int = MOST_BYTES) -> bytes:
    try:
        return read_file(root, name, most)
    except FileNotFoundError:
        return b""


def _read_own(root: Path, name: str, most: int = MOST_BYTES) -> bytes:
    """What a file of a seed holds; nothing of one that is not there.

    Raises:
        RunStateError: a folder or another thing is in its place, or in that of a folder above it.
    """
    try:
        return _read(root, name, most)
    except Unacceptable as error:
        path = root / name
        above = (each for each in reversed(path.parents) if each.exists() and not each.is_dir())
        wrong = next(above, path)
        raise RunStateError(
            f"{wrong} cannot be read, so its run cannot be taken back: {error}.",
            hint=f"mv {quote(str(wrong))} {quote(f'{wrong}.aside')}",
        ) from error
