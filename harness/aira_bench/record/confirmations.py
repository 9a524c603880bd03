"""Scores of submitted steps on the seed set `final`: a chain of their own, bound to run, seed, journal and artifact.

They may be signed by another machine than the search, if its key is trusted: whoever checks a result confirms it.

Not covered: making them (`aira_bench.runs.confirm`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["confirmed"] = "confirmed"


_EVENT: TypeAdapter[ConfirmationOpened | Confirmed] = TypeAdapter(
    Annotated[ConfirmationOpened | Confirmed, Field(discriminator="event")]
)


@dataclass(frozen=True)
class Confirmations:
    """The confirmed scores of a seed."""

    scores: Mapping[int, TrustedScore]
    """By step."""
    hidden_key: str | None = None
    """Hash of the key behind the hidden data of all of them; None for what the search's is derived from."""


def add_confirmation(
    keeper: Keeper, seed: int, artifact_sha256: str, score: TrustedScore, hidden_key: str | None = None
) -> None:
    """Record a score of what a seed submitted, signed by this machine.

    Args:
        keeper: of the run's record.
        seed: whose submission it is.
        artifact_sha256: of the submission.
        score: what the judge found.
        hidden_key: hash of the key behind the hidden data, where that is not the search's.
    """
    place = keeper.folder.seed(seed)
    journal = read_journal(keeper.folder.path, f"seeds/{seed}/journal.jsonl").chain
    with keeper.chain(place.path, _NAME, confirmed_name(seed)) as (found, append):
        if not found.bodies:
            append(ConfirmationOpened(keeper.run_id, seed, journal.seal, keeper.at()))
        files = hash_files(place, [place.confirmation_folder(score.step)])
        append(Confirmed(artifact_sha256, score, keeper.at(), hidden_key, files))


def read_confirmations(
    place: SeedFolder, run_id: str, seed: int, journal: Chain, nodes: Sequence[Node], ring: KeyRing, *, hash_all: bool
) -> Confirmations:
    """Read the confirmed scores of a seed, and check whose they are.

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
        return Confirmations({step: score for step, score in found.items() if step <= len(nodes)})
    if not lines:
        return Confirmations({})
    require_signed(chain)
    first, *rest = lines
    if not isinstance(first, ConfirmationOpened):
        raise Unacceptable("it does not begin with the line that says whose it is")
    if (first.run_id, first.seed, first.journal) != (run_id, seed, journal.seal):
        raise Unacceptable("it was copied, or the journal was changed since: it confirms another journal")
    if not set(chain.signers) <= {journal.signer, ring.own, *ring.trusted}:
        raise Unacceptable(f"it is {ring.describe_all(chain.signers)}")
    scores: dict[int, TrustedScore] = {}
    for number, line in enumerate(rest, start=2):
        if not isinstance(line, Confirmed) or not 1 <= line.score.step <= len(nodes):
            raise Unacceptable(f"line {number} confirms no step of the seed")
        if line.artifact_sha256 != nodes[line.score.step - 1].artifact_sha256:
            raise Unacceptable(f"line {number} confirms another artifact than step {line.score.step} has")
        if line.score.step in scores:
            raise Unacceptable(f"line {number} confirms step {line.score.step} once more")
        if hash_all:
            require_files(place, line.files, [place.confirmation_folder(line.score.step)])
        scores[line.score.step] = line.score
    return Confirmations(scores, _one_key(rest))


def _one_key(lines: Sequence[ConfirmationOpened | Confirmed]) -> str | None:
    keys = {line.hidden_key for line in lines if isinstance(line, Confirmed)}
    if len(keys) > 1:
        raise Unacceptable("it confirms on hidden data of several keys")
    return next(iter(keys), None)


def _confirmation_lines(place: SeedFolder) -> tuple[Chain | None, list[ConfirmationOpened | Confirmed]]:
    """The chain of confirmations; None where the file is of the time before chains."""
    try:
        data = read_file(place.path, _NAME, MOST_BYTES)
    except FileNotFoundError:
        return read_chain(b""), []
    if data.startswith(b'{"step"'):
        return None, []
    chain = read_chain(data)
    return chain, [event for _, event in decode(chain, _EVENT)]
