"""What a run and a judge node say to each other: the messages of one version of the protocol, bounded and hashed.

A message is four bytes of big-endian length, so many bytes of JSON, and as many bytes behind it as the JSON announces
with their SHA-256. The run opens with what it expects of the node (`Opening`); the node says what it has (`Opened`) or
refuses by name what differs (`Unlike`). Then the run asks for one verdict at a time. Whatever takes longer than
`HEARTBEAT_S`, the node says what it is at (`Busied`), so silence means that it is gone.

Nothing in a message is a path, and a submission is bytes that no reader here looks into.

Not covered: how bytes travel (`wires`), and what a node does with them (`aira_bench.runs.judge_service`).
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from aira_bench.deadline import Owner
from aira_bench.evaluation.verdict import Refused, Scored, Verdict
from aira_bench.excerpts import PROBLEM_CHARS
from aira_bench.files import Unacceptable, parse_json
from aira_bench.record.manifest import Compatibility, RunPlan
from aira_contract.framing import LENGTH
from aira_contract.settings import SeedSet

PROTOCOL = 1
"""Raised with every change of a message: both sides have the same, or one refuses."""
HEARTBEAT_S = 5.0
MOST_JSON_BYTES = 1 << 18
MOST_VERDICT_BYTES = 16 * 2**20
_HASH = r"^[0-9a-f]{64}$"
Sha256 = Annotated[str, Field(pattern=_HASH)]
Words = Annotated[str, Field(max_length=2000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class HiddenHalf(_Body):
    """The hidden half of prepared data, as far as a run that must not have it may know it."""

    sha256: Sha256
    size_bytes: int = Field(ge=0)
    key: str | None = Field(pattern=r"^([0-9a-f]{64})?$")
    """Hash of the key that it is derived from; None for published seeds, empty for a task that knows no keys."""


class Opening(_Body):
    """What a run wants judged, and what must be the same on the node."""

    kind: Literal["open"] = "open"
    protocol: int
    aira_bench: str = Field(max_length=40)
    run_id: str = Field(pattern=r"^[0-9a-f]{1,32}$")
    machine: str = Field(max_length=100)
    """The boot of the searching machine's kernel, which must be another than the node's."""
    plan: RunPlan
    task_sha256: Sha256
    compatibility: Compatibility
    evaluator_image: str = Field(max_length=300)
    public_sha256: Sha256
    hidden: HiddenHalf | None
    """None where the run learns it from the node."""
    hardware_class: str | None = Field(default=None, max_length=300)
    """The same."""
    seed_set: SeedSet
    cores: int | None = Field(default=None, gt=0)
    """That an evaluation has; None for all of the node."""
    probe: bool
    """Whether the node tries its walls."""


class Opened(_Body):
    """The node has what is expected, and will judge."""

    kind: Literal["opened"] = "opened"
    hidden: HiddenHalf
    hardware_class: str = Field(max_length=300)
    missing_walls: tuple[str, ...] = ()


class Unlike(_Body):
    """The node will not judge for this run: something is another there."""

    kind: Literal["unlike"] = "unlike"
    what: str = Field(max_length=80)
    expected: Words
    found: Words


class Busied(_Body):
    """What the node is at."""

    kind: Literal["busy"] = "busy"
    judging: bool = False
    """Whether the evaluation that was asked for has begun, so that its time runs."""
    told: Words = ""


class Asking(_Body):
    """A request for one verdict; the submission's bytes follow."""

    kind: Literal["judge"] = "judge"
    id: Sha256
    """The same each time that this verdict is asked for."""
    canonical: str | None = Field(default=None, max_length=4000)
    """The submission's normal form where the run knows it: a node reads no submission."""
    training: int = Field(ge=0, le=1000)
    limit_s: float = Field(gt=0)
    owner: Owner


class Judged(_Body):
    """A verdict, whose bytes follow."""

    kind: Literal["judged"] = "judged"
    id: Sha256
    submission_sha256: Sha256
    used_s: float = Field(ge=0)
    """Of the evaluation's time: what others took from it there is not counted."""


