"""What a run's formats are made from: its steps as its journals tell them, and hidden scores where they were asked for.

One place decides what may leave. Without `with_hidden` nothing of what lies in `hidden/` is in what comes back: no
score on test data, of confirmations or at full precision, no remark, flag or training curve. The search score stays:
it is the rounded number that the search itself was told, and stands in every later prompt.

Files of steps are read within bounds, without following links, and of a signed run only as they were recorded.

Not covered: damaged runs. They are refused: an export has no place for what is wrong with it.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath

from aira_bench.boards.replicates import overclaim
from aira_bench.errors import RunStateError
from aira_bench.files import Unacceptable, entries_below, hash_file, parse_json, read_file, spell_half_surrogates
from aira_bench.keys import KeyRing
from aira_bench.llm.recording import MOST_BYTES as MOST_CALL_BYTES
from aira_bench.llm.recording import Exchange
from aira_bench.record.confirmations import deviation_of, mean_of
from aira_bench.record.folder import MOST_TEXT_BYTES, RunFolder, SeedFolder
from aira_bench.record.journal import StepEnded
from aira_bench.record.manifest import Manifest
from aira_bench.record.node import Node, best_node
from aira_bench.record.salvage import SeedRemains, read_remains
from aira_bench.record.scores import TrustedScore
from aira_bench.record.step_calls import call_names

_MOST_CALLS = 10_000
"""Of one step."""


@dataclass(frozen=True)
class HiddenScores:
    """What the judge found of one step, which no search is told."""

    score: TrustedScore | None
    trainings: tuple[float, ...]
    """Test scores of the trainings that confirmed the step."""
    refused: tuple[str, ...]
    """Why other such trainings were refused."""
    overclaim: float | None
    """How much better the claim is than the judge's number on the same rows."""

    @property
    def confirmed(self) -> float | None:
        """Mean over the trainings."""
        return mean_of(self.trainings)

    @property
    def confirmed_deviation(self) -> float | None:
        """Sample standard deviation over the trainings."""
        return deviation_of(self.trainings)


@dataclass(frozen=True)
class ExportedStep:
    """One finished step of one seed."""

    folder: SeedFolder
    seed: int
    line: StepEnded
    started: str | None
    """When it began, for the last time; ISO 8601."""
    best: float | None
    """The best search score so far, this step included."""
    submitted: bool
    hidden: HiddenScores | None
    """None where hidden scores are not to leave."""

    @property
    def node(self) -> Node:
        """The step as its search knows it."""
        return self.line.node

    def text(self, name: str) -> str:
        """Return a file of what the agent made, as text in which nothing is left that is no character; empty where the
        step left no such file.

        Raises:
            RunStateError: it is not what was recorded.
        """
        path = f"nodes/{self.node.step:04d}/{name}"
        if self.line.files and path not in self.line.files:
            return ""
        data = self._read(path, MOST_TEXT_BYTES)
        return "" if data is None else data.decode("utf-8", "backslashreplace")

    def exchanges(self) -> Iterator[Exchange]:
        """Yield the step's requests to models and their answers, in the order in which they were made.

        Raises:
            RunStateError: one is not what was recorded, or no record of a call.
        """
        for name in self._call_names():
            data = self._read(name, MOST_CALL_BYTES)
            try:
                value = parse_json(spell_half_surrogates(data or b""))
                if not isinstance(value, dict):
                    raise ValueError("it is no object")
                yield Exchange.from_json(value)
            except (ValueError, TypeError) as error:
                raise RunStateError(f"{self.folder.path / name}: it is no record of a model call: {error}.") from error

    def _call_names(self) -> list[str]:
        names: Iterable[str] = self.line.files
        if not self.line.files:
            calls = PurePosixPath(f"calls/{self.node.step:04d}")
            names = [name for name, _ in entries_below(self.folder.path, calls, _MOST_CALLS)]
        return call_names(names, self.node.step)

    def _read(self, name: str, most_bytes: int) -> bytes | None:
        """A file as it was recorded; None of one that is not there and need not be."""
        try:
            recorded = self.line.files.get(name)
            if recorded is not None and hash_file(self.folder.path, name, most_bytes) != recorded:
                raise Unacceptable("it was replaced: its hash is not the recorded one")
            return read_file(self.folder.path, name, most_bytes)
        except FileNotFoundError:
            if name in self.line.files:
                raise RunStateError(f"{self.folder.path / name}: it is missing.") from None
            return None
        except Unacceptable as error:
            raise RunStateError(f"{self.folder.path / name}: {error}.") from error


@dataclass(frozen=True)
class ExportedSeed:
    """One seed of a run, begun or not."""

    seed: int
    ended: str | None
    """Why it ended; None while it has not."""
    submitted: int | None
    steps: tuple[ExportedStep, ...]


