"""What pages need of a run, made from its files once and kept in an index until they change.

Text that agents wrote is kept as they wrote it, cut to what pages show of it; templates escape it. Not covered: single
steps in full (`aira_bench.looking.step_view`), and where entries are kept (`aira_bench.view.index`).
"""

import contextlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from aira_bench.agent_code.reading import NotRead, read_for_a_while
from aira_bench.boards.replicates import overclaim
from aira_bench.files import Unacceptable
from aira_bench.looking.artifact import layers_of
from aira_bench.looking.growth import LengthPoint, growth_of
from aira_bench.looking.step_files import artifact_of, read_step_file, step_files
from aira_bench.looking.winners import Winner, best_seed, winners
from aira_bench.record.confirmations import mean_of
from aira_bench.record.journal import StepEnded
from aira_bench.record.node import FAILED, Node
from aira_bench.record.salvage import RunRemains, SeedRemains
from aira_contract.files import MODULE_FILE
from aira_contract.training_series import Series, thinned

PLAN_CHARS, REASON_CHARS, NAME_CHARS = 280, 200, 200
MOST_FAULTS = 50
CURVE_POINTS = 40
"""Of a training, on the page of its run; the page of its step has all of them."""
CLASSES = ("valid", *sorted(FAILED), "infra_error")
"""In the order in which pages list them."""
_READ_S = 10.0
"""Processor seconds for one file of code."""
_LOT = 100
"""Files of code in memory at once."""
_MOST_CODE_BYTES = 2**18
"""Of a file that is read for a run's page; larger ones have no mechanisms and no features there."""

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class CodeEntry:
    """What a step's code is about, told from its text alone."""

    mechanisms: tuple[str, ...] = ()
    features: Mapping[str, object] = field(default_factory=dict)
    chars: int = 0
    lines: int = 0


@dataclass(frozen=True)
class NodeEntry:
    """One finished step, in a line."""

    seed: int
    step: int
    operator: str
    parents: tuple[int, ...]
    step_class: str
    reason: str
    search: float | None
    search_error: float | None
    validation: float | None
    test: float | None
    test_error: float | None
    confirmed: float | None
    trainings: int
    claimed: float | None
    public: float | None
    overclaim: float | None
    flags: tuple[str, ...]
    unranked: tuple[str, ...]
    canonical: str | None
    plan: str
    artifact_sha256: str | None
    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    agent_s: float
    execute_s: float
    evaluate_s: float
    total_s: float
    waited_s: float
    training_s: float
    """What its evaluation first cost; a cached score keeps that."""
    cached: bool
    attempts: int
    on_gpu: bool
    series: Series = ()
    """How its training went, thinned to `CURVE_POINTS`: as the judge kept it, else as the agent's own code told it."""
    series_is_claimed: bool = False
    """Whether `series` is the agent's word."""
    growth: tuple[LengthPoint, ...] = ()
    """How its module grows with the length of its input."""

    @property
    def label(self) -> str:
        """What it is called beside an axis."""
        return f"{self.seed}:{self.step}"

    @property
    def layers(self) -> tuple[str, ...]:
        """Symbols of its layers; none of what is no architecture."""
        return layers_of(self.canonical)


Link = Callable[[NodeEntry], str]
"""The address of a step's page, from its run's; empty where there is none."""


@dataclass(frozen=True)
class SeedEntry:
    """How one seed stands, as its files say."""

    seed: int
    steps: int
    submitted: int | None
    ended: str | None
    """Why; None before its end."""


@dataclass(frozen=True)
class Spend:
    """What steps took together; None where a part of it is unknown."""

    calls: int = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0
    cost_usd: float | None = 0.0
    agent_s: float = 0.0
    execute_s: float = 0.0
    evaluate_s: float = 0.0
    total_s: float = 0.0
    waited_s: float = 0.0
    retries: int = 0


@dataclass(frozen=True)
class RunEntry:
    """A run as a whole: what a page of many runs has of it."""

    name: str
    run_id: str
    created: str
    agent: str
    scaffold: str
    fitness: str
    task: str
    task_title: str
    profile: str
    metric: str
    lower_is_better: bool
    synthetic: bool
    plan_steps: int
    plan_hours: float
    trainings_wanted: int | None
    noise: float | None
    """Standard deviation of one training of one artifact of the task, where it was measured."""
    has_manifest: bool
    sound: bool
    signers: tuple[str | None, ...]
    faults: tuple[str, ...]
    seeds: tuple[SeedEntry, ...]
    winners: tuple[Winner, ...]
    best_seed: int | None
    """Whose winner is shown first: the best search score, never the best test."""
    classes: Mapping[str, tuple[int, ...]]
    """By class, how many seeds ended step 1, 2, ... so."""
    spend: Spend


