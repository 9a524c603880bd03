"""The search loop: seeds in their threads, and the steps of each, the same for every scaffold and every agent.

Before each step the policy is asked what to do; after it one event is in the journal. Randomness comes from (seed,
step, purpose) alone, so a run that is killed and resumed, or typed twice, takes the same path.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from aira_bench.deadline import Deadline
from aira_bench.errors import BudgetExceeded
from aira_bench.machine_failures import machine_failures
from aira_bench.record.folder import RunFolder, SeedFolder
from aira_bench.record.journal import JournalFile, SeedEnd, SeedEnded, StepStarted
from aira_bench.record.node import best_node, known_to_search
from aira_bench.record.sealing import step_ended
from aira_bench.runs.outside import ask
from aira_bench.runs.session import OutOfTime, Progress, SearchSession, StepPlace, stream
from aira_bench.runs.step import take_step
from aira_bench.scaffolds.policy import Stop, fault_of_action
from aira_bench.waiting import Stopped, Waits


def run_seeds(session: SearchSession, folder: RunFolder, sweep: Callable[[], object]) -> None:
    """Drive every seed to its end, each in a thread of its own.

    If one fails or the user stops, running containers are killed by `sweep`, and no step is half kept.

    Raises:
        Stopped: the user stopped the run.
        AiraError: whatever the first seed failed with.
    """
    seeds = session.plan.seeds
    pool = ThreadPoolExecutor(max_workers=len(seeds), thread_name_prefix="seed")
    try:
        running = [pool.submit(run_seed, session, folder.seed(seed), seed) for seed in seeds]
        for future in wait(running, return_when=FIRST_EXCEPTION).done:
            future.result()
    except BaseException as error:
        session.stop.set()
        session.slots.close()
        sweep()
        if isinstance(error, KeyboardInterrupt):
            raise Stopped from None
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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
        while journal.ended is None:
            _take_step(session, folder, journal, seed)
        return journal.ended
    finally:
        journal.close()


def _take_step(session: SearchSession, folder: SeedFolder, journal: JournalFile, seed: int) -> None:
    plan, nodes, step = session.plan, journal.nodes, len(journal.nodes) + 1
    known = known_to_search(nodes)
    used_s = sum(node.timings.total_s for node in nodes)
    if session.stop.is_set():
        raise Stopped
    if step > plan.steps:
        return _end(session, journal, "steps")
    if used_s >= plan.hours * 3600:
        return _end(session, journal, "hours")
    action = ask(
        session, "scaffold", lambda: session.policy.next(known, stream(seed, step, "policy")),
        lambda found: fault_of_action(found, known),
    )  # fmt: skip
    if isinstance(action, Stop):
        return _end(session, journal, "policy")
    journal.append(StepStarted(step, session.world.now().isoformat()))
    waits = Waits(session.stop, lambda text: session.watch(Progress(seed, step, text)), clock=session.world.monotonic_s)
    hours = Deadline.after(plan.hours * 3600 - used_s, "hours", waits)
    try:
        node = take_step(StepPlace(session, folder, known, seed, step, action, hours, waits, journal.step))
    except OutOfTime:
        return _end(session, journal, "hours")
    except BudgetExceeded:
        return _end(session, journal, "budget")
    journal.append(step_ended(folder, node, session.world.now().isoformat()))
    best = best_node(journal.nodes, lower_is_better=session.brief.lower_is_better)
    label = node.step_class if node.fitness is None else f"{node.step_class} {node.fitness:.4f}"
    session.watch(Progress(seed, step, "finished a step", best.fitness if best else None, label))
    return None


def _end(session: SearchSession, journal: JournalFile, why: SeedEnd) -> None:
    best = best_node(journal.nodes, lower_is_better=session.brief.lower_is_better)
    journal.append(SeedEnded(why, best.step if best else None, session.world.now().isoformat()))
