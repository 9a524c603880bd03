"""What latency is measured of, and a measured row: written by whoever measures, where torch is, and read by the host.

A measurement is asked for as one JSON document (`LatencyRequest`) and answered in lines of JSON, each at once: one of
the machine, and one for each figure or for each that could not be had. The lines may be cut off anywhere and still say
what stands in them. Not covered: how time is taken (`aira_evaluator.latency`), and models composed of blocks
(`aira_bench.scaling.latency`).
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args

from aira_contract.model_sizes import SEQUENCE_TOKENS, VOCABULARY, Space
from aira_contract.primitives import SYMBOLS

PROCESS = "aira_evaluator.latency"
"""The module that measures: `python -m` of it reads a request and prints lines."""
Phase = Literal["forward", "prefill", "decode"]
"""A whole text with all its logits; a text taken into an empty state, with the logits of its end; one token more."""
PHASES: tuple[Phase, ...] = get_args(Phase)
CacheState = Literal["cold", "hot"]
"""Whether weights and states had left the processor's caches before each use, as those of a large model do."""
EMBEDDING, HEAD, MODEL = "embedding", "head", "model"
PARTS = (*SYMBOLS, EMBEDDING, HEAD, MODEL)
"""What a row may be of. A block is a layer with its norm and residual sum, the head the last norm and the logits."""
DTYPES = ("bfloat16", "float16", "float32")
DEVICES = ("cuda", "cpu")
_MOST_LINE_CHARS = 100_000


class LatencyError(ValueError):
    """A request or a line is not of this form; the message says what was seen and what is expected."""


@dataclass(frozen=True)
class Case:
    """One way to use a model."""

    phase: Phase
    batch: int
    """Texts at once."""
    length: int
    """Tokens of each that are computed; 1 when decoding."""
    context: int
    """Tokens of each that stand before them; 0 but for decoding."""


@dataclass(frozen=True)
class AskedModel:
    """One model that is measured, whole and in parts."""

    name: str
    scale: str
    pattern: str
    """Its layers, in any notation that patterns have."""


