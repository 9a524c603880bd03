"""One step from proposal to node: ask the agent, run its code, hear its analysis, score the submission.

Infrastructure errors are retried, with pauses, and counted; every attempt's files are kept. A phase that fails so
`ATTEMPTS` times ends its step as `infra_error` if the engine still runs an empty step, else the seed halts and can be
resumed; neither is ever a score. What an agent's code can bring about is no such error (`aira_bench.sandbox.ending`),
and one that comes after its code ran buys nothing: the step counts as one without a result (`Node.is_lost`).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aira_bench.agents.protocol import Analysis, Proposal, Situation, StepReport
from aira_bench.errors import AskedInVain, BudgetExceeded, ModelError, SandboxError
from aira_bench.escaping import printable
from aira_bench.evaluation.cache import host_canonical
from aira_bench.evaluation.claim import CLAIM, claimed_value
from aira_bench.evaluation.verdict import Refused, Scored, Verdict, trusted_score
from aira_bench.excerpts import LINE_CHARS
from aira_bench.output import display
from aira_bench.record.attempts import keep_attempt
from aira_bench.record.folder import SeedFolder
from aira_bench.record.journal import JournalFile
from aira_bench.record.node import Node, StepClass, Timings
from aira_bench.runs.outcomes import failure_of
from aira_bench.runs.session import Clock, OutOfTime, Progress, Session, Stopped, stream
from aira_bench.runs.slots import Slot
from aira_bench.sandbox.protocol import ArtifactRequest, FilesTooLarge, StepLost, StepOutcome
from aira_bench.scaffolds.protocol import Proposing

Result = TypeVar("Result")
ATTEMPTS = 3
SOLUTION = "solution.py"
_EMPTY_STEP_TIMEOUT_S = 60.0


class _InfrastructureFailed(Exception):
    """A phase failed `ATTEMPTS` times on an engine that otherwise works."""


@dataclass
class Step:
    """One step from proposal to node."""

    session: Session
    folder: SeedFolder
    journal: JournalFile
    seed: int
    step: int
    action: Proposing
    clock: Clock
    attempts: int = 1
    code_ran: bool = False
    model_s: float = 0.0
    execute_s: float = 0.0
    evaluate_s: float = 0.0

    def run(self) -> Node:
        """Take the step.

        Raises:
            Stopped: the user stopped the run.
            OutOfTime: the hour budget ended inside the step.
            BudgetExceeded: the agent's next model call could break a budget.
            ModelError: the agent's provider refused for good.
            SandboxError: the engine failed for good.
        """
        proposal = self._propose()
        try:
            if proposal.failure:
                return self._node(proposal, "buggy", proposal.failure)
            node = self.folder.node(self.step)
            outcome, timeout_s = self._with_slot(lambda slot: self._execute(slot, proposal), node)
            self.code_ran = True
            analysis = self._analyze(proposal, outcome)
            return self._judged(proposal, outcome, timeout_s, analysis)
        except FilesTooLarge as error:
            return self._node(proposal, "invalid_submission" if self.code_ran else "buggy", error.message)
        except _InfrastructureFailed as error:
            return self._node(proposal, "infra_error", str(error))

    def _situation(self) -> Situation:
        return Situation(
            action=self.action,
            journal=self.journal.nodes,
            read_step=self.folder.read_step,
            rng=stream(self.seed, self.step, "agent"),
            steps_left=self.session.plan.steps - self.step + 1,
            seconds_left=self.clock.left_s,
            seed=self.seed,
            step=self.step,
            calls=self.folder.calls(self.step),
        )

    def _propose(self) -> Proposal:
        self._tell("waiting for the agent")
        before_s = self.clock.used_s
        proposal = self.session.agent.propose(self.session.brief, self._situation())
        self.model_s = self.clock.used_s - before_s
        node = self.folder.node(self.step)
        if node.exists():  # of an attempt that a crash or a stop cut short
            keep_attempt(node)
        node.mkdir(parents=True, exist_ok=True)
        (node / SOLUTION).write_text(proposal.code, encoding="utf-8")
        return proposal

    def _analyze(self, proposal: Proposal, outcome: StepOutcome) -> Analysis | None:
        """What the agent makes of the outcome. An analysis that no budget is left for, or no provider, is left out."""
        before_s = self.clock.used_s
        ended = outcome.ended.replace("_", " ") if outcome.ended != "exited" else f"exit status {outcome.exit_code}"
        files = self.folder.read_step(self.step)
        report = StepReport(proposal.code, ended, outcome.wall_s, files.stdout, files.stderr)
        try:
            return self.session.agent.analyze(self.session.brief, self._situation(), report)
        except (BudgetExceeded, ModelError):
            # What the code printed may be why a provider refuses. One that is gone says so at the next proposal.
            return None
        finally:
            self.model_s += self.clock.used_s - before_s

    def _judged(self, proposal: Proposal, outcome: StepOutcome, timeout_s: float, analysis: Analysis | None) -> Node:
        brief = self.session.brief
        claimed = claimed_value(outcome, brief.metric)
        if claimed is None and brief.fitness == "claimed" and analysis is not None:
            claimed = analysis.metric
        failure = failure_of(outcome, brief.artifact.name, timeout_s=timeout_s, memory_mib=brief.memory_mib)
        if failure is not None:
            return self._node(proposal, failure.step_class, failure.reason, claimed=claimed, analysis=analysis)
        submission = (self.folder.node(self.step) / brief.artifact.name).read_bytes()
        digest = hashlib.sha256(submission).hexdigest()
        verdict = self._with_slot(lambda slot: self._evaluate(slot, submission), self.folder.verdict(self.step))
        if isinstance(verdict, Refused):
            return self._node(
                proposal,
                "invalid_submission",
                verdict.reason,
                claimed=claimed,
                artifact_sha256=digest,
                analysis=analysis,
            )
        return self._scored(proposal, verdict, claimed, digest, analysis)

    def _with_slot(self, work: Callable[[Slot], Result], folder: Path) -> Result:
        """Do one phase in a slot, again if infrastructure fails; slots are free while an agent thinks.

        What a failed attempt left in `folder` is kept there, apart.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self.session.slots.slot() as slot:
                    self._check_stop()
                    return work(slot)
            except SandboxError as error:
                if self.session.stop.is_set():
                    raise Stopped from error
                failure = error
            self.code_ran = self.code_ran or isinstance(failure, StepLost)
            keep_attempt(folder, failure, besides=[SOLUTION])
            self._tell(f"infrastructure failed, attempt {attempt} of {ATTEMPTS}")
            if isinstance(failure, AskedInVain):  # it has tried again itself; all again would train anew
                self.attempts += failure.attempts - 1
                break
            if attempt < ATTEMPTS:
                self.attempts += 1
                if self.session.stop.wait(self.session.retry_pauses_s[attempt - 1]):
                    raise Stopped
        self._check_engine(failure)
        raise _InfrastructureFailed(failure.message)

    def _execute(self, slot: Slot, proposal: Proposal) -> tuple[StepOutcome, float]:
        self._tell("running the solution")
        brief, before_s = self.session.brief, self.clock.used_s
        timeout_s = min(self.session.plan.step_timeout_s, self.clock.remaining_s)
        if timeout_s <= 0:
            raise OutOfTime
        node = self.folder.node(self.step)
        container = slot.agent.take()
        try:
            outcome = container.run(
                ["python3", SOLUTION],
                files={SOLUTION: proposal.code.encode()},
                timeout_s=timeout_s,
                artifacts=[ArtifactRequest(brief.artifact.name, brief.artifact.max_kib * 1024), CLAIM],
                destination=node,
            )
        finally:
            container.close()
        self._check_stop()  # a step whose container was swept away has no result
        self.execute_s = self.clock.used_s - before_s
        if outcome.ended == "timeout" and timeout_s < self.session.plan.step_timeout_s:
            raise OutOfTime
        (node / "stdout.txt").write_text(display(outcome.stdout), encoding="utf-8")
        (node / "stderr.txt").write_text(display(outcome.stderr), encoding="utf-8")
        return outcome, timeout_s

    def _evaluate(self, slot: Slot, submission: bytes) -> Verdict:
        session, before_s = self.session, self.clock.used_s
        canonical = host_canonical(session.brief.artifact, submission)
        key = canonical or hashlib.sha256(submission).hexdigest()
        stored = session.cache.get(key) if session.cache else None
        if stored is not None:
            return stored
        self._tell("scoring the submission")
        timeout_s = min(session.plan.evaluation_timeout_s, self.clock.remaining_s)
        if timeout_s <= 0:
            raise OutOfTime
        try:
            verdict = slot.evaluator.evaluate(
                submission, timeout_s=timeout_s, destination=self.folder.verdict(self.step)
            )
        except SandboxError:
            if self.clock.remaining_s <= 0:
                raise OutOfTime from None
            raise
        self._check_stop()
        self.evaluate_s = self.clock.used_s - before_s
        self.attempts += verdict.attempts - 1
        if isinstance(verdict, Scored):
            if canonical is not None and verdict.canonical != canonical:
                raise SandboxError(f"The judge read {verdict.canonical!r} where the host read {canonical!r}.")
            if session.cache:
                session.cache.put(key, verdict)
        return verdict

    def _scored(
        self, proposal: Proposal, scored: Scored, claimed: float | None, digest: str, analysis: Analysis | None
    ) -> Node:
        session = self.session
        image = session.evaluation.images.evaluator
        trusted = trusted_score(self.step, scored, image, synthetic=session.synthetic)
        claimed = claimed if scored.claimed is None else scored.claimed
        fitness = claimed
        if scored.unranked:
            self.folder.scores.append(trusted)
            reason = f"scored, but out of the search: {', '.join(scored.unranked)}"
            return self._node(
                proposal, "rule_violation", reason, claimed=claimed, artifact_sha256=digest, analysis=analysis,
                canonical=scored.canonical,
            )  # fmt: skip
        standard_error = None
        if session.brief.fitness == "hidden":
            standard_error = scored.validation_standard_error
            assert scored.validation is not None, "checked when the run was planned and by the judge"
            fitness = round(scored.validation, session.evaluation.task.metadata.aira.fitness_decimals)
        elif analysis is not None and analysis.is_bug:
            # The paper's way: where the agent's own number steers, its own analysis may refuse that number.
            reason = f"analysis: {analysis.summary[:LINE_CHARS]}"
            return self._node(proposal, "buggy", reason, claimed=claimed, artifact_sha256=digest, analysis=analysis)
        self.folder.scores.append(trusted)
        return self._node(
            proposal, "valid", "", fitness=fitness, claimed=claimed, artifact_sha256=digest,
            canonical=scored.canonical, analysis=analysis, standard_error=standard_error,
        )  # fmt: skip

    def _node(
        self,
        proposal: Proposal,
        step_class: StepClass,
        reason: str,
        *,
        fitness: float | None = None,
        claimed: float | None = None,
        artifact_sha256: str | None = None,
        canonical: str | None = None,
        analysis: Analysis | None = None,
        standard_error: float | None = None,
    ) -> Node:
        return Node(
            step=self.step,
            operator=self.action.operator,
            parents=self.action.parents,
            step_class=step_class,
            reason=reason,
            fitness=fitness,
            claimed=claimed,
            code_sha256=hashlib.sha256(proposal.code.encode()).hexdigest(),
            artifact_sha256=artifact_sha256,
            plan=printable(proposal.plan),
            summary=printable(analysis.summary) if analysis else "",
            canonical=canonical,
            attempts=self.attempts,
            timings=Timings(self.model_s, self.execute_s, self.evaluate_s, self.clock.used_s),
            model_use=proposal.model_use + analysis.model_use if analysis else proposal.model_use,
            changes=proposal.changes,
            code_ran=self.code_ran or step_class != "infra_error",
            fitness_standard_error=standard_error,
        )

    def _check_engine(self, failure: SandboxError) -> None:
        """Raise `failure` unless a container still runs an empty program: then the step itself is at fault."""
        with self.session.slots.slot() as slot:
            container = slot.agent.take()
            try:
                outcome = container.run(
                    ["python3", "-c", "pass"], files={}, timeout_s=_EMPTY_STEP_TIMEOUT_S, artifacts=[],
                    destination=Path(self.folder.path),
                )  # fmt: skip
            finally:
                container.close()
        if outcome.exit_code != 0:
            raise failure

    def _check_stop(self) -> None:
        if self.session.stop.is_set():
            raise Stopped

    def _tell(self, phase: str) -> None:
        self.session.watch(Progress(self.seed, self.step, phase))
