"""Tells other processes how the seeds of a run get on (`aira_bench.record.news`), at most once a second.

Not covered: whoever watches in this process; they are told at once.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator

from aira_bench.record.folder import RunFolder
from aira_bench.record.news import SeedNews, remove_news, write_news
from aira_bench.runs.session import Progress
from aira_bench.world import World

PAUSE_S = 1.0
Watch = Callable[[Progress], None]


@contextlib.contextmanager
def told_to_others(folder: RunFolder, watch: Watch, world: World) -> Iterator[Watch]:
    """What `watch` is to be in its place while the block runs: it tells the others too.

    Args:
        folder: of the run, which this process works on.
        watch: whoever watches in this process.
        world: its clock.
    """
    news: dict[int, SeedNews] = {}
    lock, changed, over = threading.Lock(), threading.Event(), threading.Event()

    def tell(progress: Progress) -> None:
        halted = progress.halted.message if progress.halted else None
        with lock:
            before = news.get(progress.seed)
            step = before.step if before and halted else progress.step
            same = before is not None and (before.step, before.phase) == (step, progress.phase)
            since = before.since if before and same else world.now().timestamp()
            news[progress.seed] = SeedNews(progress.seed, step, progress.phase, since, progress.waits_for, halted)
        changed.set()
        watch(progress)

    def write() -> None:
        while not over.is_set():
            changed.wait()
            changed.clear()
            with lock:
                known = dict(news)
            write_news(folder.path, known)
            over.wait(PAUSE_S)

    writer = threading.Thread(target=write, name="news", daemon=True)
    writer.start()
    try:
        yield tell
    finally:
        over.set()
        changed.set()
        writer.join()
        remove_news(folder.path)
