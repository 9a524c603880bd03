"""The containers that serve a handed-over model to a judge, one after the other.

Everything in them is the submission's: the file they load is code. They see that file and the judge's sockets, both
read-only, and write nowhere that lasts. What they print is kept in a folder that no agent sees, because it may hold
hidden tokens.

Not covered: what the judge asks, and when a predictor has done enough; it ends when the judge hangs up, or is ended.
"""

import math
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aira_bench.errors import AiraError
from aira_bench.evaluation.submission_evaluator import EvaluationSetting
from aira_bench.output import display
from aira_bench.sandbox.sandbox import (
    ContainerSpec,
    EndReason,
    Limits,
    Mount,
    PreparedContainer,
    Sandbox,
)
from aira_contract.containers import HANDOVER_FOLDER, SOCKET_VOLUME
from aira_contract.files import HANDOVER_FILE
from aira_contract.invocation import HANDOVER_OPTION, SERVING_PROGRAM, SOCKET_OPTION
from aira_contract.settings import PROFILE_VARIABLE

TAKING_TURNS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Judge and predictor share cores: threads of the one that waits must not spin on them."""


def predict_spec(setting: EvaluationSetting, limits: Limits, handover: Path, socket_volume: str) -> ContainerSpec:
    """Return a container that sees one handed-over model and the judge's sockets, and no data."""
    return ContainerSpec(
        image=setting.images.agent,
        role="predict",
        run_id=setting.run_id,
        limits=limits,
        mounts=(Mount(handover / HANDOVER_FILE, HANDOVER_FOLDER / HANDOVER_FILE),),
        environment={PROFILE_VARIABLE: setting.profile, **TAKING_TURNS},
        socket_volume=socket_volume,
    )


class Predictors:
    """Runs the predictors of one evaluation in a thread of its own, each when the one before is dead."""

    def __init__(
        self,
        sandbox: Sandbox,
        spec: ContainerSpec,
        sockets: Sequence[str],
        lifetime_s: float,
        destination: Path,
        on_failure: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """One predictor for each of `sockets`, names that each is told its own of; `lifetime_s` is for all together.

        `on_failure` is called, from another thread, if no predictor will come any more: nobody need wait for one then.
        `clock` is their judge's, which takes turns with them: it leaves out what others took when the judge has ended.
        """
        self.failure: AiraError | None = None
        """Why a container was lost before `stop`; a `StepLost` if it had begun to serve."""
        self.endings: list[EndReason] = []
        """Of the predictors that ended before `stop`; `timeout` of one that was killed before and has yet to die."""
        self.ended_unexplained = False
        """Whether one was killed, and the engine knows of no hand (`StepOutcome.is_unexplained`)."""
        self._sandbox, self._spec, self._left_s = sandbox, spec, lifetime_s
        self._clock = clock
        self._sockets = sockets
        self._destination, self._on_failure = destination, on_failure
        self._lock = threading.Lock()
        self._enough = self._stopped = False
        self._ends_s = math.inf
        self._running: PreparedContainer | None = None
        self._thread = threading.Thread(target=self._run, name="predictors", daemon=True)

    def start(self) -> None:
        """Start the first predict container, so that it can be asked."""
        self._ends_s = self._clock() + self._left_s
        self._thread.start()

    def stop(self, grace_s: float = 0.0) -> None:
        """Start no more, end whichever still runs after `grace_s`, and wait for that. Safe to call twice."""
        self._enough = True
        if self._thread.ident is not None:
            self._thread.join(grace_s)
        with self._lock:
            self._stopped = True
            running = self._running
            if running is not None and self._thread.is_alive() and self._clock() > self._ends_s:
                self.endings.append("timeout")
        if running is not None:
            running.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        for number, socket in enumerate(self._sockets, start=1):
            try:
                if not self._serve(socket, self._destination / f"predict_{number}.txt"):
                    break
            except AiraError as error:
                with self._lock:
                    self.failure = None if self._stopped else error
                break
        if not self._stopped and (self.failure or "timeout" in self.endings):
            self._on_failure()

    def _serve(self, socket: str, log: Path) -> bool:
        """Run one predictor to its end; False if there is no use for another."""
        with self._lock:
            if self._enough:
                return False
            self._running = None
        container = self._sandbox.prepare(self._spec)
        with self._lock:
            self._running = None if self._stopped else container
        try:
            if self._running is None:
                return False
            outcome = container.run(
                ["python3", "-m", SERVING_PROGRAM,
                 HANDOVER_OPTION, str(HANDOVER_FOLDER / HANDOVER_FILE), SOCKET_OPTION, str(SOCKET_VOLUME / socket)],
                files={},
                timeout_s=max(self._left_s, 1.0),
                artifacts=[],
                destination=log.parent,
            )  # fmt: skip
        finally:
            container.close()
        self._left_s -= outcome.wall_s - outcome.lost_s
        log.write_text(f"{display(outcome.stdout)}\n{display(outcome.stderr)}\n", encoding="utf-8")
        with self._lock:
            if not self._stopped:
                self.endings.append(outcome.ended)
                self.ended_unexplained = self.ended_unexplained or outcome.is_unexplained
            return not self._stopped and outcome.ended != "timeout"
