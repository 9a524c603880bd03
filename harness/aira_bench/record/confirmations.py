"""What came of training submissions again on the seed set `final`: a chain, bound to run, seed, journal and artifact.

A submission is trained several times, each time from fresh seeds; its trainings are numbered from 0. One that is
refused is in the chain like one that is scored. They may be signed by another machine than the search, if its key is
trusted: whoever checks a result confirms it. And they may be made on hidden data of another key than the search's, of
which nobody can have searched: where such are in the chain, they alone count.

Not covered: making them (`aira_bench.runs.confirm`).
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.files import Unacceptable, read_file
from aira_bench.keys import KeyRing
from aira_bench.record.chain import MOST_BYTES, Chain, read_chain, require_signed
from aira_bench.record.folder import SeedFolder
from aira_bench.record.journal import read_journal
from aira_bench.record.node import Node
from aira_bench.record.schema import UNNAMED, LineSchema, decode
from aira_bench.record.scores import TrustedScore
from aira_bench.record.sealing import Keeper, hash_files, require_files
from aira_bench.record.seen_chains import Witness, confirmed_name

_NAME = "hidden/confirmed.jsonl"
MOST_TRAININGS = 1000
"""Of one step."""


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ConfirmationOpened:
    """The first line of a seed's confirmations, which binds them to run, seed and journal."""

    run_id: str
    seed: int
    journal: str
    """The seal of the seed's journal."""
    at: str
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["confirmation_opened"] = "confirmation_opened"


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Confirmed:
    """A score of a submitted step on the seed set `final`."""

    artifact_sha256: str
    score: TrustedScore
    at: str
    hidden_key: str | None = None
    """Hash of the key behind the hidden data it was scored on; None for what the search's is derived from."""
    files: dict[str, str] = field(default_factory=dict)
    training: int = Field(default=0, ge=0, lt=MOST_TRAININGS)
    """Which of the step's trainings under that key it is, counted from 0."""
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["confirmed"] = "confirmed"

    @property
    def step(self) -> int:
        """The step that was trained again."""
        return self.score.step


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class ConfirmationRefused:
    """A training of a submitted step that the judge refused to score, which it had not when the search was on."""

    artifact_sha256: str
    step: int
    reason: str
    """One line, written by trusted code."""
    at: str
    hidden_key: str | None = None
    """As of a score."""
    files: dict[str, str] = field(default_factory=dict)
    training: int = Field(default=0, ge=0, lt=MOST_TRAININGS)
    """As of a score."""
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["confirmation_refused"] = "confirmation_refused"


Training = Confirmed | ConfirmationRefused
"""What one training of a submitted step came to."""
_Line = ConfirmationOpened | Confirmed | ConfirmationRefused
_EVENT: TypeAdapter[_Line] = TypeAdapter(Annotated[_Line, Field(discriminator="event")])


@dataclass(frozen=True)
class Confirmations:
    """The trainings that confirm what a seed submitted."""

    scores: Mapping[int, tuple[TrustedScore, ...]]
    """By step, in the order of the trainings' numbers; refused trainings have none."""
    hidden_key: str | None = None
    """Hash of the key behind the hidden data of all of them; None for what the search's is derived from."""
    refused: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """By step why trainings were refused."""
    done: frozenset[tuple[str | None, int, int]] = frozenset()
    """Key, step and number of each training in the chain, scored or refused, those that do not count included."""
    newest: str | None = None
    """When the last of them was recorded that counts."""
    lines: int = 0
    """Of the chain: how many it has, and the hash of the last."""
    seal: str | None = None


NO_CONFIRMATIONS = Confirmations({})


def mean_of(tests: Sequence[float]) -> float | None:
    """Return the mean test score of a step's trainings, however many are done; None of none."""
    return statistics.fmean(tests) if tests else None


def deviation_of(tests: Sequence[float]) -> float | None:
    """Return the sample standard deviation (n - 1) of the test scores of a step's trainings; None of fewer than two."""
    return statistics.stdev(tests) if len(tests) > 1 else None


def add_confirmation(
    keeper: Keeper,
    seed: int,
    artifact_sha256: str,
    score: TrustedScore,
    hidden_key: str | None = None,
    training: int = 0,
) -> None:
    """Record a score of what a seed submitted, signed by this machine.

    Args:
        keeper: of the run's record.
        seed: whose submission it is.
        artifact_sha256: of the submission.
        score: what the judge found.
        hidden_key: hash of the key behind the hidden data, where that is not the search's.
        training: which training it is, counted from 0.
    """
    place = keeper.folder.seed(seed)
    files = hash_files(place, [place.confirmation_folder(score.step, training, hidden_key)])
    _append(keeper, seed, Confirmed(artifact_sha256, score, keeper.at(), hidden_key, files, training))


def add_refusal(
    keeper: Keeper,
    seed: int,
    artifact_sha256: str,
    step: int,
    reason: str,
    hidden_key: str | None = None,
    training: int = 0,
) -> None:
    """Record that a training of what a seed submitted was refused; arguments as of `add_confirmation`."""
    place = keeper.folder.seed(seed)
    files = hash_files(place, [place.confirmation_folder(step, training, hidden_key)])
    _append(
        keeper, seed, ConfirmationRefused(artifact_sha256, step, reason, keeper.at(), hidden_key, files, training)
    )  # fmt: skip


