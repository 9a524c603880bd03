"""The two containers that serve a handed-over model to a judge, one after the other.

Everything in them is the submission's: the file they load is code. They see that file and the judge's sockets, both
read-only, and write nowhere that lasts. What they print is kept in a folder that no agent sees, because it may hold
hidden tokens.

Not covered: what the judge asks, and when a predictor has done enough; it ends when the judge hangs up, or is ended.
"""

import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from aira_bench.errors import AiraError
from aira_bench.evaluation.protocol import EvaluationSetting
from aira_bench.output import display
from aira_bench.sandbox.protocol import (
    MEETING,
    ContainerSpec,
    EndReason,
    Limits,
    Mount,
    PreparedContainer,
    Sandbox,
)

HANDOVER_FILE = "handover.bin"
SOCKETS = ("prefixes.sock", "rows.sock")
"""Where the judge waits for the first and for the second predictor (aira_evaluator.autoresearch.judging)."""
TAKING_TURNS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Judge and predictor share cores: threads of the one that waits must not spin on them."""
_HANDOVER_FOLDER = PurePosixPath("/handover")


def predict_spec(setting: EvaluationSetting, limits: Limits, handover: Path, meeting: str) -> ContainerSpec:
    """A container that sees one handed-over model and the judge's sockets, and no data."""
    return ContainerSpec(
        image=setting.images.agent,
        role="predict",
        run_id=setting.run_id,
        limits=limits,
        mounts=(Mount(handover / HANDOVER_FILE, _HANDOVER_FOLDER / HANDOVER_FILE),),
        environment={"AIRA_PROFILE": setting.profile, **TAKING_TURNS},
        meeting=meeting,
    )


class Predictors:
    """Runs both predictors of one evaluation in a thread of its own."""

    def __init__(
        self,
        sandbox: Sandbox,
        spec: ContainerSpec,
        tickets: tuple[str, str],
        lifetime_s: float,
        destination: Path,
        on_failure: Callable[[], None],
    ) -> None:
        """Each predictor is told its own ticket alone.

        `on_failure` is called, from another thread, if the engine fails: nobody need wait for a predictor then.
        """
        self.failure: AiraError | None = None
        """The engine's, if it failed before `stop`."""
        self.endings: list[EndReason] = []
        """Of the predictors that ended before `stop`."""
        self._sandbox, self._spec, self._lifetime_s = sandbox, spec, lifetime_s
        self._tickets = tickets
        self._destination, self._on_failure = destination, on_failure
        self._lock = threading.Lock()
        self._stopped = False
        self._running: PreparedContainer | None = None
        self._thread = threading.Thread(target=self._run, name="predictors", daemon=True)

    def start(self) -> None:
        """Begin with the first."""
        self._thread.start()

    def stop(self) -> None:
        """End whichever runs, start none, and wait for that. Safe to call twice."""
        with self._lock:
            self._stopped = True
            running = self._running
        if running is not None:
            running.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        for number, (name, ticket) in enumerate(zip(SOCKETS, self._tickets, strict=True), start=1):
            try:
                if not self._serve(name, ticket, self._destination / f"predict_{number}.txt"):
                    return
            except AiraError as error:
                with self._lock:
                    expected = self._stopped
                    self.failure = None if expected else error
                if not expected:
                    self._on_failure()
                return

    def _serve(self, socket: str, ticket: str, log: Path) -> bool:
        """Run one predictor to its end; False if it was stopped."""
        with self._lock:
            if self._stopped:
                return False
        container = self._sandbox.prepare(self._spec)
        with self._lock:
            self._running = None if self._stopped else container
        try:
            if self._running is None:
                return False
            outcome = container.run(
                ["python3", "-m", "aira_evaluator.autoresearch.serving",
                 "--handover", str(_HANDOVER_FOLDER / HANDOVER_FILE), "--socket", str(MEETING / socket),
                 "--ticket", ticket],
                files={},
                timeout_s=self._lifetime_s,
                artifacts=[],
                destination=log.parent,
            )  # fmt: skip
        finally:
            container.close()
        log.write_text(f"{display(outcome.stdout)}\n{display(outcome.stderr)}\n", encoding="utf-8")
        with self._lock:
            if not self._stopped:
                self.endings.append(outcome.ended)
            return not self._stopped
