"""The search loop: seeds in their threads, and the steps of each, the same for every scaffold and every agent.

Before each step the policy is asked what to do; after it one event is in the journal. Randomness comes from (seed,
step, purpose) alone, so a run that is killed and resumed, or typed twice, takes the same path.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from aira_bench.deadline import Deadline
from aira_bench.errors import AiraError, BudgetExceeded
from aira_bench.excerpts import LINE_CHARS
from aira_bench.llm.recording import RequestChanged
from aira_bench.machine_failures import machine_failures
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.growing import tallied
from aira_bench.record.journal import JournalFile, SeedEnd, SeedEnded, StepStarted
from aira_bench.record.node import Node, best_node, known_to_search
from aira_bench.record.sealing import step_ended
from aira_bench.runs.changes import ACCEPT
from aira_bench.runs.outside import ask
from aira_bench.runs.session import OutOfTime, Progress, SearchSession, StepPlace, stream
from aira_bench.runs.step import take_step
from aira_bench.scaffolds.policy import Stop, fault_of_action
from aira_bench.waiting import Stopped, WaitReason, Waits


def run_seeds(session: SearchSession, folder: RunFolder, sweep: Callable[[], object]) -> None:
    """Drive every seed to its end, each in a thread of its own.

    A seed that fails halts where it stands, and the others go on. If the user stops the run, or a defect of ours shows,
    running containers are killed by `sweep`, and no step is half kept.

    Raises:
        Stopped: the user stopped the run.
        AiraError: what the first of the seeds that halted failed with; `watch` was told of each.
    """
    seeds = session.plan.seeds
    pool = ThreadPoolExecutor(max_workers=len(seeds), thread_name_prefix="seed")
    try:
        running = [pool.submit(run_or_halt, session, folder, seed) for seed in seeds]
        wait(running, return_when=FIRST_EXCEPTION)
        failures = [future.result() for future in running if future.done()]
    except BaseException as error:
        session.stop.set()
        session.slots.close()
        sweep()
        if isinstance(error, KeyboardInterrupt):
            raise Stopped from None
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    for failure in filter(None, failures):
        raise failure


def run_or_halt(session: SearchSession, folder: RunFolder, seed: int) -> AiraError | None:
    """Run a seed; return what it halted for. Where nothing else is to be typed, that is how the run goes on.

    Raises:
        Stopped: the session was asked to stop.
    """
    try:
        run_seed(session, folder.seed(seed), seed)
    except AiraError as error:
        if session.stop.is_set():  # whatever a step met while its containers were swept away
            raise Stopped from error
        error.hint = error.hint or folder.command("resume", *([ACCEPT] if isinstance(error, RequestChanged) else []))
        session.watch(Progress(seed, 0, "halted", halted=error))
        return error
    return None


def run_seed(session: SearchSession, folder: SeedFolder, seed: int) -> SeedEnded:
    """Drive one seed from wherever its journal stands to its end.

    Raises:
        Stopped: the session was asked to stop.
        SandboxError: the engine failed for good; the seed can be resumed.
        MachineError: the machine below it failed; the seed can be resumed.
    """
    with machine_failures(folder.path):
        return _run_seed(session, folder, seed)


def _run_seed(session: SearchSession, folder: SeedFolder, seed: int) -> SeedEnded:
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / "hidden").mkdir(mode=0o700, exist_ok=True)
    journal = session.keeper.journal(seed) if session.keeper else JournalFile(folder.journal)
    try:
        if session.keeper:
            folder.scores.cut(len(journal.score_hashes))
        session.watch(Progress(seed, len(journal.nodes), "begins", nodes=journal.nodes))
        while journal.ended is None:
            _take_step(session, folder, journal, seed)
        return journal.ended
    finally:
        session.slots.end_seed(seed, Waits(session.stop))
        journal.close()


def _take_step(session: SearchSession, folder: SeedFolder, journal: JournalFile, seed: int) -> None:
    plan, nodes = session.plan, journal.nodes
    known, used_s, step = known_to_search(nodes), tallied(nodes, _Hours).used_s, len(nodes) + 1
    if session.stop.is_set():
        raise Stopped
    if step > plan.steps:
        return _end(session, journal, seed, "steps")
    if used_s >= plan.hours * 3600:
        return _end(session, journal, seed, "hours")
    action = ask(
        session, "scaffold", lambda: session.policy.next(known, stream(seed, step, "policy")),
        lambda found: fault_of_action(found, known),
    )  # fmt: skip
    if isinstance(action, Stop):
        return _end(session, journal, seed, "policy")
    journal.append(StepStarted(step, session.world.now().isoformat()))

    def tell(reason: WaitReason, text: str) -> None:
        session.watch(Progress(seed, step, text, waits_for=reason))

    waits = Waits(session.stop, tell, clock=session.world.monotonic_s)
    hours = Deadline.after(plan.hours * 3600 - used_s, "hours", waits)
    try:
        node = take_step(StepPlace(session, folder, known, seed, step, action, hours, waits, journal.step))
    except OutOfTime:
        return _end(session, journal, seed, "hours")
    except BudgetExceeded as error:
        return _end(session, journal, seed, "budget", error.message)
    journal.append(step_ended(folder, node, session.world.now().isoformat()))
    best = best_node(journal.nodes, lower_is_better=session.brief.lower_is_better)
    fitness = best.fitness if best else None
    session.watch(Progress(seed, step, "finished a step", fitness, _label(node), nodes=journal.nodes))
    return None


class _Hours:
    """What finished steps have used of their seed's hours, in seconds."""

    def __init__(self) -> None:
        self.used_s = 0.0

    def add(self, node: Node) -> None:
        self.used_s += node.timings.total_s


def _label(node: Node) -> str:
    """How a step ended, for whoever watches: its fitness, or why it has none."""
    if node.fitness is not None:
        slow = f" (GPU throttled, {node.throttled})" if node.throttled else ""
        return f"{node.step_class} {node.fitness:.4f}{slow}"
    return f"{node.step_class}: {node.reason[:LINE_CHARS]}" if node.reason else node.step_class


def _end(session: SearchSession, journal: JournalFile, seed: int, why: SeedEnd, said: str = "") -> None:
    best = best_node(journal.nodes, lower_is_better=session.brief.lower_is_better)
    journal.append(SeedEnded(why, best.step if best else None, session.world.now().isoformat()))
    steps = len(journal.nodes)
    last = f"ended after {steps} steps, its budget used up: {said}" if why == "budget" else ""
    session.watch(Progress(seed, steps, f"ended ({why})", best.fitness if best else None, last, ended=why))
