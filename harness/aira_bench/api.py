"""What `import aira_bench` offers: runs begun, gone on with and read, and boards, from Python.

The same code as behind the commands of the same names. Nothing here prints; what a command would print is in what comes
back or is told to `note` and `watch`. Errors are those of `aira_bench.errors`; Ctrl-C is a `KeyboardInterrupt`, after
which the run can be resumed.

Not covered: single steps of a search; `aira_bench.testing` has what tests of one's own need.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aira_bench.boards.board import Table, tables_of
from aira_bench.boards.board_reading import read_for_board
from aira_bench.errors import RunStateError
from aira_bench.hardware import this_machine
from aira_bench.keys import KeyFolder
from aira_bench.paths import host_paths
from aira_bench.record import run_record
from aira_bench.record.folder import RunFolder, find_run
from aira_bench.record.run_record import RunRecord
from aira_bench.record.seed_record import Depth
from aira_bench.record.trust import read_resumable
from aira_bench.runs import launch
from aira_bench.runs.connect import connect_host
from aira_bench.runs.host import Host
from aira_bench.runs.request import RunRequest
from aira_bench.runs.resolve import resolve
from aira_bench.runs.session import Progress
from aira_bench.sandbox.engine_gpus import engine_gpus
from aira_bench.view.index import index_kept
from aira_bench.waiting import Stopped
from aira_bench.world import SystemWorld
from aira_contract.settings import ON_GPUS


@dataclass(frozen=True)
class FinishedRun:
    """A run whose seeds have all ended."""

    path: Path
    """The run's folder, which is all there is of it."""
    record: RunRecord
    """Its seeds with their nodes and trusted scores, read from the folder and checked."""
    board: Table
    """The board that this run alone makes."""


@dataclass(frozen=True)
class Leaderboard:
    """Boards of several runs, and which runs are not on them."""

    tables: tuple[Table, ...]
    """One for each set of runs whose scores may be compared."""
    left_out: tuple[RunStateError, ...]
    """Why each other run could not be read."""


def run(
    request: RunRequest,
    host: Host | None = None,
    *,
    note: Callable[[str], None] = lambda text: None,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> FinishedRun:
    """Run an agent on a task and score every submission, as `aira-bench run` does.

    Args:
        request: what to run; its fields are the command's options, with the same defaults.
        host: the machine; None connects to Docker (`connect_host`).
        note: told in a line what happens before the search.
        watch: told of each step's phases and end, from the threads of the seeds.

    Raises:
        UsageError: a name is unknown, a number impossible, or what is asked for does not go together.
        PrerequisiteError: the machine, a key, a package or an extension is missing or broken.
        TaskError: the task folder is broken.
        RunStateError: the run to replay cannot be used.
        SandboxError: the container engine failed for good; the run can be resumed.
        ModelError: a model provider refused for good; the run can be resumed.
    """
    hardware = host.hardware if host else this_machine(gpus=request.profile in ON_GPUS, otherwise=engine_gpus)
    resolved = resolve(request, host.paths if host else host_paths(), host.world if host else SystemWorld(), hardware)
    host = host or connect_host(note=note, hardware=hardware)
    folder = RunFolder(host.paths.runs / resolved.plan.name)
    return _finished(host, folder, lambda: launch.start(host, resolved, note, watch))


def resume(
    run: str | Path,
    host: Host | None = None,
    *,
    trust_agent: bool = False,
    accept_changes: bool = False,
    note: Callable[[str], None] = lambda text: None,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> FinishedRun:
    """Go on with a stopped or killed run, as `aira-bench resume` does; finished steps are kept.

    Args:
        run: name or folder of the run.
        host: the machine; None connects to Docker (`connect_host`).
        trust_agent: go on with a run that nobody has signed: its agent, card, task and extensions are known to the
            caller.
        accept_changes: go on although card, prompts, packages or aira-bench changed since it began; the record says so.
        note: told in a line what happens before the search.
        watch: told of each step's phases and end, from the threads of the seeds.

    Raises:
        UsageError: there is no such run.
        RunStateError: it cannot be read, is not trusted, or stands on other things by now (`accept_changes`).
        PrerequisiteError: the machine, a key, a package or an extension is missing or broken.
        SandboxError: the container engine failed for good; the run can be resumed.
        ModelError: a model provider refused for good; the run can be resumed.
    """
    paths = host.paths if host else host_paths()
    record = read_resumable(find_run(paths.runs, str(run)), KeyFolder(paths.keys).ring(), trust_agent=trust_agent)
    host = host or connect_host(note=note)
    work = partial(launch.resume, host, record, note, watch, accept_changes=accept_changes)
    return _finished(host, record.folder, work)


def read_run(run: str | Path, *, runs: Path | None = None, depth: Depth = "submitted") -> RunRecord:
    """Read a run's folder and check that its files agree with each other and with their signatures.

    Args:
        run: name or folder of the run, which may be anybody's: nothing of it is executed.
        runs: the folder of run folders; None for `AIRA_RUNS`, or `./runs`.
        depth: whose files are hashed: nobody's (`records`), submitted steps' (`submitted`), or every step's (`all`).

    Raises:
        UsageError: there is no such run.
        RunStateError: a file is not what a run's file is, or two of them disagree.
    """
    paths = host_paths(runs)
    return run_record.read_run(find_run(paths.runs, str(run)), KeyFolder(paths.keys).ring(), depth)


def leaderboard(
    wanted: str | Path | Sequence[str | Path] = (),
    *,
    runs: Path | None = None,
    exclude: Mapping[str, str] | None = None,
) -> Leaderboard:
    """Boards of runs, as `aira-bench leaderboard` makes them; writes no file.

    Args:
        wanted: name or folder of a run, or several; none for every run in the folder.
        runs: the folder of run folders; None for `AIRA_RUNS`, or `./runs`.
        exclude: why each run that is to be in no figure is left out, by its name or folder; rows name it.

    Raises:
        UsageError: there is no such run, or the folder holds none.
    """
    paths = host_paths(runs)
    several = [wanted] if isinstance(wanted, str | Path) else wanted
    ring = KeyFolder(paths.keys).ring()
    read = read_for_board(paths.runs, [str(each) for each in several], exclude or {}, ring)
    return Leaderboard(tuple(tables_of(read.records, ring, read.left_out)), read.faults)


def _finished(host: Host, folder: RunFolder, work: Callable[[], RunFolder]) -> FinishedRun:
    with index_kept(folder, host.paths.home, host.keys):
        try:
            folder = work()
        except Stopped:
            raise KeyboardInterrupt from None
    ring = host.keys.ring()
    record = run_record.read_run(folder, ring)
    (board,) = tables_of([record], ring)
    return FinishedRun(folder.path, record, board)
