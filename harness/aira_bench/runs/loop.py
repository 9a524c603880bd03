"""The search loop of one seed: the same for every scaffold and every agent.

Each step asks the policy what to do, the agent for code, a container to run it and a judge to score it, then writes
one journal event. Randomness comes from (seed, step, purpose) alone, so a run that is killed and resumed, or typed
twice, takes the same path.

Infrastructure errors are retried and counted. A step that fails so `ATTEMPTS` times ends as `infra_error` if the
engine still runs an empty step, else the seed halts and can be resumed; neither is ever a score.
"""

import hashlib
import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from aira_bench.agents.protocol import Agent, Brief, Proposal, Situation
from aira_bench.errors import SandboxError
from aira_bench.evaluation.cache import ScoreCache, host_canonical
from aira_bench.evaluation.judge import Judge
from aira_bench.evaluation.verdict import Refused, Scored, Verdict
from aira_bench.output import display
from aira_bench.runs.folder import SeedFolder
from aira_bench.runs.journal import JournalFile, SeedEnd, SeedEnded, StepEnded, StepStarted
from aira_bench.runs.manifest import RunPlan
from aira_bench.runs.node import Node, StepClass, Timings, best_node
from aira_bench.runs.outcomes import CLAIM, claimed_value, failure_of
from aira_bench.runs.scores import TrustedScore
from aira_bench.runs.slots import Slot, SlotPool
from aira_bench.sandbox.protocol import ArtifactRequest, StepOutcome
from aira_bench.scaffolds.protocol import Policy, Proposing, Stop
from aira_bench.world import World

ATTEMPTS = 3
_EMPTY_STEP_TIMEOUT_S = 60.0


class Stopped(Exception):
    """The user stopped the run; what is finished is on disk."""


class OutOfTime(Exception):
    """The hour budget ended inside a step; the step leaves no node."""


@dataclass(frozen=True)
class Progress:
    """What a seed tells whoever watches it."""

    seed: int
    step: int
    phase: str
    best: float | None = None
    last: str = ""


@dataclass(frozen=True)
class Session:
    """Everything the seeds of one run share."""

    plan: RunPlan
    brief: Brief
    agent: Agent
    policy: Policy
    judge: Judge
    cache: ScoreCache | None
    slots: SlotPool
    world: World
    watch: Callable[[Progress], None]
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass
class _Clock:
    """Seconds left of a seed's budget: what the journal has used, and what this step has used so far."""

    world: World
    left_s: float
    started_s: float = field(init=False)

    def __post_init__(self) -> None:
        self.started_s = self.world.monotonic_s()

    @property
    def used_s(self) -> float:
        return self.world.monotonic_s() - self.started_s

    @property
    def remaining_s(self) -> float:
        return self.left_s - self.used_s


def stream(seed: int, step: int, purpose: str) -> random.Random:
    """The generator for one purpose of one step of one seed."""
    return random.Random(f"aira-bench/{seed}/{step}/{purpose}")


