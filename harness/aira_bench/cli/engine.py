"""`--engine`: workers carry runs out, here or elsewhere, while this command shows how they get on.

The command makes what workers share, has a launcher start them, and looks at the folder, like `status --watch`. It
gives out no work: losing it loses nothing, and `resume` or `worker` goes on. Workers that all ended while seeds are
left are started again as long as each round brings some seed further.

Not covered: what workers do (`aira_bench.runs.worker`), and how they are started (`aira_bench.launchers`).
"""

import argparse
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from aira_bench.cli.launching import (
    add_engine_choice,
    add_worker_size,
    container_options,
    launcher_of,
    order_of,
    share_options,
)
from aira_bench.cli.objects import look_again, place_for_workers
from aira_bench.cli.stopping import current
from aira_bench.errors import AiraError, SandboxError, error_of_status

if TYPE_CHECKING:
    from aira_bench.cli.display import RunDisplay
    from aira_bench.launchers.launcher import Fleet
    from aira_bench.looking.run_state import SeedState
    from aira_bench.record.folder import RunFolder

LOGS = "leases/logs"
"""Where what workers of a run say is kept, in its folder."""
_LOOK_S = 0.5
_SHARE = 10.0
"""Looks at many seeds on a file server take a while, and no more than a part in so many of the time."""
_MOST_WORKERS = 64
"""Where nobody says how many."""
_GRACE_S = 20.0
"""What workers have for their end when this command is stopped."""
_WORDS = {"over": "over", "held": "in work", "halted": "halted", "released": "waiting"}
_LAST_S = 10.0
"""What workers have for their end when all seeds are over."""


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add `--engine` and what it takes: who carries the work out, where, and with what."""
    add_engine_choice(parser)
    add_worker_size(parser)


def grace_s(args: argparse.Namespace) -> float:
    """Return how long this command may take to end: its workers have theirs first."""
    return _GRACE_S + 5.0 if args.engine is not None else current().grace_s


def carried_out(
    args: argparse.Namespace, folder: "RunFolder", display: "RunDisplay", confirming: Sequence[str] | None = None
) -> "RunFolder":
    """Have workers bring every seed of a shared run to its end.

    Args:
        args: the command line.
        folder: of the run.
        display: shows how seeds get on.
        confirming: options of workers that confirm and do nothing else; None for others.

    Raises:
        AiraError: what the first of the seeds that halted failed with, of which the display knows all; or what one was
            given back for.
        SandboxError: workers ended, and no seed got any further.
        KeyboardInterrupt: the command was stopped, and its workers with it.
    """
    from aira_bench.looking.watching import RunWatch

    watch, shown = RunWatch(folder), _Shown(display.watch, steps=confirming is None)

    def look() -> None:
        if (state := watch.state(time.time())) is not None:
            for seed in state.seeds:
                shown.take(seed)

    _worked(args, [folder], folder.path, _workers(args, [folder]), look, display.note, confirming)
    halted = halts(folder)
    display.halted.update(halted)
    for error in halted.values():
        raise error
    return folder


def halts(folder: "RunFolder") -> dict[int, AiraError]:
    """Return what seeds of a shared run halted for, or were given back for by a machine that could not go on with them,
    as far as workers said."""
    again = folder.command("resume")
    return {
        seed: error_of_status(entry.status)(
            entry.why if entry.state == "halted" else f"on {entry.host}: {entry.why}", hint=again
        )
        for seed, entry in sorted(folder.lease_entries().items())
        if entry.state == "halted" or (entry.state == "released" and entry.why)
    }


def _worked(
    args: argparse.Namespace,
    folders: "Sequence[RunFolder]",
    place: Path,
    workers: int,
    look: Callable[[], None],
    note: Callable[[str], None],
    confirming: Sequence[str] | None = None,
) -> None:
    """Start workers on a folder until nothing is left that they could do."""
    address = place_for_workers(args, place, [folder.path for folder in folders])
    arguments = ["worker", address, *share_options(args), *container_options(args)]
    agents = {folder.manifest.plan.agent for folder in folders}
    if confirming is not None:  # without an agent, and so without its keys
        arguments, agents = [*arguments, "--only-confirm", *confirming], set()
    logs = place / (LOGS if len(folders) == 1 and folders[0].path == place else "logs")
    order = order_of(args, arguments, workers, logs, agents)
    stopping, launcher = current(), launcher_of(args)
    stopping.grace_s = grace_s(args)
    before = None
    while (now := _standing(folders)) != before and _left(folders):
        before = now
        fleet = launcher.start(order)
        stopping.at_once = lambda: fleet.stop(0)  # noqa: B023  # of the fleet that there is then
        note(fleet.describe())
        try:
            _until_over(fleet, folders, look)
        finally:
            fleet.stop(_GRACE_S)
            stopping.at_once = lambda: None
            look_again(args)
        look()
    if _left(folders) and not any(halts(folder) for folder in folders):
        raise SandboxError(f"The workers ended, and seeds are left; {logs} has what they said.", hint=f"ls {logs}")


def _workers(args: argparse.Namespace, folders: "Sequence[RunFolder]") -> int:
    """How many workers are started: as many as this machine has places, elsewhere one for each seed."""
    if args.workers is not None:
        return int(args.workers)
    plans = [folder.manifest.plan for folder in folders]
    if args.engine == "local":
        return max(plan.concurrency for plan in plans)
    return min(_MOST_WORKERS, sum(len(plan.seeds) for plan in plans))


def carried_out_together(
    args: argparse.Namespace, folders: "Sequence[RunFolder]", place: Path, note: Callable[[str], None]
) -> None:
    """Have workers bring every seed of the shared runs below a folder to its end, whatever some of them halt for.

    Raises:
        SandboxError: workers ended, and no seed got any further.
        KeyboardInterrupt: the command was stopped, and its workers with it.
    """
    told = [""]

    def look() -> None:
        if (now := _counted(folders)) != told[0]:
            told[0] = now
            note(now)

    if folders:
        _worked(args, folders, place, _workers(args, folders), look, note)


def _counted(folders: "Sequence[RunFolder]") -> str:
    """How many seeds of several runs are how far."""
    states = Counter(
        "waiting" if seed not in entries else _WORDS[entries[seed].state]
        for folder in folders
        for entries in [folder.lease_entries()]
        for seed in folder.manifest.plan.seeds
    )
    return "seeds: " + ", ".join(f"{states[word]} {word}" for word in (*_WORDS.values(),) if states[word])


def _until_over(fleet: "Fleet", folders: "Sequence[RunFolder]", look: Callable[[], None]) -> None:
    while True:
        began_s = time.monotonic()
        if not fleet.alive() or not _left(folders):
            break
        look()
        next_s = time.monotonic() + _SHARE * (time.monotonic() - began_s)
        time.sleep(_LOOK_S)
        while time.monotonic() < next_s and fleet.alive():  # a look may be long ago when the last worker ends
            time.sleep(_LOOK_S)
    ends_s = time.monotonic() + _LAST_S
    while fleet.alive() and time.monotonic() < ends_s:
        time.sleep(_LOOK_S / 10)


def _left(folders: "Sequence[RunFolder]") -> bool:
    """Whether a seed is not over."""
    for folder in folders:
        entries = folder.lease_entries()
        if any(seed not in entries or entries[seed].state != "over" for seed in folder.manifest.plan.seeds):
            return True
    return False


def _standing(folders: "Sequence[RunFolder]") -> Sequence[object]:
    """What changes while seeds get further: which are over, and how long journals are."""
    return [
        (folder.path, seed, seed in entries and entries[seed].state == "over", _size(folder.seed(seed).journal))
        for folder in folders
        for entries in [folder.lease_entries()]
        for seed in folder.manifest.plan.seeds
    ]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@dataclass
class _Shown:
    """Tells a display what is new of seeds that are looked at from outside."""

    watch: Callable[..., None]
    steps: bool
    """Whether steps are news; a confirmation takes none."""

    def __post_init__(self) -> None:
        self._told: dict[int, tuple[int, str, str | None, bool]] = {}

    def take(self, seed: "SeedState") -> None:
        """Tell how a seed stands, and each step that it finished since."""
        from aira_bench.looking.run_state import ended_words
        from aira_bench.record.journal import SeedEnd
        from aira_bench.runs.session import Progress

        known = self._told.get(seed.seed, (0, "", None, False))
        now = (len(seed.nodes), seed.phase, seed.waits_for, seed.is_over)
        if now == known:
            return
        self._told[seed.seed] = now
        new = seed.nodes[known[0] :] if self.steps else ()
        for count, node in enumerate(new, start=known[0] + 1):
            self.watch(
                Progress(seed.seed, count, "finished a step", last=ended_words(node), nodes=seed.nodes[:count])
            )  # fmt: skip
        why: Mapping[str, SeedEnd] = {f"ended ({each})": each for each in get_args(SeedEnd)}
        ended = why.get(seed.phase)
        said = f"ended after {len(seed.nodes)} steps, its budget used up" if ended == "budget" else ""
        self.watch(
            Progress(
                seed.seed, seed.step, seed.phase, last=said, waits_for=seed.waits_for, ended=ended,  # type: ignore[arg-type]
                confirming=seed.phase.startswith("training"),
            )
        )  # fmt: skip