@dataclass(frozen=True)
class RunDetail:
    """All steps of a run, a line each."""

    nodes: tuple[NodeEntry, ...]
    codes: Mapping[str, CodeEntry]
    """Of modules and scripts, by the hash of the artifact."""
    unread: int = 0
    """Modules and scripts that are still to be read."""


def run_entry(run: RunRemains) -> RunEntry:
    """Return what a page of many runs has of one.

    Args:
        run: its remains, whether or not it is sound.
    """
    manifest = run.manifest
    plan = manifest.plan if manifest else None
    best = best_seed(run)
    found = winners(run.seeds, lower_is_better=run.lower_is_better)
    return RunEntry(
        name=run.folder.path.name,
        run_id=manifest.run_id if manifest else "",
        created=manifest.created[:NAME_CHARS] if manifest else "",
        agent=plan.agent[:NAME_CHARS] if plan else "",
        scaffold=plan.scaffold[:NAME_CHARS] if plan else "",
        fitness=plan.fitness if plan else "",
        task=manifest.task_name[:NAME_CHARS] if manifest else "",
        task_title=manifest.task_title[:NAME_CHARS] if manifest else "",
        profile=plan.profile if plan else "",
        metric=manifest.metric[:NAME_CHARS] if manifest else "",
        lower_is_better=run.lower_is_better,
        synthetic=manifest.synthetic if manifest else False,
        plan_steps=plan.steps if plan else 0,
        plan_hours=plan.hours if plan else 0.0,
        trainings_wanted=manifest.trainings if manifest else None,
        noise=manifest.noise.deviation if manifest and manifest.noise else None,
        has_manifest=manifest is not None,
        sound=run.record is not None,
        signers=run.record.signers if run.record else (),
        faults=tuple(fault[:2000] for fault in run.faults[:MOST_FAULTS]),
        seeds=tuple(
            SeedEntry(
                each.seed, len(each.steps), each.ended.submitted if each.ended else None,
                each.ended.why if each.ended else None,
            )
            for each in run.seeds
        ),
        winners=tuple(
            replace(each, plan=each.plan[:PLAN_CHARS], canonical=(each.canonical or "")[:NAME_CHARS] or None)
            for each in found
        ),
        best_seed=best.seed if best else None,
        classes=_classes(run),
        spend=_spend(run),
    )  # fmt: skip


def run_detail(run: RunRemains, before: RunDetail | None, *, patience_s: float = math.inf) -> RunDetail:
    """Return all steps of a run.

    Args:
        run: its remains.
        before: the same of an earlier moment; code that was read for it is not read again.
        patience_s: how long code is read; what is left over then is counted.
    """
    nodes = tuple(_node(run, seed, step) for seed in run.seeds for step in seed.steps)
    codes, unread = _codes(run, before.codes if before else {}, time.monotonic() + patience_s)
    return RunDetail(nodes, codes, unread)


def _node(run: RunRemains, seed: SeedRemains, step: StepEnded) -> NodeEntry:
    node: Node = step.node
    score = seed.scores.get(node.step)
    trainings = seed.confirmations.scores.get(node.step, ())
    times, use = node.timings, node.model_use
    return NodeEntry(
        seed=seed.seed,
        step=node.step,
        operator=node.operator,
        parents=node.parents,
        step_class=node.step_class,
        reason=node.reason[:REASON_CHARS],
        search=node.fitness,
        search_error=node.fitness_standard_error,
        validation=score.validation if score else None,
        test=score.test if score else None,
        test_error=score.test_standard_error if score else None,
        confirmed=mean_of([each.test for each in trainings]),
        trainings=len(trainings),
        claimed=node.claimed,
        public=score.public if score else None,
        overclaim=overclaim(node.claimed, score, run.manifest) if run.manifest else None,
        flags=score.flags if score else (),
        unranked=score.unranked if score else (),
        canonical=node.canonical[:NAME_CHARS] if node.canonical else None,
        plan=node.plan[:PLAN_CHARS],
        artifact_sha256=node.artifact_sha256,
        calls=use.calls,
        input_tokens=use.input_tokens,
        output_tokens=use.output_tokens,
        cost_usd=use.cost_usd,
        agent_s=times.model_s,
        execute_s=times.execute_s,
        evaluate_s=times.evaluate_s,
        total_s=times.total_s,
        waited_s=sum(times.waited_s.values()),
        training_s=score.seconds if score else times.evaluate_s,
        cached=score.cached if score else False,
        attempts=node.attempts,
        on_gpu=bool(node.gpu_use),
        series=thinned(score.series or score.claimed_series, CURVE_POINTS) if score else (),
        growth=growth_of(seed, step),
        series_is_claimed=score is not None and not score.series and bool(score.claimed_series),
    )


