"""Reads the runs of a folder into its index, beside the server, so that no click waits until all are read.

Of a few runs that have changed a page waits; of many it shows what is known, with the last that was known of those that
have changed. What is known of each run stays in memory: a few kilobytes a run.
"""

import math
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from aira_bench.record.folder import RunFolder
from aira_bench.view.entries import RunDetail, RunEntry
from aira_bench.view.index import RunIndex, fingerprint

_PATIENCE_S = 1.0
"""How long a page waits for runs to be read."""
_CODE_PATIENCE_S = 0.6
"""How long the page of a run waits for the code of its steps to be read."""
_KEPT_RUNS = 4
"""Runs whose steps are kept in memory, a few megabytes each."""


class RunsReading:
    """What is known of the runs of an index."""

    def __init__(self, index: RunIndex) -> None:
        """Know no run yet.

        Args:
            index: of the runs.
        """
        self._index = index
        self._known: dict[Path, tuple[str, RunEntry]] = {}
        self._details: dict[Path, tuple[str, RunEntry, RunDetail]] = {}
        self._reader: threading.Thread | None = None
        self._code_reader: threading.Thread | None = None
        self._is_over = False
        self.done = 0
        """Runs read since the beginning; it changes what the page of all runs says."""
        self.codes = 0
        """Runs whose code was read beside; it changes what their pages say."""

    def known(self, folders: Sequence[RunFolder], *, wait: bool) -> tuple[list[tuple[RunFolder, RunEntry]], int]:
        """Return what is known of runs, and how many are still to be read.

        Args:
            folders: of the runs.
            wait: until all are read; otherwise a thread goes on with those that take too long.
        """
        until_s = time.monotonic() + _PATIENCE_S
        rest: list[RunFolder] = []
        for folder in folders:
            if not self._take(folder, read=wait or time.monotonic() < until_s):
                rest.append(folder)
        there = {folder.path for folder in folders}
        for gone in [path for path in self._known if path not in there]:
            del self._known[gone]
        if rest and (self._reader is None or not self._reader.is_alive()):
            self._reader = threading.Thread(target=self._read, args=(rest,), name="reading", daemon=True)
            self._reader.start()
        return [(each, self._known[each.path][1]) for each in folders if each.path in self._known], len(rest)

    def detail(self, folder: RunFolder, *, wait: bool) -> tuple[RunEntry, RunDetail]:
        """Return a run with all its steps.

        Args:
            folder: of the run.
            wait: until all its code is read; otherwise a thread goes on with what takes too long.
        """
        seen, known = fingerprint(folder), self._details.get(folder.path)
        if known is not None and known[0] == seen:
            return known[1], known[2]
        entry, detail = self._index.detail(folder, patience_s=math.inf if wait else _CODE_PATIENCE_S)
        if not detail.unread:
            self._keep(folder, seen, entry, detail)
        elif self._code_reader is None or not self._code_reader.is_alive():
            self._code_reader = threading.Thread(target=self._read_code, args=(folder,), name="code", daemon=True)
            self._code_reader.start()
        return entry, detail

    def close(self) -> None:
        """Read no further run."""
        self._is_over = True

    def _take(self, folder: RunFolder, *, read: bool) -> bool:
        """Make a run known as it is now, by reading it only where that is wanted; whether it is."""
        seen = fingerprint(folder)
        found = self._known.get(folder.path)
        if found is not None and found[0] == seen:
            return True
        entry = self._index.summary(folder) if read else self._index.known_summary(folder)
        if entry is None:
            return False
        self._known[folder.path] = seen, entry
        return True

    def _read(self, folders: Sequence[RunFolder]) -> None:
        for folder in folders:
            if self._is_over:
                return
            self._index.summary(folder)
            self.done += 1

    def _read_code(self, folder: RunFolder) -> None:
        seen = fingerprint(folder)
        self._keep(folder, seen, *self._index.detail(folder))
        self.codes += 1

    def _keep(self, folder: RunFolder, seen: str, entry: RunEntry, detail: RunDetail) -> None:
        self._details.pop(folder.path, None)
        self._details[folder.path] = seen, entry, detail
        while len(self._details) > _KEPT_RUNS:
            self._details.pop(next(iter(self._details)), None)
