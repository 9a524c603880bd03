"""The journal of one seed: a chain of events (`aira_bench.record.chain`), flushed to disk before the next step begins.

The first line of a signed journal says whose it is: run, seed and the hash of the run's manifest. The line of a
finished step carries hashes of its score and of every file it left, so that the last signature vouches for them all.

Not covered: concurrent writers (a run folder is locked by the process that works on it, `aira_bench.record.folder`; of
several workers each has a lease on its seed, `aira_bench.leasing`), and whether events and files make sense together
(`aira_bench.record.run_record`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.errors import RunStateError
from aira_bench.files import Unacceptable, read_file
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.record.chain import MOST_BYTES, BrokenChain, Chain, ChainWriter, Guard, Noted, read_chain
from aira_bench.record.growing import Growing
from aira_bench.record.node import Node
from aira_bench.record.schema import UNNAMED, LineSchema, decode, encode

SeedEnd = Literal["steps", "hours", "policy", "budget"]


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SeedOpened:
    """The first line of a signed journal, which says whose it is: run, seed, and hash of the manifest."""

    run_id: str
    seed: int
    manifest_sha256: str
    at: str
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["seed_opened"] = "seed_opened"


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class AttemptBegan:
    """A worker begins to append: the lines from here to the next of these are of its attempt (`aira_bench.leasing`)."""

    attempt: Annotated[int, Field(ge=1)]
    """Higher than of every attempt before."""
    worker: str
    host: str
    at: str
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["attempt_began"] = "attempt_began"


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StepStarted:
    """A step began; without a `StepEnded` after it, it was in flight when the process died."""

    step: int
    at: str
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["step_started"] = "step_started"


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class StepEnded:
    """A step has a result: its node, and the hashes of its score and of the files it left."""

    node: Node
    at: str
    score_sha256: str | None = None
    """Of the step's line among the trusted scores; None where it has none, and in journals of version 1."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file the step left, by its path in the seed's folder."""
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["step_ended"] = "step_ended"


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class SeedEnded:
    """The seed is complete; `submitted` is the step whose artifact counts, None if no step was valid."""

    why: SeedEnd
    submitted: int | None
    at: str
    schema: LineSchema = field(default=UNNAMED, compare=False)
    event: Literal["seed_ended"] = "seed_ended"


Event = SeedOpened | AttemptBegan | StepStarted | StepEnded | SeedEnded
_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


@dataclass(frozen=True)
class JournalContent:
    """The events of a journal as it stands on disk, and the chain that holds them."""

    events: Sequence[Event]
    chain: Chain


def read_journal(root: Path, name: str | PurePosixPath, ring: KeyRing | None = None) -> JournalContent:
    """Read the journal `name` below the folder `root`; a missing one is empty.

    Lines that a key of `ring` vouches for were written by this code; the others are looked at for what it never writes,
    such as keys that stand twice, or negative times.

    Raises:
        Unacceptable: it is no plain file, or a line other than a torn last one does not hold.
        LaterSchema: a later version wrote a line.
    """
    try:
        data = read_file(root, name, MOST_BYTES)
    except FileNotFoundError:
        data = b""
    chain = read_chain(data)
    ours = chain.vouched if ring is not None and ring.trusts_all(chain.signers) else 0
    return JournalContent(decode_journal(chain, ours), chain)


def decode_journal(chain: Chain, ours: int = 0) -> list[Event]:
    """Return the events of a journal's lines; the first `ours` of them this code has written.

    Raises:
        BrokenChain: a line is no event, or holds what cannot be.
        LaterSchema: a later version wrote a line.
    """
    events: list[Event] = []
    for number, event in decode(chain, _EVENT, ours):
        try:
            if number > ours:
                _check_numbers(event)
        except Unacceptable as error:
            raise BrokenChain(number, str(error)) from error
        events.append(event)
    return events


def _check_numbers(event: Event) -> None:
    """Raises Unacceptable where a number is below what it can be. `parse_json` has bounded the others."""
    if isinstance(event, StepEnded):
        node = event.node
        times, use = node.timings, node.model_use
        counts = (node.cores, use.calls, use.input_tokens, use.output_tokens, use.cost_usd)
        lines = [count for change in node.changes for count in (change.removed_lines, change.added_lines)]
        if node.step < 1 or node.attempts < 1 or not all(1 <= parent < node.step for parent in node.parents):
            raise Unacceptable(f"step {node.step}, parents {node.parents}, attempts {node.attempts} cannot be")
        if min(times.model_s, times.execute_s, times.evaluate_s, times.total_s, *times.waited_s.values()) < 0:
            raise Unacceptable(f"step {node.step} took negative time")
        if min((count for count in (*counts, *lines) if count is not None), default=0) < 0:
            raise Unacceptable(f"step {node.step} counts something below 0")


def open_journal(path: Path) -> JournalContent:
    """Return the journal at `path`, of which no other file of its run has been read; a missing one is empty.

    Raises:
        RunStateError: the file is no journal, or a line other than a torn last one does not hold.
    """
    try:
        return read_journal(path.parent, path.name)
    except Unacceptable as error:
        raise RunStateError(f"{path}: {error}.", hint=error.hint) from error


class JournalFile:
    """Appends events of one seed; opening it cuts a torn last line."""

    def __init__(
        self,
        path: Path,
        key: MachineKey | None = None,
        opening: SeedOpened | None = None,
        noted: Noted | None = None,
        guard: Guard | None = None,
    ) -> None:
        """Open for appending. A new journal begins with `opening`, signed; without a key it is unsigned. `noted` and
        `guard` are as of a `ChainWriter`.

        Raises:
            RunStateError: the file holds damaged lines, or is signed and there is no key to go on with.
        """
        self.path = path
        content = open_journal(path)
        self.events = list(content.events)
        self._finished = {event.node.step: event for event in self.events if isinstance(event, StepEnded)}
        self._nodes = Growing(event.node for event in self._finished.values())
        if key is None and self.events and content.chain.version != 1:
            raise RunStateError(f"{path} is signed and cannot be continued without a key.")
        self._writer = ChainWriter(path, content.chain, key, noted, guard)
        if key is not None and opening is not None and not self.events:
            self.append(opening)

    @property
    def nodes(self) -> Sequence[Node]:
        """Finished steps in order, as they stand now."""
        return self._nodes.so_far()

    def step(self, step: int) -> StepEnded:
        """Return the line of a finished step."""
        return self._finished[step]

    @property
    def score_hashes(self) -> Mapping[int, str]:
        """Hash of each finished step's line among the trusted scores, for steps that have one."""
        return score_hashes(self.events)

    @property
    def ended(self) -> SeedEnded | None:
        """How the seed ended, None while it has not."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, SeedEnded) else None

    def append(self, event: Event) -> None:
        """Write one event and force it to disk."""
        self._writer.append(encode(event), signed=not isinstance(event, StepStarted))
        self.events.append(event)
        if isinstance(event, StepEnded):
            self._finished[event.node.step] = event
            self._nodes.append(event.node)

    def close(self) -> None:
        """Close the file; events that were appended are on disk already."""
        self._writer.close()


def finished_steps(events: Sequence[Event]) -> tuple[Node, ...]:
    """Return the nodes of those events that end a step, in order."""
    return tuple(event.node for event in events if isinstance(event, StepEnded))


def score_hashes(events: Sequence[Event]) -> dict[int, str]:
    """Return the hash of each finished step's score line, by step, for steps that have one."""
    return {e.node.step: e.score_sha256 for e in events if isinstance(e, StepEnded) and e.score_sha256 is not None}
