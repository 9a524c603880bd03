"""What Bayesian optimization is asked at a step: from a journal to observations, candidates and a request.

Architectures are strings of digits here, one a layer: the primitive's place in the task's list. Everything is a pure
function of the journal and of the step's own generator, so a resumed run asks the same.

Two searches, after Composer (Acun et al., 2025): `one-shot` over all layers at once, and `end-layer incremental`, which
searches the next block of layers behind the best prefix so far. Composer trains the short prefix itself; a task wants
all its layers, so here a prefix is stacked (repeated) to full depth, as Composer's extrapolation does with a small
network. Composer leaves open the encoding and the initial design; both are ours (docs/searchers.md).

Not covered: the surrogate and its acquisition (`aira_bench.agents.searchers.bayes_process`).
"""

import itertools
import json
import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from aira_bench.agents.agent import Brief, Situation
from aira_bench.agents.searchers.architectures import written_architecture

Codes = str
ENUMERABLE = 4096
"""Spaces up to this size are searched exhaustively by the acquisition."""
BLOCKS = (4, 8)
"""Block lengths of incremental search, tried in this order."""
_DESIGN_DRAWS = 64
_FENCE = 3.0


@dataclass(frozen=True)
class Evaluation:
    """One architecture that was tried; `value` is better when higher, None where the step failed."""

    codes: Codes
    value: float | None


@dataclass(frozen=True)
class Space:
    """All strings of `layers` out of `symbols` primitives."""

    symbols: int
    layers: int

    def all(self) -> list[Codes]:
        """Return every architecture of the space, in counting order; there are `size` of them."""
        return ["".join(digits) for digits in itertools.product(self._digits, repeat=self.layers)]

    def draw(self, rng: random.Random) -> Codes:
        """Draw an architecture uniformly from the whole space."""
        return "".join(rng.choice(self._digits) for _ in range(self.layers))

    def holds(self, codes: Codes) -> bool:
        """Whether `codes` is an architecture of this space."""
        return len(codes) == self.layers and set(codes) <= set(self._digits)

    @property
    def size(self) -> int:
        """The number of architectures in the space, primitives to the power of layers."""
        return int(self.symbols**self.layers)

    @property
    def _digits(self) -> str:
        return "0123456789"[: self.symbols]


@dataclass(frozen=True)
class Search:
    """Where to look next: among `candidates`, or in the whole space (None), after `design` space-filling trials."""

    what: str
    candidates: tuple[Codes, ...] | None
    design: int


@dataclass(frozen=True)
class ProposalRequest:
    """The line that goes to the proposing process: what was `observed` is not to be proposed again."""

    symbols: int
    observed: tuple[Codes, ...]
    values: tuple[float, ...]
    candidates: tuple[Codes, ...] | None
    seed: int

    def to_json(self) -> str:
        """Return the request as one line of JSON, which `from_json` reads back."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> "ProposalRequest":
        """Read a request from the line that `to_json` wrote."""
        read = json.loads(line)
        candidates = read["candidates"]
        return cls(
            read["symbols"], tuple(read["observed"]), tuple(read["values"]),
            None if candidates is None else tuple(candidates), read["seed"],
        )  # fmt: skip


def evaluations(brief: Brief, situation: Situation) -> list[Evaluation]:
    """Return what was tried so far."""
    sign, primitives = -1.0 if brief.lower_is_better else 1.0, brief.artifact.primitives
    found = []
    for node in situation.journal:
        architecture = (
            tuple(node.canonical.split(","))
            if node.canonical
            else written_architecture(situation.read_step(node.step).code)
        )
        if architecture is None or not set(architecture) <= set(primitives):
            continue
        known = node.is_valid and node.fitness is not None and math.isfinite(node.fitness)
        value = sign * node.fitness if known and node.fitness is not None else None
        found.append(Evaluation("".join(str(primitives.index(symbol)) for symbol in architecture), value))
    return found


def objective(history: Sequence[Evaluation]) -> tuple[float, ...]:
    """Return what the surrogate is fitted to; at least one evaluation must have a value.

    A failed architecture counts as the worst seen, so that a region that cannot be trained is left. A value more than
    three interquartile ranges below the lower quartile is raised to that fence, lest a diverged loss flatten the rest.
    """
    values = [one.value for one in history if one.value is not None]
    lowest = min(values)
    if len(values) > 1:
        lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
        if upper > lower:
            lowest = max(lowest, lower - _FENCE * (upper - lower))
    return tuple(lowest if one.value is None else max(one.value, lowest) for one in history)


def one_shot(space: Space, steps: int) -> Search:
    """Return the whole space; `steps` is the run's budget."""
    candidates = tuple(space.all()) if space.size <= ENUMERABLE else None
    return Search("all layers at once", candidates, design_size(steps, space.layers))


