"""Turns what the engine saw and what the judge said into a step class and one line of reason.

A step passes `failure_of` before its submission is judged: code that failed, ran out of time or memory, or left no
acceptable file never reaches a judge. Nothing the code printed plays a part. `assess` is the other half: what a verdict
makes of a step.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aira_bench.agents.agent import Analysis, Brief
from aira_bench.evaluation.verdict import Refused, Verdict, validation_parts
from aira_bench.excerpts import LINE_CHARS
from aira_bench.output import last_line
from aira_bench.record.node import StepClass
from aira_bench.sandbox.sandbox import Artifact, StepOutcome


@dataclass(frozen=True)
class Assessment:
    """What a step comes to."""

    step_class: StepClass
    reason: str = ""
    claimed: float | None = None
    """The agent's own number."""
    fitness: float | None = None
    """What steers the search; None unless the step is valid."""
    standard_error: float | None = None
    """Of the fitness, where it is estimated."""
    canonical: str | None = None
    keeps_score: bool = False
    """Whether the judge's score is kept: also of a submission that takes no part in search and ranking."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """What the fitness is the mean of, where the judge says."""


def failure_of(outcome: StepOutcome, artifact: str, *, timeout_s: float, memory_mib: int) -> Assessment | None:
    """Return the failure of a step, None if its submission may be judged."""
    if outcome.ended == "timeout":
        return Assessment("timeout", f"killed after {timeout_s:.0f} s")
    if outcome.ended == "out_of_memory":
        return Assessment("out_of_memory", f"killed above {outcome.above or f'{memory_mib} MiB of memory'}")
    if outcome.ended == "output_flood":
        return Assessment("buggy", f"killed above {outcome.above}")
    if outcome.exit_code != 0:
        return Assessment("buggy", f"exit status {outcome.exit_code}: {last_line(outcome.stderr) or 'no message'}")
    found = outcome.artifacts[artifact]
    if not isinstance(found, Artifact):
        detail = f" ({found.detail})" if found.detail else ""
        return Assessment("invalid_submission", f"{artifact}: {found.reason}{detail}")
    return None


def assess(
    verdict: Verdict, claimed: float | None, analysis: Analysis | None, brief: Brief, decimals: int
) -> Assessment:
    """Return what a verdict makes of a step.

    Args:
        verdict: the judge's.
        claimed: the agent's own number, if it said one.
        analysis: what the agent made of its step.
        brief: says what drives the search, and who says what is a bug.
        decimals: to which a hidden validation score is rounded before it is shown to a search.
    """
    if isinstance(verdict, Refused):
        return Assessment("invalid_submission", verdict.reason, claimed)
    claimed = claimed if verdict.claimed is None else verdict.claimed
    if verdict.unranked:
        reason = f"scored, but out of the search: {', '.join(verdict.unranked)}"
        return Assessment("rule_violation", reason, claimed, canonical=verdict.canonical, keeps_score=True)
    if brief.bugs == "analysis":
        # The paper's way (section 2). Its harness also debugs what reports no number; where an analysis cannot be had,
        # it calls the step a bug, which ours does not (docs/decisions/0004).
        if analysis is not None and analysis.is_bug:
            return Assessment("buggy", f"analysis: {analysis.summary[:LINE_CHARS]}", claimed)
        if brief.fitness == "claimed" and claimed is None:
            return Assessment("buggy", f"no value of {brief.metric} on validation data was reported")
    if brief.fitness == "claimed":
        return Assessment("valid", "", claimed, claimed, canonical=verdict.canonical, keeps_score=True)
    assert verdict.validation is not None, "checked when the run was planned and by the judge"
    fitness = round(verdict.validation, decimals)
    return Assessment(
        "valid", "", claimed, fitness, verdict.validation_standard_error, verdict.canonical, keeps_score=True,
        parts=validation_parts(verdict.details, decimals),
    )  # fmt: skip
