"""What a worker stands on: what it is asked for, and runs of its folder, each opened once on the ground it began on.

A run on another ground than it began on (task, data, images, hardware class, versions), or on a machine that lacks what
it needs, is left to others, and why is kept as a fault. Not covered: which unit is taken, and what is done with it
(`aira_bench.runs.worker`).
"""

import threading
from dataclasses import dataclass, replace
from pathlib import Path

from aira_bench.errors import AiraError, PrerequisiteError, RunStateError
from aira_bench.hidden_keys import HiddenKey
from aira_bench.record.manifest import RunPlan
from aira_bench.record.run_record import RunRecord
from aira_bench.runs.changes import differences, require_accepted, require_same_ground
from aira_bench.runs.confirm import reopen_to_confirm
from aira_bench.runs.devices import on_devices_of
from aira_bench.runs.host import Ground, Host, Note, stand
from aira_bench.runs.resolve import ResolvedTask, reopen


@dataclass(frozen=True)
class WorkerWishes:
    """What a worker is asked for."""

    slots: int | None = None
    """Units at a time; None for one a GPU, or one a core where there is none."""
    once: bool = False
    """Whether each slot takes one unit, and no more."""
    confirm: bool = True
    """Whether it trains again what a seed submitted, where the run's plan has that."""
    only_confirm: bool = False
    """Whether it does nothing else, and that whatever the plan has; searches that are not over it leaves to others."""
    hidden_key: HiddenKey | None = None
    """What the hidden data of these trainings is derived from; None for what the search's is."""
    cores: int | tuple[int, ...] | None = None
    """How many it leases, or which; they are divided among its slots. None for what the plan of each run says."""
    gpus: int | tuple[str, ...] | None = None
    """The same of GPUs."""


@dataclass(frozen=True)
class OpenedRun:
    """A run as this worker works on it."""

    host: Host
    """With the devices of the run."""
    found: ResolvedTask
    ground: Ground


class OpenedRuns:
    """Runs that a worker has opened. Several threads may ask."""

    def __init__(self, host: Host, wishes: WorkerWishes, note: Note) -> None:
        """Have none yet.

        Args:
            host: the machine.
            wishes: how much of it may be used, and for what.
            note: told in a line what is done.
        """
        self._host, self._wishes, self._note = host, wishes, note
        self.faults: dict[Path, AiraError] = {}
        """Why runs are left to others, by their folders."""
        self._opened: dict[Path, OpenedRun] = {}
        self._opening = threading.Lock()

    def open(self, record: RunRecord) -> OpenedRun:
        """Return a run with all that it stands on, checked at most once.

        Raises:
            RunStateError: something that the run depends on is another here.
            PrerequisiteError: this machine lacks it.
        """
        path = record.folder.path
        with self._opening:
            if (fault := self.faults.get(path)) is not None:
                raise fault
            if (known := self._opened.get(path)) is not None:
                return known
            self._opened[path] = self._stood(record)
            return self._opened[path]

    def _stood(self, record: RunRecord) -> OpenedRun:
        manifest = record.manifest
        try:
            plan = self._plan(manifest.plan)
            host = on_devices_of(self._host, manifest.model_copy(update={"plan": plan}), self._note)
            if self._wishes.only_confirm:
                found = replace(reopen_to_confirm(record, host.paths, self._wishes.hidden_key), plan=plan)
                return OpenedRun(host, found, stand(host, found, "evaluator", self._note, record))
            require_same_ground(record, host.hardware)
            require_accepted(record, differences(record))
            found = replace(reopen(manifest.plan, host.paths), plan=plan)
            return OpenedRun(host, found, stand(host, found, "agent", self._note, record))
        except (RunStateError, PrerequisiteError) as error:
            self.faults[record.folder.path] = error
            raise

    def _plan(self, plan: RunPlan) -> RunPlan:
        """A run's plan on the cores and GPUs that this worker may use."""
        wishes, changes = self._wishes, dict[str, object]()
        if wishes.cores is not None:
            changes |= {"cores": wishes.cores, "concurrency": wishes.slots or 1}
        if wishes.gpus is not None:
            changes["gpus"] = wishes.gpus
        return plan.model_copy(update=changes)
