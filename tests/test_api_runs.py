"""Whole runs from Python, with an engine in memory: `run`, `resume`, and extensions in a run."""

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

import aira_bench
from aira_bench.errors import PrerequisiteError
from aira_bench.record.folder import RunFolder
from aira_bench.runs.host import Host
from aira_bench.runs.session import Progress
from aira_bench.testing import Call, Done
from aira_bench.view.index import RunIndex
from played_host import played_host, played_sandbox

FOLDERS = Path(__file__).parent / "folders"
TASK = str(FOLDERS / "ParityClassificationAccuracy")
MARKER = "--- EVALUATION RESULT ---"


def solve(call: Call) -> Done:
    """Submits a number that grows with the length of the solution, and claims it."""
    value = len(call.files["solution.py"]) % 100 / 100
    claim = json.dumps({"metric": "Accuracy", "value": value}).encode()
    return Done({"submission.csv": f"label\n{value}\n".encode(), "validation.json": claim})


def judge(call: Call) -> Done:
    submitted = call.files["data/submission.csv"].decode().split()[1]
    return Done(stdout=f'{MARKER}\n{{"Accuracy": {submitted}}}\n'.encode())


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A machine whose containers are functions; its folders are the test's own."""
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    (tmp_path / "raw" / "Example" / "parity" / "default").mkdir(parents=True)
    return played_host(tmp_path, played_sandbox(agent=solve, judge=judge))


AGENT = """
    from aira_bench.protocols import Proposal, UnlookingAgent

    class Growing(UnlookingAgent):
        name = "growing"
        default_scaffold = "greedy"

        def propose(self, brief, situation):
            return Proposal("#" * (10 + situation.step * 10 + situation.rng.randrange(5)), "More of it.")
"""


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., aira_bench.RunRequest]:
    """Makes requests for the parity task with an agent of the user's own, in a file."""
    (tmp_path / "mine.py").write_text(dedent(AGENT))

    def make(**changes: object) -> aira_bench.RunRequest:
        values: dict[str, object] = {
            "agent": f"{tmp_path}/mine.py:Growing", "task": TASK, "profile": "cpu", "steps": 4, "fitness": "claimed",
            "source": str(tmp_path / "raw"), "name": "mine",
        }  # fmt: skip
        return aira_bench.RunRequest(**(values | changes))  # type: ignore[arg-type]

    return make


Make = Callable[..., aira_bench.RunRequest]


def fitness(done: aira_bench.FinishedRun) -> list[tuple[int, str, float | None]]:
    return [(node.step, node.operator, node.fitness) for seed in done.record.seeds for node in seed.nodes]