def _classes(run: RunRemains) -> dict[str, tuple[int, ...]]:
    longest = max((len(seed.steps) for seed in run.seeds), default=0)
    counts = {name: [0] * longest for name in CLASSES}
    for seed in run.seeds:
        for place, node in enumerate(seed.nodes):
            counts[node.step_class][place] += 1
    return {name: tuple(found) for name, found in counts.items() if any(found)}


def _spend(run: RunRemains) -> Spend:
    nodes = [node for seed in run.seeds for node in seed.nodes]
    use = [node.model_use for node in nodes]
    times = [node.timings for node in nodes]
    return Spend(
        calls=sum(each.calls for each in use),
        input_tokens=_known_sum([each.input_tokens for each in use], 0),
        output_tokens=_known_sum([each.output_tokens for each in use], 0),
        cost_usd=_known_sum([each.cost_usd for each in use], 0.0),
        agent_s=sum(each.model_s for each in times),
        execute_s=sum(each.execute_s for each in times),
        evaluate_s=sum(each.evaluate_s for each in times),
        total_s=sum(each.total_s for each in times),
        waited_s=sum(sum(each.waited_s.values()) for each in times),
        retries=sum(node.attempts - 1 for node in nodes),
    )


def _known_sum(values: Sequence[Number | None], nothing: Number) -> Number | None:
    known = [value for value in values if value is not None]
    return sum(known, nothing) if len(known) == len(values) else None


def _codes(run: RunRemains, before: Mapping[str, CodeEntry], until_s: float) -> tuple[dict[str, CodeEntry], int]:
    """What each module or script is about, by its hash, each text read once, however many steps submitted it; and how
    many there was no time for.
    """
    wanted: dict[str, tuple[SeedRemains, StepEnded]] = {}
    for seed in run.seeds:
        for step in seed.steps:
            sha = step.node.artifact_sha256
            if sha is not None and not layers_of(step.node.canonical):
                wanted.setdefault(sha, (seed, step))
    known = {sha: before[sha] for sha in wanted if sha in before}
    rest = [sha for sha in wanted if sha not in known]
    while rest and (left_s := until_s - time.monotonic()) > 0:
        found, seen = _read_codes({sha: wanted[sha] for sha in rest[:_LOT]}, left_s)
        known, rest = known | found, rest[seen:]
    return known, len(rest)


def _read_codes(
    wanted: Mapping[str, tuple[SeedRemains, StepEnded]], patience_s: float
) -> tuple[dict[str, CodeEntry], int]:
    """What the first of some files are about, those that are no code left out; and how many of all are done."""
    texts: dict[str, tuple[str, str]] = {}
    for sha, (seed, step) in wanted.items():
        file = artifact_of(seed, step, step_files(seed, step)[0])
        if file is None or not file.name.endswith(".py") or (file.size_bytes or 0) > _MOST_CODE_BYTES:
            continue
        with contextlib.suppress(Unacceptable):
            texts[sha] = file.name, read_step_file(seed, file).decode("utf-8", "replace")
    read = read_for_a_while("describe", [text for _, text in texts.values()], patience_s=patience_s, deadline_s=_READ_S)
    whole = len(read) == len(texts)
    done = len(wanted) if whole else list(wanted).index(list(texts)[len(read)])
    return {sha: _code(name, text, told) for (sha, (name, text)), told in zip(texts.items(), read, strict=False)}, done


def _code(name: str, text: str, read: Mapping[str, Any] | NotRead) -> CodeEntry:
    chars, lines = len(text), text.count("\n") + 1
    if isinstance(read, NotRead):
        return CodeEntry(chars=chars, lines=lines)
    if name == MODULE_FILE:
        return CodeEntry(tuple(read["mechanisms"]), {}, chars, lines)
    return CodeEntry((), read["features"], chars, lines)
