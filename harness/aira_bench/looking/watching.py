"""How the runs of a folder stand, for a process that drives none of them: read again and again, at little cost.

Journals are read when they have grown, and what is in flight comes from the news of the process that works on the run
(`aira_bench.record.news`); of versions that told none, from the journal's mark of the step that began.

Not covered: whether a run's files agree with each other (`status RUN`): a journal that does not hold is shown as far
as it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from aira_bench.files import Unacceptable
from aira_bench.looking.run_state import RUNNING, RunCaps, RunState, SeedState
from aira_bench.record.folder import RunFolder
from aira_bench.record.growing import Growing
from aira_bench.record.journal import SeedEnded, StepStarted
from aira_bench.record.manifest import Manifest, load_manifest
from aira_bench.record.news import read_news
from aira_bench.record.node import Node
from aira_bench.record.salvage import in_order, journal_remains


@dataclass
class _Seed:
    """What was read of a seed's journal, and as what the file was seen then."""

    seen: tuple[int, int] = (-1, -1)
    nodes: Growing[Node] = field(default_factory=Growing)
    ended: SeedEnded | None = None
    begun: StepStarted | None = None


class RunWatch:
    """Follows one run, reading what is new of it."""

    def __init__(self, folder: RunFolder) -> None:
        """Follow the run in a folder, of which nothing is read yet."""
        self.folder = folder
        self._manifest: Manifest | None = None
        self._seeds: dict[int, _Seed] = {}

    def state(self, now_s: float) -> RunState | None:
        """Return how the run stands; None where its manifest cannot be read.

        Args:
            now_s: seconds of the epoch.
        """
        try:
            self._manifest = self._manifest or load_manifest(self.folder.path)[0]
        except Unacceptable:
            return None
        plan, is_locked, held = self._manifest.plan, self.folder.is_locked, self.folder.held_seeds()
        seeds = tuple(self._seed(seed, now_s, is_live=is_locked or seed in held) for seed in plan.seeds)
        is_live = is_locked or bool(held)
        word = RUNNING if is_live else "finished" if all(seed.is_over for seed in seeds) else "stopped"
        caps = RunCaps.of(plan, lower_is_better=self._manifest.lower_is_better)
        return RunState(self.folder.path.name, caps, seeds, word)

    def _seed(self, seed: int, now_s: float, *, is_live: bool) -> SeedState:
        known = self._read(seed)
        news = read_news(self.folder.seed(seed).path) if is_live else None
        nodes, step = known.nodes.so_far(), len(known.nodes)
        if known.ended is not None and not (news and news.phase.startswith("training")):
            return SeedState(seed, step, f"ended ({known.ended.why})", nodes=nodes, is_over=True)
        if news is not None:
            over = news.halted is not None or known.ended is not None
            return SeedState(
                seed, news.step, news.phase, max(now_s - news.since, 0.0), news.waits_for, nodes, over,
                f"halted: {news.halted}" if news.halted is not None else "",
            )  # fmt: skip
        if not is_live:
            return SeedState(seed, step, "stopped" if step else "not begun", nodes=nodes)
        if known.begun is None:
            return SeedState(seed, step, "waiting", nodes=nodes)
        return SeedState(seed, known.begun.step, "in flight", _since(known.begun.at, now_s), nodes=nodes)

    def _read(self, seed: int) -> _Seed:
        known = self._seeds.setdefault(seed, _Seed())
        seen = _seen(self.folder.seed(seed).journal)
        if seen == known.seen:
            return known
        events, _, _ = journal_remains(self.folder, seed)
        steps, ended = in_order(events)
        if len(steps) < len(known.nodes):  # it was taken back
            known.nodes = Growing()
        for each in steps[len(known.nodes) :]:
            known.nodes.append(each.node)
        last = events[-1] if events else None
        known.seen, known.ended, known.begun = seen, ended, last if isinstance(last, StepStarted) else None
        return known


class FolderWatch:
    """Follows all runs of a folder, those that begin later too."""

    def __init__(self) -> None:
        """Know no run yet."""
        self._runs: dict[Path, RunWatch] = {}

    def states(self, folders: Sequence[RunFolder], now_s: float) -> list[RunState]:
        """Return how the runs stand whose manifests can be read, in the order of the folders.

        Args:
            folders: the runs there are now.
            now_s: seconds of the epoch.
        """
        self._runs = {each.path: self._runs.get(each.path) or RunWatch(each) for each in folders}
        return [state for watch in self._runs.values() if (state := watch.state(now_s)) is not None]


def _seen(path: Path) -> tuple[int, int]:
    try:
        found = path.lstat()
    except OSError:
        return (0, 0)
    return found.st_size, found.st_mtime_ns


def _since(at: str, now_s: float) -> float | None:
    try:
        return max(now_s - datetime.fromisoformat(at).timestamp(), 0.0)
    except ValueError:
        return None
