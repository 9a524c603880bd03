"""From what a user names to the site of its runs: a run, a folder of runs, or nothing for the usual folder."""

import time
from pathlib import Path

from aira_bench.keys import KeyFolder
from aira_bench.paths import host_paths
from aira_bench.record.folder import RunFolder, find_run, is_run, list_runs, no_run, no_runs
from aira_bench.view.index import RunIndex
from aira_bench.view.page_source import PageSource
from aira_bench.view.pages import slug
from aira_bench.view.site import Site


def open_site(runs: Path | None, wanted: str | None, *, follows: bool) -> tuple[Site, str]:
    """Return the site of what a user named, and its first page.

    Args:
        runs: the folder of runs, if the user named one.
        wanted: a run's name or folder, or a folder of runs below that folder or anywhere; None for all runs.
        follows: whether pages ask for news.

    Raises:
        UsageError: there is no such run or folder, or no run in it.
    """
    paths = host_paths(runs)
    folder, run = _chosen(paths.runs, wanted)
    if run is None and not list_runs(folder):
        raise no_runs(folder)
    site = Site(PageSource(RunIndex(folder, paths.home, KeyFolder(paths.keys)), time.time, follows=follows))
    return site, "index.html" if run is None else f"runs/{slug(run.path.name)}/index.html"


def _chosen(runs: Path, wanted: str | None) -> tuple[Path, RunFolder | None]:
    """The folder whose runs have pages, and the one run that was named."""
    if wanted is None:
        return runs, None
    for path in (runs / wanted, Path(wanted)):
        if is_run(path):
            run = find_run(runs, wanted)
            return run.path.parent, run
        if path.is_dir():
            return path.resolve(), None
    raise no_run(runs, wanted, "run and no folder of runs")