def _append(keeper: Keeper, seed: int, training: Training) -> None:
    place = keeper.folder.seed(seed)
    journal = read_journal(keeper.folder.path, f"seeds/{place.path.name}/journal.jsonl").chain
    with keeper.chain(place.path, _NAME, confirmed_name(seed)) as (found, append):
        if not found.bodies:
            append(ConfirmationOpened(keeper.run_id, seed, journal.seal, keeper.at()))
        append(training)


def read_confirmations(
    place: SeedFolder, run_id: str, seed: int, journal: Chain, nodes: Sequence[Node], ring: KeyRing, *, hash_all: bool
) -> Confirmations:
    """Read what trainings of a seed's submission came to, and check whose they are.

    Args:
        place: the seed's folder.
        run_id: of the run it should belong to.
        seed: the seed it should belong to.
        journal: the chain of the seed's journal.
        nodes: the seed's steps.
        ring: the keys this machine knows.
        hash_all: whether to compare the judge's reports with their recorded hashes.

    Raises:
        Unacceptable: it does not hold, or belongs to something else, or a stranger signed it.
    """
    remembered = Witness(ring.seen).recall(run_id, confirmed_name(seed))
    chain, lines = _confirmation_lines(place)
    remembered.check(chain)
    if chain is None:
        if journal.version == 2 and journal.bodies and place.confirmed.path.exists():
            raise Unacceptable("it is unsigned, in a run that is signed")
        found = place.confirmed.read_unbound()
        scores = {step: (score,) for step, score in found.items() if step <= len(nodes)}
        return Confirmations(scores, done=frozenset((None, step, 0) for step in scores))
    if not lines:
        return NO_CONFIRMATIONS
    require_signed(chain)
    first, *rest = lines
    if not isinstance(first, ConfirmationOpened):
        raise Unacceptable("it does not begin with the line that says whose it is")
    if (first.run_id, first.seed, first.journal) != (run_id, seed, journal.seal):
        raise Unacceptable("it was copied, or the journal was changed since: it confirms another journal")
    if not set(chain.signers) <= {journal.signer, ring.own, *ring.trusted}:
        raise Unacceptable(f"it is {ring.describe_all(chain.signers)}")
    trainings = _trainings(rest, nodes)
    if hash_all:
        for (key, step, number), training in trainings.items():
            require_files(place, training.files, [place.confirmation_folder(step, number, key)])
    return replace(_summed_up(trainings), lines=len(chain.bodies), seal=chain.seal)


def confirmed_files(data: bytes) -> list[str]:
    """Return the names of the files that whole lines of a seed's confirmations vouch for, in the seed's folder.

    Raises:
        Unacceptable: a line does not hold.
    """
    lines = [event for _, event in decode(read_chain(data), _EVENT)]
    return [name for line in lines if not isinstance(line, ConfirmationOpened) for name in line.files]


def _trainings(lines: Sequence[_Line], nodes: Sequence[Node]) -> dict[tuple[str | None, int, int], Training]:
    """The lines after the first by key, step and training's number."""
    found: dict[tuple[str | None, int, int], Training] = {}
    for number, line in enumerate(lines, start=2):
        if isinstance(line, ConfirmationOpened) or not 1 <= line.step <= len(nodes):
            raise Unacceptable(f"line {number} confirms no step of the seed")
        if line.artifact_sha256 != nodes[line.step - 1].artifact_sha256:
            raise Unacceptable(f"line {number} confirms another artifact than step {line.step} has")
        if (line.hidden_key, line.step, line.training) in found:
            raise Unacceptable(f"line {number} has training {line.training} of step {line.step} once more")
        found[line.hidden_key, line.step, line.training] = line
    if len({line.hidden_key for line in found.values()} - {None}) > 1:
        raise Unacceptable("it confirms on hidden data of several keys")
    return found


def _summed_up(trainings: Mapping[tuple[str | None, int, int], Training]) -> Confirmations:
    scores: dict[int, tuple[TrustedScore, ...]] = {}
    refused: dict[int, tuple[str, ...]] = {}
    counting = next((key for key, _, _ in trainings if key is not None), None)
    found = [(step, number, training) for (key, step, number), training in trainings.items() if key == counting]
    for step, _, training in sorted(found, key=lambda each: each[:2]):
        if isinstance(training, Confirmed):
            scores[step] = (*scores.get(step, ()), training.score)
        else:
            refused[step] = (*refused.get(step, ()), training.reason)
    newest = max((training.at for _, _, training in found), default=None)
    return Confirmations(scores, counting, refused, frozenset(trainings), newest)


def _confirmation_lines(place: SeedFolder) -> tuple[Chain | None, list[_Line]]:
    """The chain of confirmations; None where the file is of the time before chains."""
    try:
        data = read_file(place.path, _NAME, MOST_BYTES)
    except FileNotFoundError:
        return read_chain(b""), []
    if data.startswith(b'{"step"'):
        return None, []
    chain = read_chain(data)
    return chain, [event for _, event in decode(chain, _EVENT)]
