"""A machine that is slow is neither open nor of a lesser kind: it says that it is busy, and is asked again."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from aira_bench.docker_engine import DockerEngine, EngineInfo, EngineWords, ImageDetails
from aira_bench.errors import EngineAway, PrerequisiteError, SandboxError
from aira_bench.runs.host import walls_of
from aira_bench.sandbox import probe
from aira_bench.sandbox.caretaker import Caretaker
from aira_bench.sandbox.ending import DEATH_TIMEOUT_S
from aira_bench.sandbox.sandbox import Busy, ContainerSpec, StepOutcome
from aira_bench.sandbox.trees import OwnTrees
from aira_bench.sandbox.walls import require_walls
from aira_bench.testing import InMemoryContainer
from played_host import ProbedContainer, ProbedSandbox, played_sandbox


class LateContainer(ProbedContainer):
    """One that is dead so many seconds after its deadline as its sandbox says next."""

    def run(self, *arguments: Any, **options: Any) -> StepOutcome:  # noqa: ANN401 - passed on as they are
        outcome = super().run(*arguments, **options)
        assert isinstance(self.sandbox, LateSandbox)
        if outcome.ended == "timeout":
            return replace(outcome, wall_s=options["timeout_s"] + next(self.sandbox.late_s))
        return outcome


@dataclass
class LateSandbox(ProbedSandbox):
    late_s: Iterator[float] = field(default_factory=lambda: iter(()))

    def prepare(self, spec: ContainerSpec) -> InMemoryContainer:
        super().prepare(spec).close()
        container = LateContainer(self, spec)
        self.containers.add(container)
        return container


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PAUSE_S", 0.0)


def late(*seconds: float) -> LateSandbox:
    return LateSandbox(played_sandbox().programs, late_s=iter(seconds))


@pytest.mark.parametrize("seconds", [[5.8, 0.1], [5.8, 9.0], [60.0, 60.0, 15.0], [900.0, 900.0, 900.0, 39.0]])
def test_a_slow_death_is_no_open_wall_and_is_asked_for_again(seconds: list[float]) -> None:
    checks = {check.name: check.ok for check in walls_of(late(*seconds), "image:1")}
    assert checks["deadline kills what ignores signals"]


def test_a_machine_that_stays_busy_says_that_it_is() -> None:
    with pytest.raises(Busy, match=r"dead after 300\.0 s, expected within 40 s\. The kill works; the machine is busy"):
        walls_of(late(*[300.0] * 4), "image:1")


def test_what_outlives_its_kill_is_an_open_wall() -> None:
    with pytest.raises(PrerequisiteError, match="deadline: deadline kills what ignores signals: seen timeout"):
        require_walls(walls_of(late(DEATH_TIMEOUT_S + 1), "image:1"), ["deadline"])


class PlayedCaretaker(Caretaker):
    """One whose container fails as it is told."""

    def __init__(self, failure: SandboxError) -> None:
        self.failure = failure

    def ask(self, *_: object, **__: object) -> dict[str, Any]:
        raise self.failure


class KnownImage:
    """An engine that knows one image, and nothing else."""

    words = EngineWords()

    def inspect_image(self, tag: str) -> Any:  # noqa: ANN401 - stands in for an engine

        return ImageDetails(("sha256:1",), {})

    def info(self) -> Any:  # noqa: ANN401 - stands in for an engine

        return EngineInfo("0", 1, "/", 1, 1, ())


@pytest.mark.parametrize("failure", [Busy("took over 60 s"), EngineAway("no answer")])
def test_a_busy_moment_does_not_leave_a_machine_with_weaker_walls(failure: SandboxError) -> None:
    """The search would go on with shared caches, and a resume on the idle machine be refused, or the reverse."""
    trees = OwnTrees(KnownImage(), PlayedCaretaker(failure))  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(type(failure)):
            trees.of_image("image:1")
    lacking = OwnTrees(KnownImage(), PlayedCaretaker(SandboxError("no erofs")))  # type: ignore[arg-type]
    assert lacking.of_image("image:1").reason == "no erofs"


@pytest.mark.docker
def test_a_caretaker_that_went_with_its_engine_is_replaced_at_once(engine: DockerEngine, image: str) -> None:
    caretaker = Caretaker(engine)
    try:
        caretaker.ask(image, {"do": "list"}, timeout_s=60)
        assert caretaker._container is not None
        engine.kill_container(caretaker._container._id)
        assert isinstance(caretaker.ask(image, {"do": "list"}, timeout_s=60), dict)
    finally:
        caretaker.close()
