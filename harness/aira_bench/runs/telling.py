"""Tells other processes how the seeds of a run get on (`aira_bench.record.news`).

Not covered: whoever watches in this process; they are told first.
"""

import contextlib
from collections.abc import Callable, Iterator

from aira_bench.record.folder import RunFolder
from aira_bench.record.news import SeedNews, remove_news, write_news
from aira_bench.runs.session import Progress
from aira_bench.world import World

Watch = Callable[[Progress], None]


@contextlib.contextmanager
def told_to_others(folder: RunFolder, seeds: tuple[int, ...], watch: Watch, world: World) -> Iterator[Watch]:
    """What `watch` is to be in its place while the block runs: it tells the others too.

    Args:
        folder: of the run, which this process works on.
        seeds: of the run.
        watch: whoever watches in this process.
        world: its clock.
    """
    last: dict[int, SeedNews] = {}

    def tell(progress: Progress) -> None:  # each seed's is told by one thread
        watch(progress)
        before = last.get(progress.seed)
        halted = progress.halted.message if progress.halted else None
        step = before.step if before and halted else progress.step
        same = before is not None and (before.step, before.phase) == (step, progress.phase)
        since = before.since if before and same else world.now().timestamp()
        last[progress.seed] = SeedNews(step, progress.phase, since, progress.waits_for, halted)
        write_news(folder.seed(progress.seed).path, last[progress.seed])

    places = [folder.seed(seed).path for seed in seeds]
    for place in places:
        remove_news(place)  # of a process that was killed
    with contextlib.ExitStack() as at_end:
        for place in [*places, *places]:  # again, since a signal or a disk's moment may cut the first time short
            at_end.callback(remove_news, place)
        yield tell