@dataclass(frozen=True)
class LatencyRequest:
    """What is measured, scale by scale: blocks, embedding and head in each case, then whole models."""

    models: tuple[AskedModel, ...]
    phases: tuple[Phase, ...] = PHASES
    length: int = SEQUENCE_TOKENS
    context: int = SEQUENCE_TOKENS
    batch: int = 1
    """Texts at once in a forward pass and in a prefill."""
    decode_batches: tuple[int, ...] = (1, 16)
    vocabulary: int = VOCABULARY
    dtype: str = "bfloat16"
    device: str = "cuda"
    rounds: int = 20
    budget_s: float = 600.0
    """After which no further row is begun, and the one in work is given up."""
    row_s: float = 60.0
    """The most that one row may take, compiling included."""

    def __post_init__(self) -> None:
        counts = {
            "length": self.length, "context": self.context, "batch": self.batch, "vocabulary": self.vocabulary,
            "rounds": self.rounds, **{f"decode batch {each}": each for each in self.decode_batches},
        }  # fmt: skip
        for name, count in counts.items():
            if count < 1:
                raise LatencyError(f"{name} is {count}, expected at least 1")
        known = (("phase", self.phases, PHASES), ("type", (self.dtype,), DTYPES), ("device", (self.device,), DEVICES))
        for name, given, allowed in known:
            for each in given:
                if each not in allowed:
                    raise LatencyError(f"unknown {name} {each!r}, expected one of {', '.join(allowed)}")

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases that every part and model is measured in."""
        found = [Case(each, self.batch, self.length, 0) for each in self.phases if each != "decode"]
        if "decode" in self.phases:
            found += [Case("decode", batch, 1, self.context) for batch in self.decode_batches]
        return tuple(found)

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "LatencyRequest":
        """Read what `to_json` wrote.

        Raises:
            LatencyError: it is something else.
        """
        try:
            found = json.loads(text)
            found["models"] = tuple(AskedModel(**each) for each in found["models"])
            found |= {key: tuple(found[key]) for key in ("phases", "decode_batches")}
            return cls(**found)
        except LatencyError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise LatencyError(f"this is no request: {error!r}") from None


@dataclass(frozen=True)
class LatencyRow:
    """One figure: the time that one block, embedding, head or model takes in one case."""

    part: str
    """One of `PARTS`."""
    scale: str
    space: Space
    name: str
    """Of a model, as it was asked for; empty for parts."""
    pattern: str
    """Of a model, its layers written as letters; empty for parts."""
    phase: Phase
    batch: int
    length: int
    context: int
    dtype: str
    cache: CacheState
    copies: int
    """Blocks behind each other that a figure is the mean of, each with weights and state of its own."""
    captured: bool
    """Whether the kernels were started as one CUDA graph; else one by one from Python."""
    median_s: float
    low_s: float
    """The lower quartile of the rounds."""
    high_s: float
    """The upper quartile of the rounds."""
    rounds: int

    def __post_init__(self) -> None:
        if self.part not in PARTS or self.phase not in PHASES or self.cache not in get_args(CacheState):
            raise LatencyError(f"unknown part, phase or cache: {self.part!r}, {self.phase!r}, {self.cache!r}")
        if not (0 < self.low_s <= self.median_s <= self.high_s < math.inf and self.rounds >= 1):
            raise LatencyError(f"{self.low_s!r} <= {self.median_s!r} <= {self.high_s!r} of {self.rounds!r} rounds")

    @property
    def case(self) -> Case:
        """The case it was measured in."""
        return Case(self.phase, self.batch, self.length, self.context)

    def to_line(self) -> str:
        """Return it as a line of an answer."""
        return json.dumps({"latency": asdict(self)})


@dataclass(frozen=True)
class NotMeasured:
    """A figure that could not be had."""

    what: str
    """Part or model, scale and case, in words."""
    why: str

    def to_line(self) -> str:
        """Return it as a line of an answer."""
        return json.dumps({"not_measured": asdict(self)})


@dataclass(frozen=True)
class Machine:
    """Where rows were measured, and how."""

    facts: Mapping[str, str]
    """Device, versions, caches, clock and the like, by name."""

    def to_line(self) -> str:
        """Return it as a line of an answer."""
        return json.dumps({"machine": dict(self.facts)})


def read_line(text: str) -> LatencyRow | NotMeasured | Machine:
    """Read one line of an answer.

    Raises:
        LatencyError: it is none.
    """
    if len(text) > _MOST_LINE_CHARS:
        raise LatencyError(f"a line of {len(text)} characters, expected at most {_MOST_LINE_CHARS}")
    try:
        ((kind, found),) = json.loads(text).items()
    except (ValueError, AttributeError):
        raise LatencyError(f"{text[:80]!r} is no line of measured latencies") from None
    if not isinstance(found, dict):
        raise LatencyError(f"{text[:80]!r} is no line of measured latencies")
    if kind == "machine" and all(isinstance(value, str) for value in found.values()):
        return Machine(found)
    if (
        kind == "not_measured"
        and set(found) == {"what", "why"}
        and all(isinstance(value, str) for value in found.values())
    ):
        return NotMeasured(**found)
    if kind != "latency" or set(found) != {each.name for each in fields(LatencyRow)}:
        raise LatencyError(f"{text[:80]!r} is no line of measured latencies, or not of this version")
    for each in fields(LatencyRow):
        value, wanted = found[each.name], _TYPES.get(each.type, (str,))
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted != (bool,)):
            raise LatencyError(f"{each.name} is {value!r}")
    return LatencyRow(**found)


_TYPES: Mapping[object, tuple[type, ...]] = {int: (int,), bool: (bool,), float: (int, float)}
"""What JSON has for a field's type; all others are texts."""
