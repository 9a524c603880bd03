"""Compiled programs a judge leaves for the next judge of the same graphs.

Modules that differ in rates alone share every program, and compiling is the part of an evaluation that buys nothing.
Programs are native code that was compiled from a submission's graphs, so three rules hold. They go from judge to judge
only: no agent's container and no fit container is given any. They are filed under the graphs they were made from, so
whatever one submission might do to them, no other submission meets it. And they stay within one run.

A judge has no writable place on the host for this: it gets one file beside the graphs and leaves one, of bounded size.

Not covered: what is in the file (`aira_evaluator.lra.judge.programs`).
"""

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

MAX_STORED_BYTES = 1 << 30
"""Of one run; the files longest unused go first."""


@dataclass(frozen=True)
class CompiledPrograms:
    """The folder of a run's compiled programs; no container mounts it."""

    folder: Path

    def get(self, graphs: bytes) -> bytes | None:
        """Return the file that the last judge of these graphs left, if it is still kept.

        Args:
            graphs: a traced module as it is stored; its first line, which holds the hyperparameters, does not count.
        """
        path = self._path(graphs)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        os.utime(path)
        return content

    def put(self, graphs: bytes, left: Path) -> None:
        """Keep the file a judge left; it moves."""
        self.folder.mkdir(parents=True, exist_ok=True)
        shutil.move(left, self._path(graphs))
        self._forget_oldest()

    def clear(self) -> None:
        """Remove the programs of all graphs: a finished run needs none."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, graphs: bytes) -> Path:
        _, _, code = graphs.partition(b"\n")
        return self.folder / f"{hashlib.sha256(code).hexdigest()}.tar"

    def _forget_oldest(self) -> None:
        kept = 0
        for path, state in sorted(self._files(), key=lambda file: file[1].st_mtime_ns, reverse=True):
            kept += state.st_size
            if kept > MAX_STORED_BYTES:
                path.unlink(missing_ok=True)

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        found = []
        for path in self.folder.glob("*.tar"):
            with contextlib.suppress(FileNotFoundError):  # another slot was faster
                found.append((path, path.stat()))
        return found
