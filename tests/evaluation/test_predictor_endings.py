"""Predictors that are slow to die, with containers of our own: real ones that take minutes would take minutes."""

import hashlib
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest

from aira_bench.errors import SandboxError
from aira_bench.evaluation.predictors import Predictors
from aira_bench.output import CapturedOutput
from aira_bench.sandbox.sandbox import ArtifactRequest, ContainerSpec, StepOutcome

LIFETIME_S = 1.1  # a second is the least that a container gets
DYING_S = 30.0


@dataclass
class DyingContainer:
    """Runs until its deadline or until it is closed, is killed then, and is dead `dying_s` later."""

    dying_s: float
    closed: threading.Event = field(default_factory=threading.Event)

    def run(
        self,
        command: Sequence[str],
        *,
        files: Mapping[str, bytes],
        timeout_s: float,
        artifacts: Sequence[ArtifactRequest],
        destination: Path,
    ) -> StepOutcome:
        swept = self.closed.wait(timeout_s) or self.closed.wait(self.dying_s)
        if swept:
            raise SandboxError("The container was swept away before its step had ended.")
        nothing = CapturedOutput(b"", b"", 0, hashlib.sha256(b"").hexdigest())
        return StepOutcome("timeout", None, timeout_s, nothing, nothing, {}, None)

    def converse(self, *_: object, **__: object) -> NoReturn:
        raise NotImplementedError

    @property
    def is_waiting(self) -> bool:
        return True

    def inspect(self) -> Mapping[str, Any]:
        return {}

    def close(self) -> None:
        self.closed.set()


@dataclass(frozen=True)
class DyingSandbox:
    dying_s: float

    def prepare(self, spec: ContainerSpec) -> DyingContainer:
        return DyingContainer(self.dying_s)

    def sweep(self, run_id: str) -> int:
        return 0


@pytest.mark.parametrize(("lifetime_s", "endings"), [(LIFETIME_S, ["timeout"]), (600.0, [])])
def test_a_predictor_that_was_killed_at_its_deadline_timed_out_before_it_is_dead(
    lifetime_s: float, endings: list[str], tmp_path: Path
) -> None:
    """A judge that gives up while it dies would else count as failed infrastructure, and the model be asked again."""
    spec = ContainerSpec("agent:1", "predict", "r")
    predictors = Predictors(DyingSandbox(DYING_S), spec, ["a", "b"], lifetime_s, tmp_path, on_failure=lambda: None)
    predictors.start()
    if endings:
        time.sleep(LIFETIME_S + 0.5)  # whatever else the machine does, it is past its deadline then, and not dead
    assert not predictors.endings
    predictors.stop()
    assert (predictors.endings, predictors.failure) == (endings, None)