@dataclass(frozen=True)
class ExportedRun:
    """A run as its formats have it."""

    name: str
    manifest: Manifest
    manifest_sha256: str
    seeds: tuple[ExportedSeed, ...]
    with_hidden: bool
    closed: bool = field(default=False)
    """Whether the run's end is recorded."""

    @property
    def steps(self) -> Iterator[ExportedStep]:
        """All finished steps, seed by seed."""
        return (step for seed in self.seeds for step in seed.steps)


def read_for_export(folder: RunFolder, ring: KeyRing, *, with_hidden: bool) -> ExportedRun:
    """Read a run, which may go on meanwhile.

    Args:
        folder: of the run; nothing of it is executed.
        ring: the keys that this machine knows.
        with_hidden: whether hidden scores are to leave.

    Raises:
        RunStateError: the run's files do not agree with each other.
    """
    run = read_remains(folder, ring)
    if run.record is None or run.manifest is None:
        raise RunStateError(run.faults[0] if run.faults else f"Run {folder.path.name} cannot be read.", hint=run.hint)
    seeds = tuple(_seed(run.manifest, seed, with_hidden=with_hidden) for seed in run.seeds)
    return ExportedRun(
        folder.path.name, run.manifest, run.record.manifest_sha256, seeds, with_hidden, run.record.closed
    )


def _seed(manifest: Manifest, seed: SeedRemains, *, with_hidden: bool) -> ExportedSeed:
    submitted = seed.ended.submitted if seed.ended else None
    bests = best_so_far(seed.nodes, lower_is_better=manifest.lower_is_better)
    steps = tuple(
        ExportedStep(
            folder=seed.folder,
            seed=seed.seed,
            line=line,
            started=seed.started.get(line.node.step),
            best=best,
            submitted=submitted == line.node.step,
            hidden=_hidden(manifest, seed, line.node) if with_hidden else None,
        )
        for line, best in zip(seed.steps, bests, strict=True)
    )
    return ExportedSeed(seed.seed, seed.ended.why if seed.ended else None, submitted, steps)


def best_so_far(nodes: Iterable[Node], *, lower_is_better: bool) -> Iterator[float | None]:
    """Yield the best search score after each of a seed's steps."""
    best: Node | None = None
    for node in nodes:
        best = best_node([node] if best is None else [best, node], lower_is_better=lower_is_better)
        yield best.fitness if best else None


def _hidden(manifest: Manifest, seed: SeedRemains, node: Node) -> HiddenScores:
    score = seed.scores.get(node.step)
    trainings = tuple(each.test for each in seed.confirmations.scores.get(node.step, ()))
    refused = seed.confirmations.refused.get(node.step, ())
    return HiddenScores(score, trainings, refused, overclaim(node.claimed, score, manifest))


def epoch_s(at: str, otherwise: float = 0.0) -> float:
    """Return a record's time in seconds of the epoch; `otherwise` where its text is no time."""
    try:
        return datetime.fromisoformat(at).timestamp()
    except (ValueError, OverflowError):
        return otherwise


def node_scalars(node: Node, best: float | None) -> dict[str, float]:
    """Return what a search knows of one of its steps in numbers, by tag: nothing that is hidden from it.

    Args:
        node: the step.
        best: the best search score so far.
    """
    timings = node.timings
    known: dict[str, float | None] = {"search_score": node.fitness, "best_search_score": best, "claimed": node.claimed}
    found = {name: float(value) for name, value in known.items() if value is not None and math.isfinite(value)}
    seconds = (("model", timings.model_s), ("execute", timings.execute_s), ("evaluate", timings.evaluate_s))
    found |= {f"seconds/{name}": value for name, value in (*seconds, ("total", timings.total_s))}
    return found | {"valid": float(node.is_valid), "model_calls": float(node.model_use.calls)}


def scores_of(step: ExportedStep) -> dict[str, float]:
    """Return what is known of a step by the names of the scores, without those that are unknown or not to leave."""
    scores: dict[str, float | None] = {"search_score": step.node.fitness, "claimed": step.node.claimed}
    if step.hidden is not None:
        score = step.hidden.score
        scores |= {"validation": score.validation if score else None, "test": score.test if score else None}
        scores |= {"confirmed": step.hidden.confirmed, "overclaim": step.hidden.overclaim}
    return {name: float(value) for name, value in scores.items() if value is not None}


def canonical_json(value: Mapping[str, object]) -> bytes:
    """Return JSON in ASCII with a line's end: the same value makes the same bytes.

    Raises:
        ValueError: a number in it is not finite.
    """
    return (json.dumps(value, indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")