def incremental(space: Space, steps: int, history: Sequence[Evaluation]) -> Search:
    """Return the block to search now. Rounds share the budget evenly; a block whose candidates are all tried ends
    early.

    A round lasts until something valid is known. After the last round, the whole space is searched.
    """
    block = block_layers(space, steps)
    rounds, prefix = math.ceil(space.layers / block), ""
    for index in range(rounds if block < space.layers else 0):
        length = min(block, space.layers - len(prefix))
        candidates = _stacked(space, prefix, length)
        end = _round_end(history, prefix, candidates, at_least=(index + 1) * steps // rounds)
        if end is None:
            if {one.codes for one in history}.issuperset(candidates):
                break
            what = f"layers {len(prefix) + 1} to {len(prefix) + length}, the prefix stacked"
            return Search(what, candidates, design_size(steps // rounds, length) if index == 0 else 0)
        prefix = _best([one for one in history[:end] if one.codes.startswith(prefix)]).codes[: len(prefix) + length]
    return one_shot(space, steps)


def block_layers(space: Space, steps: int) -> int:
    """Return the shortest block whose rounds hold as many candidates as there are steps; all layers if none does."""
    for block in BLOCKS:
        if block < space.layers and math.ceil(space.layers / block) * space.symbols**block >= steps:
            return block
    return space.layers


def design_size(steps: int, layers: int) -> int:
    """Valid trials before the surrogate takes over: a fifth of the steps, from 5 to twice the layers.

    Short budgets give it half, and 2 at least.
    """
    return max(2, min(5, steps // 2), min(steps // 5, 2 * layers))


def space_filling(rng: random.Random, space: Space, candidates: tuple[Codes, ...] | None, tried: set[Codes]) -> Codes:
    """Of some random untried architectures, the one farthest from all tried ones by Hamming distance.

    At least one candidate must be untried.
    """
    if candidates is not None:
        untried = [codes for codes in candidates if codes not in tried]
        drawn = rng.sample(untried, min(_DESIGN_DRAWS, len(untried)))
    else:
        drawn = []
        while len(drawn) < _DESIGN_DRAWS:
            drawn += [codes for codes in (space.draw(rng),) if codes not in tried]
    return max(drawn, key=lambda codes: min((hamming(codes, other) for other in tried), default=0))


def hamming(first: Codes, second: Codes) -> int:
    """Return at how many layers two architectures of equal length differ."""
    return sum(a != b for a, b in zip(first, second, strict=True))


def _stacked(space: Space, prefix: Codes, length: int) -> tuple[Codes, ...]:
    """Every next block of `length` behind `prefix`, repeated to full depth; the last round has nothing to repeat."""
    heads = [prefix + codes for codes in Space(space.symbols, length).all()]
    return tuple((head * math.ceil(space.layers / len(head)))[: space.layers] for head in heads)


def _round_end(
    history: Sequence[Evaluation], prefix: Codes, candidates: Sequence[Codes], *, at_least: int
) -> int | None:
    """After how many evaluations the round of `candidates` was over; None while it lasts."""
    untried, known = set(candidates), False
    for count, one in enumerate(history, start=1):
        untried.discard(one.codes)
        known = known or (one.value is not None and one.codes.startswith(prefix))
        if known and (count >= at_least or not untried):
            return count
    return None


def _best(history: Sequence[Evaluation]) -> Evaluation:
    """The valid evaluation of highest value, of which there is one; ties keep the earliest."""
    return max(history, key=lambda one: -math.inf if one.value is None else one.value)
