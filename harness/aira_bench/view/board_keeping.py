"""Keeps the board of a folder of runs: in the index, made anew in another process where a run has changed.

While runs go on their board changes with every step. It is made again at most so often that a tenth of one core's time
goes into it; until then pages show the last one and say so.
"""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from aira_bench.agent_code.reading import bare_environment
from aira_bench.errors import AiraError
from aira_bench.keys import KeyFolder
from aira_bench.record.folder import RunFolder
from aira_bench.view.boards import BoardEntry
from aira_bench.view.index import RunIndex, fingerprint

_PROCESS = "aira_bench.view.board_process"
_BOARD = TypeAdapter(BoardEntry)
_NAME = "board"
_SHARE = 10.0
"""Of the time that a board took, how much passes before the next one."""
_LEAST_PAUSE_S = 5.0


@dataclass(frozen=True)
class KeptBoard:
    """A board, as far as there is one."""

    board: BoardEntry | None
    is_old: bool
    """Whether a run has changed since it was made."""
    trouble: str = ""
    """Why none could be made; empty where nothing was wrong."""


class BoardKeeper:
    """Makes and keeps the board of the runs of one index."""

    def __init__(self, index: RunIndex) -> None:
        """Know no board yet; nothing is begun.

        Args:
            index: of the runs.
        """
        self._index = index
        self._maker: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._known: tuple[str, BoardEntry] | None = None
        self._trouble = ""
        self._not_before_s = 0.0

    def board(self, folders: Sequence[RunFolder], *, wait: bool) -> KeptBoard:
        """Return the board of runs, or the last one there was.

        Args:
            folders: of the runs.
            wait: until it is made; otherwise it is made beside, and is there for a later call.
        """
        wanted = self.wanted(folders)
        if found := self._kept(wanted):
            return KeptBoard(found, False)
        if wait:
            self._make(folders, wanted)
            return KeptBoard(self._kept(wanted), False, self._trouble)
        is_making = self._maker is not None and self._maker.is_alive()
        if not is_making and time.monotonic() >= self._not_before_s:
            self._maker = threading.Thread(target=self._make, args=(folders, wanted), name="board", daemon=True)
            self._maker.start()
        return KeptBoard(self._known[1] if self._known else self._last(), True, self._trouble)

    def version(self, folders: Sequence[RunFolder]) -> str:
        """Return what changes when there is a newer board of these runs than the last that was shown."""
        self._kept(self.wanted(folders))
        return f"{self._known[0] if self._known else ''} {self._trouble}"

    def close(self) -> None:
        """End the process that makes a board, if there is one."""
        if (process := self._process) is not None and process.poll() is None:
            process.kill()

    def wanted(self, folders: Sequence[RunFolder]) -> str:
        """Return what a board of these runs is made from."""
        said = json.dumps([[fingerprint(each) for each in folders], *self._index.ring_facts])
        return hashlib.sha256(said.encode("ascii")).hexdigest()

    def _kept(self, wanted: str) -> BoardEntry | None:
        if self._known is None or self._known[0] != wanted:
            text = self._index.text(_NAME, wanted)
            found = _read(text) if text is not None else None
            if found is None:
                return None
            self._known = wanted, found
        return self._known[1]

    def _last(self) -> BoardEntry | None:
        text = self._index.last_text(_NAME)
        return _read(text) if text is not None else None

    def _make(self, folders: Sequence[RunFolder], wanted: str) -> None:
        began_s = time.monotonic()
        request = {"runs": [str(each.path) for each in folders], "keys": str(self._index.keys.path)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", _PROCESS], env=bare_environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=_in_the_background,
        )  # fmt: skip
        said, wrong = self._process.communicate(json.dumps(request).encode("ascii"))
        made = _read(said.decode("ascii", "replace")) if self._process.returncode == 0 else None
        self._trouble = "" if made is not None else _trouble(self._process.returncode, wrong)
        if made is not None:
            self._index.keep_text(_NAME, wanted, said.decode("ascii"))
            self._known = wanted, made
        took_s = time.monotonic() - began_s
        self._not_before_s = time.monotonic() + max(_SHARE * took_s, _LEAST_PAUSE_S)


def keep_board(runs: Path, home: Path, keys: KeyFolder) -> None:
    """Make the board of a folder of runs that nobody works on any more, for whoever looks at it next.

    Args:
        runs: folder of run folders.
        home: the machine's folder, as for `RunIndex`.
        keys: of this machine.
    """
    with contextlib.suppress(OSError, AiraError):
        index = RunIndex(runs, home, keys)
        if folders := index.folders():
            BoardKeeper(index).board(folders, wait=True)


def _read(text: str) -> BoardEntry | None:
    try:
        return _BOARD.validate_python(json.loads(text))
    except (ValueError, ValidationError):
        return None


def _trouble(status: int, wrong: bytes) -> str:
    last = wrong.decode("utf-8", "backslashreplace").strip().rpartition("\n")[2]
    by = signal.Signals(-status).name if status < 0 else f"status {status}"
    return f"the process that makes the board ended with {by}" + (f": {last[:300]}" if last else "")


def _in_the_background() -> None:
    os.nice(10)
