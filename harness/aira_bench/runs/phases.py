"""The phases of a step: propose, execute, evaluate, analyze; each a function of its place that returns a value.

Not covered: attempts (`retries`), the order of the phases, and what they come to (`step`).
"""

from dataclasses import dataclass, replace

from aira_bench.agents.agent import Analysis, Proposal, StepReport, fault_of_analysis, fault_of_proposal
from aira_bench.errors import BudgetExceeded, ModelError, SandboxError
from aira_bench.evaluation.claim import CLAIM
from aira_bench.evaluation.submission import Submission
from aira_bench.evaluation.verdict import Refused, Scored, Unexplained, Verdict
from aira_bench.llm.failures import ProviderFailure
from aira_bench.output import display
from aira_bench.record.attempts import keep_attempt
from aira_bench.record.node import outcome_of
from aira_bench.runs.outcomes import Assessment
from aira_bench.runs.outside import ask
from aira_bench.runs.retries import SOLUTION, Doubt
from aira_bench.runs.session import OutOfTime, StepPlace
from aira_bench.runs.slots import Slot
from aira_bench.sandbox.sandbox import ArtifactRequest, DeviceTaken, StepLost, StepOutcome


@dataclass(frozen=True)
class Proposed:
    """What the agent wants to run, and how long it thought."""

    proposal: Proposal
    seconds: float


@dataclass(frozen=True)
class Executed:
    """How the code ended."""

    outcome: StepOutcome
    limit_s: float
    """The time it had."""
    seconds: float
    cores: int | None = None
    """Of its slot."""


@dataclass(frozen=True)
class Analyzed:
    """What the agent makes of how its code ended; None if it does not look, or could not."""

    analysis: Analysis | None
    seconds: float


@dataclass(frozen=True)
class Evaluated:
    """What the judge says of the submission."""

    verdict: Verdict
    seconds: float
    repeats: int = 0
    """How often the evaluator itself had to try again."""


def propose(place: StepPlace) -> Proposed:
    """Ask the agent; its code begins the step's folder.

    Raises:
        OutOfTime: the seed's hours ended before its provider answered.
        BudgetExceeded: the agent's next model call could break a budget.
        ModelError: the agent's provider refused for good.
    """
    place.tell("waiting for the agent")
    before_s = place.hours.used_s
    try:
        proposal = ask(
            place.session, "agent", lambda: place.session.agent.propose(place.session.brief, place.situation()),
            fault_of_proposal,
        )  # fmt: skip
    except ModelError:
        if place.hours.has_passed:  # a call has no more time than the seed: its silence is the end of the hours
            raise OutOfTime from None
        raise
    seconds = place.hours.used_s - before_s
    node = place.folder.node(place.step)
    if node.exists():  # of an attempt that a crash or a stop cut short
        keep_attempt(node)
    node.mkdir(parents=True, exist_ok=True)
    (node / SOLUTION).write_text(proposal.code, encoding="utf-8")
    return Proposed(proposal, seconds)


def execute(place: StepPlace, slot: Slot, code: str, doubt: Doubt) -> Executed:
    """Run the code in the slot's next container.

    Raises:
        OutOfTime: the seed's hours ended before the code did.
        Stopped: the user stopped the run.
        StepLost: it was killed, the engine knows of no hand, and that is worth another try.
        SandboxError, FilesTooLarge: as `PreparedContainer.run`.
    """
    place.tell("running the solution")
    artifact, before_s = place.session.brief.artifact, place.hours.used_s
    deadline = place.hours.within(place.session.plan.step_timeout_s, "step")
    if deadline.limit_s <= 0:
        raise OutOfTime
    node = place.folder.node(place.step)
    container = slot.agent.take()
    try:
        outcome = container.run(
            ["python3", SOLUTION],
            files={SOLUTION: code.encode()},
            timeout_s=deadline.limit_s,
            artifacts=[ArtifactRequest(artifact.name, artifact.max_kib * 1024), CLAIM],
            destination=node,
        )
    except DeviceTaken:
        place.hours.lose(place.hours.used_s - before_s)  # all of it was somebody else's doing
        raise
    finally:
        container.close()
    place.hours.lose(outcome.lost_s)
    place.check_stop()  # a step whose container was swept away has no result
    seconds = place.hours.used_s - before_s
    if outcome.ended == "timeout" and deadline.owner == "hours":
        raise OutOfTime
    if outcome.is_unexplained and doubt.spend():
        raise StepLost(
            f"The code was killed (exit status {outcome.exit_code}), by itself or by a machine without memory.",
            hint="dmesg | grep -i 'killed process'",
            output=(outcome.stdout, outcome.stderr),
            why="unexplained",
        )
    (node / "stdout.txt").write_text(display(outcome.stdout), encoding="utf-8")
    (node / "stderr.txt").write_text(display(outcome.stderr), encoding="utf-8")
    return Executed(outcome, deadline.limit_s, seconds, None if slot.cpus is None else len(slot.cpus))


