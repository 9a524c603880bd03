"""The process that mirrors a run to a tracker: it reads the run's journals and sends what is new.

    python -P -m aira_bench.export.mirror mlflow RUN_FOLDER

It shares nothing with the run but the files that it reads: no lock, no pipe that the run writes to, no signal and no
key of a provider. It opens the manifest and the journals, never what lies in `hidden/`. Whatever happens to it, the run
goes on; what could not be sent is tried again, and at the end for a minute. Its standard input is held by the run's
process; its end means that the run is over, or that its process died. Then it says on standard output what was sent.

Not covered: starting it (`aira_bench.export.tracking`).
"""

import contextlib
import importlib
import json
import os
import sys
import threading
from pathlib import Path

from aira_bench.errors import AiraError
from aira_bench.escaping import one_line
from aira_bench.export.steps import best_so_far, node_scalars
from aira_bench.export.trackers import PACKAGES, TRACKERS, Tracker
from aira_bench.files import Unacceptable
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import SeedEnded, StepEnded
from aira_bench.record.manifest import Manifest, load_manifest

LOOK_S = 2.0
"""Between two looks at the journals."""
AFTER_S = 60.0
"""How long after the run what is left is tried to be sent."""
_REASON_CHARS = 200
_NICE = 10


class Mirror:
    """Follows the journals of one run."""

    def __init__(self, tracker: str, folder: RunFolder) -> None:
        self._name, self._folder = tracker, folder
        self._tracker: Tracker | None = None
        self._manifest: Manifest | None = None
        self._sent: dict[int, int] = {}
        self._sizes: dict[int, int] = {}
        self._ended: set[int] = set()
        self.steps = 0
        """Sent by this process."""
        self.problem = ""
        """Why sending failed last; empty where it did not."""

    def import_client(self) -> None:
        """Import the tracker's client, which takes seconds of a core, while the run has its containers made ready.

        What is wrong with the client shows when the run is there to be sent.
        """
        with contextlib.suppress(Exception):
            importlib.import_module(PACKAGES[self._name])

    def look(self) -> bool:
        """Send what is new; return whether nothing was left."""
        try:
            if self._manifest is None:
                if not (self._folder.path / "manifest.json").is_file():
                    return True
                self._manifest, _ = load_manifest(self._folder.path)
            if self._tracker is None:
                self._tracker = TRACKERS[self._name](self._folder.path.name, self._manifest)
            for seed in self._manifest.plan.seeds:
                self._send(self._tracker, self._manifest, seed)
        except (AiraError, Unacceptable, Exception) as error:  # a client raises what it likes
            self.problem = one_line(f"{type(error).__name__}: {error}", _REASON_CHARS)
            return False
        self.problem = ""
        return True

    def close(self) -> bool:
        """Tell the tracker that nothing more comes; return whether it took it."""
        if self._tracker is None or self._manifest is None:
            return not self.problem
        try:
            self._tracker.close(ended=self._ended == set(self._manifest.plan.seeds))
        except Exception as error:
            self.problem = one_line(f"{type(error).__name__}: {error}", _REASON_CHARS)
        return not self.problem

    def _send(self, tracker: Tracker, manifest: Manifest, seed: int) -> None:
        place = self._folder.seed(seed)
        size = place.journal.stat().st_size if place.journal.is_file() else 0
        if size == self._sizes.get(seed, 0):
            return
        if seed not in self._sent:
            self._sent[seed] = tracker.sent(seed)
        events = place.events
        ended = [event for event in events if isinstance(event, StepEnded)]
        bests = best_so_far((event.node for event in ended), lower_is_better=manifest.lower_is_better)
        for event, best in zip(ended, bests, strict=True):
            if event.node.step > self._sent[seed]:
                tracker.step(seed, event.node.step, event.at, node_scalars(event.node, best))
                self._sent[seed] = event.node.step
                self.steps += 1
        if events and isinstance(events[-1], SeedEnded):
            self._ended.add(seed)
        self._sizes[seed] = size


def main(arguments: list[str]) -> None:
    """Mirror a run until its process lets go of standard input, and for a minute after."""
    name, folder = arguments
    said = os.fdopen(os.dup(1), "w")
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):  # clients print
        os.dup2(quiet, descriptor)
    with contextlib.suppress(OSError):
        os.nice(_NICE)
    mirror, over = Mirror(name, RunFolder(Path(folder))), threading.Event()

    def leave() -> None:
        with contextlib.suppress(OSError):
            said.write(json.dumps({"steps": mirror.steps, "problem": mirror.problem or "it does not answer"}) + "\n")
            said.flush()
        os._exit(1)

    def await_end() -> None:
        while os.read(0, 4096):
            pass
        over.set()
        timer = threading.Timer(AFTER_S, leave)  # whatever the client is at
        timer.daemon = True
        timer.start()

    threading.Thread(target=await_end, daemon=True).start()
    mirror.import_client()
    pause_s = LOOK_S
    while not over.wait(pause_s):
        pause_s = LOOK_S if mirror.look() else min(2 * pause_s, 60.0)
    while not mirror.look():
        threading.Event().wait(LOOK_S)
    mirror.close()
    with contextlib.suppress(OSError):
        said.write(json.dumps({"steps": mirror.steps, "problem": mirror.problem}) + "\n")
        said.flush()
    os._exit(1 if mirror.problem else 0)  # threads of clients are not waited for


if __name__ == "__main__":
    main(sys.argv[1:])