def run_seed(session: Session, folder: SeedFolder, seed: int) -> SeedEnded:
    """Drive one seed from wherever its journal stands to its end.

    Raises:
        Stopped: the session was asked to stop.
        SandboxError: the engine failed for good; the seed can be resumed.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / "hidden").mkdir(mode=0o700, exist_ok=True)
    journal = JournalFile(folder.journal)
    try:
        while journal.ended is None:
            _take_step(session, folder, journal, seed)
        return journal.ended
    finally:
        journal.close()


def _take_step(session: Session, folder: SeedFolder, journal: JournalFile, seed: int) -> None:
    plan, nodes, step = session.plan, journal.nodes, len(journal.nodes) + 1
    used_s = sum(node.timings.total_s for node in nodes)
    if session.stop.is_set():
        raise Stopped
    if step > plan.steps:
        return _end(session, journal, "steps")
    if used_s >= plan.hours * 3600:
        return _end(session, journal, "hours")
    action = session.policy.next(nodes, stream(seed, step, "policy"))
    if isinstance(action, Stop):
        return _end(session, journal, "policy")
    journal.append(StepStarted(step, session.world.now().isoformat()))
    clock = _Clock(session.world, plan.hours * 3600 - used_s)
    try:
        node = _Step(session, folder, journal, seed, step, action, clock).run()
    except OutOfTime:
        return _end(session, journal, "hours")
    journal.append(StepEnded(node, session.world.now().isoformat()))
    best = best_node(journal.nodes, lower_is_better=session.brief.lower_is_better)
    label = node.step_class if node.fitness is None else f"{node.step_class} {node.fitness:.4f}"
    session.watch(Progress(seed, step, "finished a step", best.fitness if best else None, label))
    return None


def _end(session: Session, journal: JournalFile, why: SeedEnd) -> None:
    best = best_node(journal.nodes, lower_is_better=session.brief.lower_is_better)
    journal.append(SeedEnded(why, best.step if best else None, session.world.now().isoformat()))


@dataclass
class _Step:
    """One step from proposal to node."""

    session: Session
    folder: SeedFolder
    journal: JournalFile
    seed: int
    step: int
    action: Proposing
    clock: _Clock
    propose_s: float = 0.0
    execute_s: float = 0.0
    evaluate_s: float = 0.0

    def run(self) -> Node:
        proposal = self._propose()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return replace(self._try(proposal), attempts=attempt)
            except SandboxError as error:
                if self.session.stop.is_set():
                    raise Stopped from error
                self._tell(f"infrastructure failed, attempt {attempt} of {ATTEMPTS}")
                failure = error
        self._check_engine(failure)
        return self._node(proposal, "infra_error", failure.message, attempts=ATTEMPTS)

    def _propose(self) -> Proposal:
        self._tell("waiting for the agent")
        session, before_s = self.session, self.clock.used_s
        situation = Situation(
            action=self.action,
            journal=self.journal.nodes,
            read_step=self.folder.read_step,
            rng=stream(self.seed, self.step, "agent"),
            steps_left=session.plan.steps - self.step + 1,
            seconds_left=self.clock.remaining_s,
        )
        proposal = session.agent.propose(session.brief, situation)
        self.propose_s = self.clock.used_s - before_s
        node = self.folder.node(self.step)
        shutil.rmtree(node, ignore_errors=True)  # left by an attempt that a crash cut short
        node.mkdir(parents=True)
        (node / "solution.py").write_text(proposal.code, encoding="utf-8")
        return proposal

    def _try(self, proposal: Proposal) -> Node:
        with self.session.slots.slot() as slot:
            self._check_stop()
            outcome, timeout_s = self._execute(slot, proposal)
            artifact = self.session.brief.artifact.name
            claimed = claimed_value(outcome, self.session.brief.metric)
            memory_mib = self.session.brief.memory_mib
            failure = failure_of(outcome, artifact, timeout_s=timeout_s, memory_mib=memory_mib)
            if failure is not None:
                return self._node(proposal, failure.step_class, failure.reason, claimed=claimed)
            submission = (self.folder.node(self.step) / artifact).read_bytes()
            verdict = self._evaluate(slot, submission)
        digest = hashlib.sha256(submission).hexdigest()
        if isinstance(verdict, Refused):
            return self._node(proposal, "invalid_submission", verdict.reason, claimed=claimed, artifact_sha256=digest)
        return self._scored(proposal, verdict, claimed, digest)

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
                ["python3", "solution.py"],
                files={"solution.py": proposal.code.encode()},
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
        container = slot.judge.take()
        try:
            verdict = session.judge.evaluate(
                submission, container, timeout_s=timeout_s, destination=self.folder.verdict(self.step)
            )
        except SandboxError:
            if self.clock.remaining_s <= 0:
                raise OutOfTime from None
            raise
        finally:
            container.close()
        self._check_stop()
        self.evaluate_s = self.clock.used_s - before_s
        if isinstance(verdict, Scored):
            if canonical is not None and verdict.canonical != canonical:
                raise SandboxError(f"The judge read {verdict.canonical!r} where the host read {canonical!r}.")
            if session.cache:
                session.cache.put(key, verdict)
        return verdict

    def _scored(self, proposal: Proposal, scored: Scored, claimed: float | None, digest: str) -> Node:
        session = self.session
        trusted = TrustedScore(
            self.step, scored.test, scored.validation, scored.evaluator_version, session.judge.image, scored.seconds,
            scored.cached,
        )  # fmt: skip
        self.folder.scores.append(trusted)
        fitness = claimed
        if session.brief.fitness == "hidden":
            assert scored.validation is not None, "checked when the run was planned and by the judge"
            fitness = round(scored.validation, session.judge.task.metadata.aira.fitness_decimals)
        return self._node(
            proposal, "valid", "", fitness=fitness, claimed=claimed, artifact_sha256=digest, canonical=scored.canonical
        )

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
        attempts: int = 1,
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
            plan=proposal.plan,
            canonical=canonical,
            attempts=attempts,
            timings=Timings(self.propose_s, self.execute_s, self.evaluate_s, self.clock.used_s),
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