FailureKind = Literal[
    "unusable", "away", "outside", "engine", "starved", "too_large", "evaluation", "crashed", "unexplained"
]
"""`unusable`: the node cannot judge now; `away`: its engine went away while it judged; `outside`: somebody meddled with
the container; `evaluation`: the task's own evaluation is broken, and `crashed`: by a crash of its process;
`unexplained`: killed by nobody knows whom, with the verdict if it happens again."""


class Failing(_Body):
    """There is no verdict, and the submission is not the reason; the bytes of one follow if it is `unexplained`."""

    kind: Literal["failed"] = "failed"
    failure: FailureKind
    message: Words
    used_s: float = Field(default=0.0, ge=0)


class Examining(_Body):
    """Asks what the node lacks."""

    kind: Literal["examine"] = "examine"
    protocol: int
    profile: str = Field(max_length=20)


class Examined(_Body):
    """The node's report follows (`aira_bench.doctor.node`)."""

    kind: Literal["examined"] = "examined"


Body = Opening | Opened | Unlike | Busied | Asking | Judged | Failing | Examining | Examined


class _Envelope(_Body):
    body: Annotated[Body, Field(discriminator="kind")]
    bytes: int = Field(ge=0)
    sha256: Sha256


class BrokenMessage(Exception):
    """What came is no message of this protocol, in one line."""


def packed(body: Body, content: bytes = b"") -> bytes:
    """Return a message as it travels."""
    envelope = _Envelope(body=body, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    text = envelope.model_dump_json().encode()
    if len(text) > MOST_JSON_BYTES:
        raise ValueError(f"a message of {len(text)} bytes, at most {MOST_JSON_BYTES}")
    return LENGTH.pack(len(text)) + text + content


def read_message(receive: Callable[[int], bytes], most_bytes: Callable[[], int]) -> tuple[Body, bytes]:
    """Read the next message, and what follows it.

    Args:
        receive: returns exactly so many bytes, or raises.
        most_bytes: how many may follow, asked when that is to be known.

    Raises:
        BrokenMessage: it is none, it is too large, or what follows is not what its hash says.
    """
    (length,) = LENGTH.unpack(receive(LENGTH.size))
    if length > MOST_JSON_BYTES:
        raise BrokenMessage(f"it announces {length} bytes, at most {MOST_JSON_BYTES}")
    text = receive(length)
    try:
        parse_json(text)  # refuses what pydantic takes: keys twice, numbers without bounds
        envelope = _Envelope.model_validate_json(text)
    except (Unacceptable, ValidationError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise BrokenMessage(str(told)[:PROBLEM_CHARS]) from error
    if envelope.bytes > (most := most_bytes()):
        raise BrokenMessage(f"{envelope.bytes} bytes are to follow, at most {most}")
    content = receive(envelope.bytes)
    if hashlib.sha256(content).hexdigest() != envelope.sha256:
        raise BrokenMessage("what follows has another hash than was announced")
    return envelope.body, content


_VERDICTS: Mapping[str, tuple[type[Verdict], TypeAdapter[Verdict]]] = {
    "scored": (Scored, TypeAdapter(Scored)),
    "refused": (Refused, TypeAdapter(Refused)),
}


def encode_verdict(verdict: Verdict) -> bytes:
    """Return a verdict as it travels and as a node keeps it."""
    kind = "scored" if isinstance(verdict, Scored) else "refused"
    return json.dumps({kind: asdict(verdict)}, allow_nan=False).encode()


def decode_verdict(content: bytes) -> Verdict:
    """Read what `encode_verdict` wrote.

    Raises:
        BrokenMessage: it is something else.
    """
    try:
        ((kind, value),) = parse_json(content).items()
        made, adapter = _VERDICTS[kind]
        known = {each.name for each in fields(made)}
        if set(value) != known:
            raise BrokenMessage(f"a verdict has other fields: {sorted(set(value) ^ known)}"[:PROBLEM_CHARS])
        return adapter.validate_python(value)
    except (Unacceptable, ValidationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenMessage(f"it is no verdict: {str(error)[:PROBLEM_CHARS]}") from error
