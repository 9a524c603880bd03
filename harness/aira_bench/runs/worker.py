"""One worker: takes units of a folder, as many at a time as it has slots, until none is left for it.

A unit is a seed of a run. The worker reads and checks it, as `resume` does a run, goes on with it to its end, confirms
what it submitted, and gives it back. Which machine works on it changes nothing but what its attempt's line in the
journal says: task, data, images, hardware class and versions must be what the run began with, or the run is left to
others. Retries and who goes on with what a dead worker left stand in the folder alone (`aira_bench.leasing`).

A worker ends when all that is left is over, halted, or in the hands of workers that it has seen alive.

Not covered: starting workers (whoever does that does nothing else), and what all of them may spend together.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from aira_bench.copies.folder_copy import FolderCopy
from aira_bench.copies.working import WorkingCopies
from aira_bench.errors import AiraError, EngineAway, MachineError, PrerequisiteError, RunStateError, UsageError
from aira_bench.files import Unacceptable
from aira_bench.hardware import usable_cores
from aira_bench.leasing.entries import State
from aira_bench.leasing.lease import Denied, Lease, LeaseLost, Lessee, Won, kept
from aira_bench.leasing.terms import Terms
from aira_bench.machine_failures import machine_failures
from aira_bench.record.compiled_programs import CompiledPrograms
from aira_bench.record.folder import RunFolder
from aira_bench.record.forks import fork_path, fork_seed, newest_fork
from aira_bench.record.journal import AttemptBegan
from aira_bench.record.run_record import RunRecord
from aira_bench.record.sealing import Keeper, is_closed
from aira_bench.record.trust import read_confirmable, read_resumable
from aira_bench.runs.attempt import Attempt
from aira_bench.runs.confirm import ConfirmingUnit, confirm_at_end, confirm_unit
from aira_bench.runs.host import Host, Note
from aira_bench.runs.in_flight import set_aside_unvouched_calls
from aira_bench.runs.launch import searching, try_model
from aira_bench.runs.loop import run_or_halt
from aira_bench.runs.opened_runs import OpenedRuns, WorkerWishes
from aira_bench.runs.resolve import reopen_agent
from aira_bench.runs.session import Progress
from aira_bench.runs.sharing import share
from aira_bench.runs.telling import told_to_others
from aira_bench.runs.units import Unit, has_ended, readable_runs, runs_below
from aira_bench.shared_store.places import typed
from aira_bench.unfinished import sweep_temporaries
from aira_bench.waiting import Stopped

_LOOKS = 24
"""At units of others, in the time after which a silent one counts as dead."""
_ATTEMPTS_APART = 1_000_000
"""In the ledger: one process that has a whole run, between two attempts of workers, spends under the next number."""
_ALL_OVER = (MachineError, EngineAway)
"""What no other unit would fare better with here."""


@dataclass
class WorkerEnd:
    """What a worker came to."""

    over: list[Unit] = field(default_factory=list)
    """Units that it brought to their end."""
    failed: list[tuple[str, AiraError]] = field(default_factory=list)
    """Units that halted, and runs that it cannot work on, with the reason."""
    lost: list[Unit] = field(default_factory=list)
    """Units that others took while it was silent."""


class Worker:
    """Works on a folder. Its slots are threads."""

    def __init__(
        self,
        host: Host,
        folder: Path,
        wishes: WorkerWishes,
        note: Note,
        watch: Callable[[Unit, Progress], None] = lambda unit, progress: None,
        terms: Terms | None = None,
        ended: Callable[[RunFolder], None] = lambda run: None,
        copies: WorkingCopies | None = None,
    ) -> None:
        """Have nothing yet.

        Args:
            host: the machine.
            folder: a run's, or one with runs below.
            wishes: how much of the machine it may use, and when it ends.
            note: told in a line what happens.
            watch: told how its units get on, from their threads.
            terms: under which a run that is named itself is shared, if it is not.
            ended: told of a run whose last seed is over, by the worker that ended it, or by each that ended one of the
                last at a time.
            copies: of what lies on object storage, in that folder; None where the folder itself is shared.
        """
        self._host, self._folder, self._wishes, self._note, self._watch = host, folder, wishes, note, watch
        self._terms, self._ended, self._copies = terms or Terms(), ended, copies
        self._lessee, self._choosing = Lessee(host.world), threading.Lock()
        self._stop, self._stopping = threading.Event(), threading.Lock()
        self._ends: list[Callable[[], None]] = []
        self._settled: set[Unit] = set()
        """Units that are over, left to others, or this worker's now."""
        self._runs = OpenedRuns(host, wishes, note)
        self._tried: set[Path] = set()
        self.end = WorkerEnd()

    def work(self) -> WorkerEnd:
        """Take units until none is left for this worker.

        Raises:
            Stopped: it was told to stop; what was finished is on disk, and its units are free.
            MachineError, EngineAway: the machine fails; its units are free.
            UsageError: there is no such folder, or no run in it.
            RunStateError: the run in it cannot be shared, or none of those in it is.
        """
        runs = runs_below(self._folder)
        if not runs:
            raise UsageError(f"No runs in {self._folder}.", hint="aira-bench status")
        if len(runs) == 1 and runs[0].path == self._folder.resolve():
            share(runs[0], self._terms)
        if not any(run.is_shared for run in runs):
            raise RunStateError(
                f"No run in {typed(self._folder)} is shared by workers; one process has each.",
                hint=runs[0].command("resume", "--engine local"),
            )
        slots = self._wishes.slots or len(self._host.hardware.gpus) or len(usable_cores())
        pool = ThreadPoolExecutor(slots, thread_name_prefix="unit")
        try:
            running = [pool.submit(self._slot) for _ in range(slots)]
            wait(running, return_when=FIRST_EXCEPTION)
            for future in running:
                if future.done():
                    future.result()
        except BaseException as error:
            self._end_all()
            if isinstance(error, KeyboardInterrupt):
                raise Stopped from None
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        self._close_all()
        for path, fault in self._runs.faults.items():
            self.end.failed.append((path.name, fault))
        return self.end

    def _slot(self) -> None:
        while (found := self._next()) is not None:
            self._work(*found)
            if self._wishes.once:
                return

    def _next(self) -> tuple[Unit, Won] | None:
        """The next unit that is to be had; None when none will be."""
        while not self._stop.is_set():
            undecided, pause_s = False, 1.0
            with self._choosing:
                for run in readable_runs(runs_below(self._folder), self._runs.faults):
                    pause_s = min(pause_s, run.terms.dead_after_s / _LOOKS)
                    for unit in run.units:
                        if unit in self._settled or self._stop.is_set():
                            continue
                        try:
                            answer = self._lessee.take(unit.run, unit.seed, run.terms)
                        except RunStateError as error:
                            self._runs.faults[unit.run] = error
                            break
                        if isinstance(answer, Denied):
                            if answer.state != "held":
                                self._settle(unit, answer)
                            undecided = undecided or (answer.state == "held" and not answer.seen_alive)
                        elif RunFolder(unit.run).is_locked:
                            entry = answer.lease.entry
                            answer.lease.end("released", fork=entry.fork, alone=answer.is_certain)
                            self._runs.faults[unit.run] = RunStateError(
                                f"Run {unit.run.name} is being worked on by another process.",
                                hint=RunFolder(unit.run).command("status"),
                            )
                            break
                        else:
                            self._settled.add(unit)
                            return unit, answer
            if not undecided:
                return None
            self._stop.wait(pause_s)
        raise Stopped

    def _settle(self, unit: Unit, answer: Denied) -> None:
        self._settled.add(unit)
        if answer.state == "halted":
            error = AiraError(f"it halted {answer.entry.halts} times: {answer.entry.why}", hint=_again(unit))
            self.end.failed.append((unit.name, error))

    def _work(self, unit: Unit, taken: Won) -> None:
        """Work on a unit, and give it back."""
        lease, attempt = taken.lease, Attempt(unit, taken)
        try:
            with kept(lease, attempt.stop), self._stoppable(attempt.stop):
                state, error = self._carried_out(attempt, taken)
                if state == "halted":
                    assert error is not None, "it halted for it"
                    self.end.failed.append((unit.name, error))
                attempt.leave()
                lease.end(state, fork=attempt.fork, alone=attempt.alone, failure=error, advanced=attempt.advanced)
        except LeaseLost:
            self.end.lost.append(unit)
            self._note(f"{unit.name}: another worker took it over while this one was silent")
            return
        finally:
            if self._copies is not None:
                self._copies.given_back(unit.run, unit.seed)
        if state == "over":
            self.end.over.append(unit)
            self._tell_ended(RunFolder(unit.run))
        self._note(f"{unit.name}: {state}" + ("" if error is None else f": {error.message}"))
        if isinstance(error, _ALL_OVER):
            raise error
        if self._stop.is_set():
            raise Stopped

    def _carried_out(self, attempt: Attempt, taken: Won) -> tuple[State, AiraError | None]:
        """How a unit stands after this worker's attempt; what it failed with, if it did."""
        unit = attempt.unit
        try:
            with machine_failures(unit.run):
                folder = self._placed(attempt, taken)
                going_on = self._confirmed if self._wishes.only_confirm else self._gone_on
                return going_on(attempt, folder, taken.lease)
        except Stopped:
            if attempt.is_lost(taken.lease):
                raise LeaseLost from None
            return "released", None
        except (RunStateError, PrerequisiteError) as error:  # of this machine, or of the record: nothing the search did
            if unit.run not in self._runs.faults:
                self.end.failed.append((unit.name, error))
            return "released", error
        except AiraError as error:
            return "halted", error
        except LeaseLost:
            raise
        except BaseException:
            defect = AiraError("a defect of aira-bench, which its worker's output shows")
            taken.lease.end("halted", fork=attempt.fork, alone=attempt.alone, failure=defect, advanced=attempt.advanced)
            raise

    def _placed(self, attempt: Attempt, taken: Won) -> RunFolder:
        """The run's folder with the unit's place in it, which nobody else writes to."""
        unit, known = attempt.unit, taken.lease.entry.fork
        run = RunFolder(unit.run)
        if self._copies is not None:  # nobody else writes to this one, and nothing of a late worker gets there
            attempt.copy = self._copies.taken(unit.run, unit.seed, taken.lease.entry.attempt)
            attempt.alone = True
            return run
        attempt.fork = newest_fork(run, unit.seed, known)
        taken.lease.check()  # so nobody later has made it
        if not taken.is_certain:
            self._note(f"{unit.name}: whoever had it has been silent for too long; going on with a copy")
            try:
                attempt.fork, attempt.alone = fork_seed(run, unit.seed, attempt.fork, taken.lease.check), True
            except Unacceptable as error:
                raise RunStateError(f"Run {unit.run.name}: seed {unit.seed}: {error}.") from error
        return RunFolder(unit.run, {unit.seed: fork_path(run, unit.seed, attempt.fork)})

    def _gone_on(self, attempt: Attempt, folder: RunFolder, lease: Lease) -> tuple[State, AiraError | None]:
        unit = attempt.unit
        record = read_resumable(folder, self._host.keys.ring(), trust_agent=False, only=[unit.seed])
        opened = self._runs.open(record)
        manifest, host = record.manifest, opened.host
        narrow = opened.found.plan.model_copy(update={"seeds": (unit.seed,)})
        run = reopen_agent(replace(opened.found, plan=narrow), host.paths, record)
        set_aside_unvouched_calls(record, host.keys.ring())
        keeper = self._keeper(record, lease, attempt.copy)
        keeper.remember()
        place, label = folder.seed(unit.seed), f"{manifest.run_id}-{unit.seed}"
        programs = CompiledPrograms(place.path / "compiled")
        programs.clear()
        sweep_temporaries(place.path, alone=True)
        steps = len(record.seed(unit.seed).nodes)

        def watch(progress: Progress) -> None:
            if progress.nodes is not None and len(progress.nodes) > steps:
                attempt.advanced = True
            self._watch(unit, progress)

        with told_to_others(folder, (unit.seed,), watch, host.world) as tell:
            if record.seed(unit.seed).ended is None:
                search = searching(
                    host, folder, manifest, run, opened.ground, self._note, tell, keeper, label=label,
                    programs=programs, attempts={unit.seed: lease.entry.attempt * _ATTEMPTS_APART},
                )  # fmt: skip
                with search as found, attempt.stoppable(found.stop):
                    if unit.run not in self._tried:  # within the caps of the run, which are shared by now
                        try_model(run.agent, self._note)
                        self._tried.add(unit.run)
                    error = run_or_halt(found.session, folder, unit.seed)
                if error is not None:
                    lease.check()  # what it halted for may be that another has the unit
                    return "halted", error
                programs.clear()
            self._close(folder, keeper, manifest.plan.seeds, unit.seed)
            if not self._wishes.confirm and manifest.plan.confirm and manifest.trainings:
                return "released", None
            confirming = ConfirmingUnit(unit.seed, keeper, label, attempt.stoppable)
            confirm_at_end(host, folder, run, opened.ground, self._note, tell, confirming)
        return "over", None

    def _confirmed(self, attempt: Attempt, folder: RunFolder, lease: Lease) -> tuple[State, AiraError | None]:
        """Train again what a seed submitted; no agent of its run is opened, so none need be had here."""
        seed = attempt.unit.seed
        record = read_confirmable(folder, self._host.keys.ring(), only=[seed])
        if record.seed(seed).ended is None:
            return "released", RunStateError(
                f"Run {record.name}: seed {seed} is still to be searched.", hint=_again(attempt.unit)
            )
        opened, keeper = self._runs.open(record), self._keeper(record, lease, attempt.copy)
        keeper.remember()
        unit = ConfirmingUnit(seed, keeper, f"{record.manifest.run_id}-{seed}", attempt.stoppable)
        with told_to_others(folder, (seed,), partial(self._watch, attempt.unit), opened.host.world) as tell:
            confirm_unit(opened.host, record, opened.found, opened.ground, self._note, tell, unit)
        return "over", None

    def _keeper(self, record: RunRecord, lease: Lease, copy: FolderCopy | None) -> Keeper:
        """Who appends to a unit's files: under the lease, each line of the attempt that it is. A line of a copy counts
        when it was committed, which the storage refuses where another has the unit."""
        entry = lease.entry
        began = AttemptBegan(entry.attempt, entry.worker, entry.host, entry.at)
        guard = lease.check if copy is None else copy.push_chains
        return replace(self._host.keeper(record), guard=guard, attempt=began)

    def _close(self, folder: RunFolder, keeper: Keeper, seeds: tuple[int, ...], own: int | None = None) -> None:
        """Record that a run has ended, if this was its last seed; `own` has."""
        if self._copies is not None:
            self._copies.pull_run(folder.path)
        if all(seed == own or self._has_ended(folder, seed) for seed in reversed(seeds)):
            keeper.close_shared(seeds)
            if self._copies is not None:
                self._copies.push_run(folder.path)

    def _has_ended(self, folder: RunFolder, seed: int) -> bool:
        return (self._copies is None or self._copies.has_journal(folder.path, seed)) and has_ended(folder, seed)

    def _close_all(self) -> None:
        """The same for runs whose last two seeds ended at a time, each before the other could be seen."""
        ring = self._host.keys.ring()
        for run in readable_runs(runs_below(self._folder), dict(self._runs.faults)):
            folder = RunFolder(run.path)
            if self._copies is not None:
                self._copies.pull_run(run.path)
            if any(unit.run == run.path for unit in self.end.over) and not is_closed(folder) and not folder.is_locked:
                keeper = self._host.keeper(read_resumable(folder, ring, trust_agent=False, only=()))
                self._close(folder, keeper, run.seeds)
                self._tell_ended(folder)

    def _tell_ended(self, folder: RunFolder) -> None:
        """Say that a run is over, confirmations included, if it is. Asked by each worker after its own unit is."""
        with contextlib.suppress(RunStateError, MachineError):  # whoever looks at the run reads it then
            if is_closed(folder) and all(entry.state == "over" for entry in folder.lease_entries().values()):
                self._ended(folder)

    @contextlib.contextmanager
    def _stoppable(self, end: Callable[[], None]) -> Iterator[None]:
        """Have `end` called while the block runs, when the worker is told to stop."""
        with self._stopping:
            self._ends.append(end)
        if self._stop.is_set():
            end()
        try:
            yield
        finally:
            with self._stopping:
                self._ends.remove(end)

    def _end_all(self) -> None:
        self._stop.set()
        with self._stopping:
            ends = list(self._ends)
        threads = [threading.Thread(target=end, name="stopping") for end in ends]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _again(unit: Unit) -> str:
    return RunFolder(unit.run).command("resume")