def analyze(place: StepPlace, code: str, outcome: StepOutcome, finding: Assessment | None) -> Analyzed:
    """Ask the agent what the outcome shows; left out where no time or budget is left for it, or where it is refused.

    Args:
        place: the step's.
        code: that ran.
        outcome: how it ended.
        finding: what the judge made of it; None where the analysis comes first.

    Raises:
        ModelError: the provider is gone, or takes no call of this user.
    """
    before_s = place.hours.used_s
    if finding is not None and place.hours.has_passed:
        return Analyzed(None, 0.0)
    ended = outcome.ended.replace("_", " ") if outcome.ended != "exited" else f"exit status {outcome.exit_code}"
    files = place.folder.read_step(place.step)
    report = StepReport(code, ended, outcome.wall_s, files.stdout, files.stderr)
    if finding is not None:
        words = outcome_of(finding.step_class, finding.fitness, finding.standard_error)
        told = f"{words}: {finding.reason}" if finding.reason else words
        report = replace(report, outcome=told, parts=finding.parts)
    situation = replace(place.situation(), seconds_left=place.hours.left_s)  # the code took its part of the hours
    try:
        analysis = ask(
            place.session, "agent", lambda: place.session.agent.analyze(place.session.brief, situation, report),
            fault_of_analysis,
        )  # fmt: skip
    except BudgetExceeded:
        analysis = None
    except ModelError as error:
        failure = error.__cause__
        if isinstance(failure, ProviderFailure) and not failure.culprit_is_the_request:
            raise  # it is gone; later prompts tell of analyses, so without this one the search would go elsewhere
        analysis = None  # what the code printed may be why it is refused
    return Analyzed(analysis, place.hours.used_s - before_s)


def evaluate(place: StepPlace, slot: Slot, submission: Submission, doubt: Doubt) -> Evaluated:
    """Return the stored score of the submission, or what the slot's evaluator says of it.

    Raises:
        Unexplained: what it needs was killed, the engine knows of no hand, and that is worth another try.
        OutOfTime: the seed's hours ended before the evaluation did.
        Stopped: the user stopped the run.
        SandboxError: the engine or the evaluation failed, or the judge read another architecture than the host.
    """
    session, before_s = place.session, place.hours.used_s
    stored = session.cache.get(submission.key) if session.cache else None
    if stored is not None:
        return Evaluated(stored, 0.0)
    place.tell("scoring the submission")
    deadline = place.hours.within(session.plan.evaluation_timeout_s, "evaluation")
    if deadline.limit_s <= 0:
        raise OutOfTime
    try:
        verdict = ask(
            session, "evaluator",
            lambda: slot.evaluator.evaluate(
                submission, deadline=deadline, destination=place.folder.verdict(place.step)
            ),
            lambda found: "" if isinstance(found, Scored | Refused) else "it is no verdict",
        )  # fmt: skip
    except DeviceTaken:
        place.hours.lose(place.hours.used_s - before_s)
        raise
    except SandboxError as error:
        if place.hours.has_passed:
            raise OutOfTime from None
        if not isinstance(error, Unexplained) or doubt.spend():
            raise
        verdict = error.verdict
    place.check_stop()
    seconds = place.hours.used_s - before_s
    if isinstance(verdict, Scored):
        if submission.canonical not in (None, verdict.canonical):
            raise SandboxError(f"The judge read {verdict.canonical!r} where the host read {submission.canonical!r}.")
        if session.cache:
            session.cache.put(submission.key, verdict)
    return Evaluated(verdict, seconds, verdict.attempts - 1)
