"""One step from proposal to node: propose, execute, evaluate, analyze (`phases`), each a value for the next.

The course of a step is one immutable value that grows phase by phase, and `_node` alone makes a node of it. Where
infrastructure fails for good, a step ends as `infra_error`: it is counted, and no search, rate or mean knows of it.

Not covered: attempts (`retries`), and which class an ending has (`outcomes`).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aira_bench.agents.agent import Analysis, Proposal
from aira_bench.escaping import printable
from aira_bench.evaluation.claim import claimed_value
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.verdict import Scored, trusted_score
from aira_bench.gpus.use import GpuUse
from aira_bench.record.node import Node, Timings
from aira_bench.runs.outcomes import Assessment, assess, failure_of
from aira_bench.runs.phases import Executed, analyze, evaluate, execute, propose
from aira_bench.runs.retries import Doubt, Undone, in_slot
from aira_bench.runs.session import StepPlace


@dataclass(frozen=True)
class Course:
    """What has come of a step so far."""

    proposal: Proposal
    model_s: float
    execute_s: float = 0.0
    evaluate_s: float = 0.0
    attempts: int = 1
    code_ran: bool = False
    analysis: Analysis | None = None
    submission: Submission | None = None
    cores: int | None = None
    gpu_use: Mapping[str, GpuUse] = field(default_factory=dict)


def take_step(place: StepPlace) -> Node:
    """Take one step.

    Raises:
        Stopped: the user stopped the run.
        OutOfTime: the hour budget ended inside the step.
        BudgetExceeded: the agent's next model call could break a budget.
        ModelError: the agent's provider refused for good.
        SandboxError: the engine failed for good.
    """
    proposed = propose(place)
    code, course = proposed.proposal.code, Course(proposed.proposal, proposed.seconds)
    if proposed.proposal.failure:
        return _node(place, course, Assessment("buggy", proposed.proposal.failure))
    doubt = Doubt()
    ran = in_slot(place, lambda slot: execute(place, slot, code, doubt), place.folder.node(place.step))
    if isinstance(ran, Undone):
        return _without_result(place, course, ran)
    course = replace(
        course, execute_s=ran.result.seconds, attempts=1 + ran.repeats, code_ran=True, cores=ran.result.cores,
        gpu_use=_with({}, "step", ran.result.outcome.gpu),
    )  # fmt: skip
    if place.session.brief.analysis_steers:
        # The paper's way: its analysis may read the number that steers, or call the step a bug, so it comes first.
        judged = _judged(place, _analyzed(place, course, ran.result), ran.result)
        return judged if isinstance(judged, Node) else _node(place, *judged)
    judged = _judged(place, course, ran.result)
    if isinstance(judged, Node):
        return judged
    course, finding = judged
    return _node(place, _analyzed(place, course, ran.result, finding), finding)


def _analyzed(place: StepPlace, course: Course, executed: Executed, finding: Assessment | None = None) -> Course:
    analyzed = analyze(place, course.proposal.code, executed.outcome, finding)
    return replace(course, model_s=course.model_s + analyzed.seconds, analysis=analyzed.analysis)


def _judged(place: StepPlace, course: Course, executed: Executed) -> tuple[Course, Assessment] | Node:
    """What the judge makes of code that ran; the step's node where it has no result."""
    brief, outcome, analysis = place.session.brief, executed.outcome, course.analysis
    claimed = claimed_value(outcome, brief.metric)
    if claimed is None and brief.fitness == "claimed" and analysis is not None:
        claimed = analysis.metric
    failure = failure_of(outcome, brief.artifact.name, timeout_s=executed.limit_s, memory_mib=brief.memory_mib)
    if failure is not None:
        return course, replace(failure, claimed=claimed)
    content = (place.folder.node(place.step) / brief.artifact.name).read_bytes()
    submission = Submission.of(brief.artifact, content)
    doubt = Doubt()
    judged = in_slot(place, lambda slot: evaluate(place, slot, submission, doubt), place.folder.verdict(place.step))
    if isinstance(judged, Undone):
        return _without_result(place, course, judged)
    verdict, evaluation = judged.result.verdict, place.session.evaluation
    course = replace(
        course,
        evaluate_s=judged.result.seconds,
        attempts=course.attempts + judged.repeats + judged.result.repeats,
        submission=submission,
        gpu_use=_with(course.gpu_use, "evaluation", verdict.gpu),
    )
    finding = assess(verdict, claimed, analysis, brief, evaluation.task.metadata.aira.fitness_decimals)
    if finding.keeps_score and isinstance(verdict, Scored):
        image = evaluation.images.evaluator
        place.folder.scores.append(trusted_score(place.step, verdict, image, synthetic=place.session.synthetic))
    return course, finding


def _without_result(place: StepPlace, course: Course, undone: Undone) -> Node:
    """The node of a step one of whose phases came to nothing: by its own files, or by infrastructure."""
    course = replace(course, attempts=course.attempts + undone.repeats, code_ran=course.code_ran or undone.code_ran)
    if undone.too_large:
        return _node(place, course, Assessment("invalid_submission" if course.code_ran else "buggy", undone.reason))
    return _node(place, course, Assessment("infra_error", undone.reason))


def _node(place: StepPlace, course: Course, finding: Assessment) -> Node:
    proposal, analysis = course.proposal, course.analysis
    return Node(
        step=place.step,
        operator=place.action.operator,
        parents=place.action.parents,
        step_class=finding.step_class,
        reason=finding.reason,
        fitness=finding.fitness,
        claimed=finding.claimed,
        code_sha256=hashlib.sha256(proposal.code.encode()).hexdigest(),
        artifact_sha256=course.submission.sha256 if course.submission else None,
        plan=printable(proposal.plan),
        summary=printable(analysis.summary) if analysis else "",
        canonical=finding.canonical,
        attempts=course.attempts,
        timings=Timings(course.model_s, course.execute_s, course.evaluate_s, place.hours.used_s, place.waits.seconds),
        model_use=proposal.model_use + analysis.model_use if analysis else proposal.model_use,
        changes=proposal.changes,
        code_ran=course.code_ran or finding.step_class != "infra_error",
        fitness_standard_error=finding.standard_error,
        parts=dict(finding.parts),
        cores=course.cores,
        gpu_use=dict(course.gpu_use),
    )


def _with(known: Mapping[str, GpuUse], phase: str, use: GpuUse | None) -> Mapping[str, GpuUse]:
    return known if use is None else {**known, phase: use}