def test_a_run_comes_back_whole_and_says_nothing(
    host: Host, request_of: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    seen: list[Progress] = []
    done = aira_bench.run(request_of(seeds=(0, 1)), host, note=told.append, watch=seen.append)
    assert capfd.readouterr() == ("", "")
    assert any("probing the sandbox" in line for line in told)
    assert {(each.seed, each.step) for each in seen if each.phase == "finished a step"} == {
        (seed, step) for seed in (0, 1) for step in (1, 2, 3, 4)
    }
    assert done.path == host.paths.runs / "mine"
    assert [seed.seed for seed in done.record.seeds] == [0, 1]
    for seed in done.record.seeds:
        assert len(seed.nodes) == 4
        assert seed.submitted is not None
        assert seed.scores[seed.submitted.step].test == max(score.test for score in seed.scores.values())
    (row,) = done.board.rows
    assert row.test is not None
    assert row.test.count == 2
    assert done.record == aira_bench.read_run("mine")
    assert aira_bench.leaderboard().tables == (done.board,)
    assert not host.sandbox.containers  # type: ignore[attr-defined]
    index = RunIndex(host.paths.runs, host.paths.home, host.keys)
    assert index.known_summary(RunFolder(done.path)) is not None, "whoever looks at it waits for nothing"
    with pytest.raises(aira_bench.AiraError, match="A run named 'mine' exists"):
        aira_bench.run(request_of(), host)


def test_a_run_that_is_stopped_goes_on_to_the_same_tree(host: Host, request_of: Make) -> None:
    whole = aira_bench.run(request_of(name="whole"), host)
    main = threading.main_thread().ident
    assert main is not None

    def stop_at_the_third(progress: Progress) -> None:
        if progress.step == 3 and progress.phase == "running the solution":
            signal.pthread_kill(main, signal.SIGINT)
            threading.Event().wait(0.5)

    with pytest.raises(KeyboardInterrupt):
        aira_bench.run(request_of(), host, watch=stop_at_the_third)
    (seed,) = aira_bench.read_run("mine").seeds
    assert (len(seed.nodes), seed.ended) == (2, None)
    done = aira_bench.resume("mine", host)
    assert fitness(done) == fitness(whole)
    assert fitness(aira_bench.resume(done.path, host)) == fitness(whole), "one that has ended stays as it is"


def test_a_run_does_not_go_on_with_an_agent_that_was_changed(host: Host, request_of: Make, tmp_path: Path) -> None:
    aira_bench.run(request_of(), host)
    (tmp_path / "mine.py").write_text(dedent(AGENT) + "# changed\n")
    with pytest.raises(aira_bench.AiraError, match="its agent changed since it began"):
        aira_bench.resume("mine", host)


def test_an_agent_that_fails_ends_the_run_in_a_line_and_leaves_nothing_running(
    host: Host, request_of: Make, tmp_path: Path
) -> None:
    failing = dedent(AGENT).replace("return Proposal", "1 / (3 - situation.step)\n        return Proposal")
    (tmp_path / "failing.py").write_text(failing)
    with pytest.raises(PrerequisiteError, match=r"Growing failed with ZeroDivisionError: .*failing\.py, line \d+"):
        aira_bench.run(request_of(agent=f"{tmp_path}/failing.py:Growing"), host)
    assert not host.sandbox.containers  # type: ignore[attr-defined]
    (seed,) = aira_bench.read_run("mine").seeds
    assert [node.step_class for node in seed.nodes] == ["valid", "valid"]


EVALUATOR = """
    from dataclasses import replace
    from aira_bench.protocols import Refused, Scored

    class Halving:
        def __init__(self, usual, setting):
            self.inner, self.task = usual(), setting.task.name

        def evaluate(self, submission, *, deadline, destination):
            verdict = self.inner.evaluate(submission, deadline=deadline, destination=destination)
            return replace(verdict, test=verdict.test / 2) if isinstance(verdict, Scored) else verdict

        def close(self):
            self.inner.close()
"""


def test_an_evaluator_of_one_s_own_shares_neither_cache_nor_board(host: Host, request_of: Make, tmp_path: Path) -> None:
    (tmp_path / "halving.py").write_text(dedent(EVALUATOR))
    usual = aira_bench.run(request_of(name="usual"), host)
    halved = aira_bench.run(request_of(name="halved", evaluator=f"{tmp_path}/halving.py:Halving"), host)
    for one, other in zip(usual.record.seeds[0].scores.values(), halved.record.seeds[0].scores.values(), strict=True):
        assert other.test == one.test / 2
        assert not other.cached
    assert usual.board.section.evaluator == "csv 1, cpu 1"
    assert halved.board.section.evaluator.startswith("evaluator:1 by halving.py:Halving ")
    assert len(aira_bench.leaderboard().tables) == 2
    again = aira_bench.run(request_of(name="again", evaluator=f"{tmp_path}/halving.py:Halving"), host)
    assert all(score.cached for score in again.record.seeds[0].scores.values())
    assert len(aira_bench.leaderboard().tables) == 2


def test_a_scaffold_of_one_s_own_is_asked_with_what_it_takes(host: Host, request_of: Make, tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text(
        "from aira_bench.protocols import Draft, Stop\n"
        "class Some:\n"
        "    def __init__(self, steps): self.half = steps // 2\n"
        "    def next(self, journal, rng): return Draft() if len(journal) < self.half else Stop()\n"
    )
    done = aira_bench.run(request_of(steps=6, scaffold=f"{tmp_path}/twice.py:Some"), host)
    assert [operator for _, operator, _ in fitness(done)] == ["draft"] * 3
    assert done.record.manifest.extensions["scaffold"].distribution is None
    assert done.board.rows[0].entry.scaffold.startswith("twice.py:Some [")
