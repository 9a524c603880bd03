"""Runs started, stopped, resumed and confirmed on a played machine: what is checked, in which order, and what is kept."""

import json
import os
import shutil
import signal
import statistics
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from aira_bench.boards.board import build_tables
from aira_bench.boards.replicates import REFUSED_AGAIN
from aira_bench.boards.rows import RowStanding
from aira_bench.errors import (
    AskedInVain,
    EngineAway,
    MachineError,
    PrerequisiteError,
    RunStateError,
    SandboxError,
    UsageError,
)
from aira_bench.images.ensure import ImageSet
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.trust import read_confirmable, read_resumable
from aira_bench.runs.confirm import confirm
from aira_bench.runs.host import Host
from aira_bench.runs.launch import resume, start
from aira_bench.runs.resolve import RunRequest, resolve, trainings_of
from aira_bench.runs.session import Progress
from aira_bench.sandbox.sandbox import ContainerSpec
from aira_bench.tasks.task import find_task
from aira_bench.testing import Call, Done
from aira_bench.waiting import Stopped
from aira_bench.world import SystemWorld
from played_host import ProbedSandbox, facts, played_host, played_sandbox, request, score, solve

Tree = list[tuple[object, ...]]


def run(host: Host, asked: RunRequest, notes: list[str] | None = None) -> RunFolder:
    told = [] if notes is None else notes
    return start(host, resolve(asked, host.paths, host.world), told.append, lambda progress: None)


def go_on(host: Host, folder: RunFolder) -> RunFolder:
    record = read_resumable(folder, host.keys.ring(), trust_agent=False)
    return resume(host, record, lambda text: None, lambda progress: None)


def record_of(host: Host, folder: RunFolder) -> RunRecord:
    return read_run(folder, host.keys.ring(), "all")


def tree(host: Host, folder: RunFolder) -> dict[int, Tree]:
    """Nodes by seed, without times and attempts."""
    return {
        seed.seed: [(n.step, n.operator, n.parents, n.step_class, n.fitness, n.canonical) for n in seed.nodes]
        for seed in record_of(host, folder).seeds
    }


def test_a_run_leaves_a_signed_record_that_says_what_it_stood_on(tmp_path: Path) -> None:
    sandbox, notes = played_sandbox(), list[str]()
    host = played_host(tmp_path, sandbox)
    folder = run(host, request(seeds=(0, 3)), notes)
    record = record_of(host, folder)
    manifest = record.manifest
    assert set(record.signers) == {host.keys.ring().own}
    assert [len(seed.nodes) for seed in record.seeds] == [4, 4]
    assert manifest.images == {"agent": "agent:1", "evaluator": "evaluator:1"}
    assert len(manifest.isolation) > 60
    assert all(manifest.isolation.values())
    assert (manifest.isolation_word, manifest.hardware_class) == ("shared", "test")
    assert (manifest.prompts, manifest.card, manifest.agent_file_sha256) == ({}, None, None)
    assert notes[-1] == "probing the sandbox", "the last thing before the first step"
    assert sandbox.containers == set(), "every container is closed"
    assert sandbox.swept.count(manifest.run_id) == 2, "before the first step, and after the last"


def test_an_open_wall_is_named_and_nothing_has_begun(tmp_path: Path) -> None:
    def leaky(call: Call) -> Done:
        seen = facts()
        seen["syscalls"]["ptrace"] = seen["syscalls"]["kcmp"] = "allowed"
        return (
            Done({"witness.json": json.dumps(seen).encode()}) if "witness.py" in call.files else Done(ended="timeout")
        )

    host = played_host(tmp_path, played_sandbox(probe=leaky))
    with pytest.raises(PrerequisiteError, match=r"system call (kcmp|ptrace): seen allowed, expected .* \(and 1 more\)"):
        run(host, request())
    assert not host.paths.runs.exists()


def test_a_taken_name_is_refused_and_the_run_that_has_it_stays(tmp_path: Path) -> None:
    host = played_host(tmp_path, played_sandbox())
    folder = run(host, request())
    before, notes, calls = tree(host, folder), list[str](), host.sandbox.calls  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="exists in"):
        run(host, request(), notes)
    assert tree(host, folder) == before
    assert (notes, host.sandbox.calls) == ([], calls), "before images, data and a model's trial are paid for"  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["../x", ".hidden", "", "a" * 101, "a/b", "a\nb"])
def test_a_name_that_no_run_can_have_is_refused_before_anything_is_made(tmp_path: Path, name: str) -> None:
    sandbox, notes = played_sandbox(), list[str]()
    host = played_host(tmp_path, sandbox)
    asked = resolve(request(), host.paths, host.world)
    odd = replace(asked, plan=asked.plan.model_copy(update={"name": name}))
    with pytest.raises(UsageError, match="cannot name a run"):
        start(host, odd, notes.append, lambda progress: None)
    assert (notes, sandbox.calls) == ([], 0)


def failing_from(call: int) -> ProbedSandbox:
    """An engine whose agents' and judges' containers break from a call on."""
    sandbox = played_sandbox()
    sandbox.failure = AskedInVain("The engine is gone.", attempts=1)  # tried once: no pause between attempts
    sandbox.fails = lambda number, spec: spec.role in ("agent", "judge") and number >= call
    return sandbox


@pytest.mark.parametrize("call", [6, 9, 12])
def test_a_run_that_the_engine_broke_is_resumed_to_the_tree_of_a_whole_one(tmp_path: Path, call: int) -> None:
    whole = played_host(tmp_path / "whole", played_sandbox())
    expected = tree(whole, run(whole, request()))
    host = played_host(tmp_path / "broken", failing_from(call))
    with pytest.raises(SandboxError):
        run(host, request())
    folder = RunFolder(host.paths.runs / "run")
    assert 0 <= len(tree(host, folder)[0]) < 4
    well = played_host(tmp_path / "broken", played_sandbox())
    assert tree(well, go_on(well, folder)) == expected
    assert tree(well, go_on(well, folder)) == expected, "a finished run stays as it is"


def test_one_seed_that_fails_stops_the_others_and_sweeps(tmp_path: Path) -> None:
    begun = threading.Barrier(2, timeout=30)

    def program(call: Call) -> Done:
        begun.wait()  # both seeds run a step at the same time
        raise MemoryError("one of them breaks the process")

    sandbox = played_sandbox(agent=program)
    host = played_host(tmp_path, sandbox)
    with pytest.raises(MachineError):
        run(host, request(seeds=(0, 1), concurrency=2))
    assert sandbox.containers == set()
    assert [seed.nodes for seed in record_of(host, RunFolder(host.paths.runs / "run")).seeds] == [(), ()]


@dataclass
class UntidySandbox(ProbedSandbox):
    """An engine that removes nothing from its second sweep on: the first is before the slots are opened."""

    def sweep(self, run_id: str) -> int:
        super().sweep(run_id)
        if len(self.swept) > 1:
            raise SandboxError("169 containers and volumes could not be removed (aira-1, aira-2): busy.")
        return 0


@pytest.mark.parametrize("breaks", [False, True], ids=["a finished run", "a run that failed"])
def test_what_cannot_be_removed_spoils_neither_a_finished_run_nor_why_one_failed(tmp_path: Path, breaks: bool) -> None:
    played = failing_from(6) if breaks else played_sandbox()
    sandbox = UntidySandbox(played.programs, played.responders, fails=played.fails, failure=played.failure)
    host, notes = played_host(tmp_path, sandbox), list[str]()
    asked = resolve(request(), host.paths, host.world)
    if breaks:
        with pytest.raises(SandboxError, match="The engine is gone"):
            start(host, asked, notes.append, lambda progress: None)
    else:
        folder = start(host, asked, notes.append, lambda progress: None)
        assert len(tree(host, folder)[0]) == 4
    assert "left behind: 169 containers and volumes could not be removed (aira-1, aira-2): busy." in notes


def test_a_user_s_stop_is_a_stop_and_keeps_what_is_done(tmp_path: Path) -> None:
    def watch(progress: Progress) -> None:
        if (progress.step, progress.phase) == (2, "running the solution"):
            raise KeyboardInterrupt

    host = played_host(tmp_path, played_sandbox())
    asked = resolve(request(), host.paths, host.world)
    with pytest.raises(Stopped):
        start(host, asked, lambda text: None, watch)
    folder = RunFolder(host.paths.runs / "run")
    assert len(tree(host, folder)[0]) == 1
    assert len(tree(host, go_on(host, folder))[0]) == 4


@pytest.mark.parametrize(
    ("images", "word", "message"),
    [
        (ImageSet("agent:1", "evaluator:2"), "own trees", "the (task data|images) changed since it began"),
        (ImageSet("agent:2", "evaluator:1"), "own trees", "the images changed since it began"),
        (ImageSet("agent:1", "evaluator:1"), "shared", "had isolation 'own trees' when it began"),
    ],
)
def test_a_run_goes_on_only_on_the_ground_it_began_on(
    tmp_path: Path, images: ImageSet, word: str, message: str
) -> None:
    """And its agent, which may be code in the run folder, is not even made before that is certain."""
    marks = tmp_path / "marks.txt"
    agent = tmp_path / "agent.py"
    agent.write_text(
        f"open({str(marks)!r}, 'a').write('made ')\n"
        "def answer(request):\n"
        "    return '```python\\nARCHITECTURE = \"' + ','.join(['M', 'mA'] * 8) + '\"\\n```'\n"
    )
    sandbox = played_sandbox()
    sandbox.word = "own trees"
    host = played_host(tmp_path, sandbox)
    folder = run(host, request(agent=f"script:{agent}", steps=2, scaffold="one-shot"))
    assert marks.read_text() == "made ", "once, though it is named twice: in the request and in the plan"
    assert folder.agent_file.read_bytes() == agent.read_bytes()
    elsewhere = played_sandbox()
    elsewhere.word = word
    with pytest.raises(RunStateError, match=message):
        go_on(played_host(tmp_path, elsewhere, images), folder)
    assert marks.read_text() == "made "
    go_on(host, folder)
    assert marks.read_text() == "made made "


def judged_by(sandbox: ProbedSandbox) -> list[tuple[str, int]]:
    """Filled with the seed set and the training of every request that a judge gets from now on."""
    asked: list[tuple[str, int]] = []
    seed_sets: list[str] = []

    def made(number: int, spec: ContainerSpec) -> bool:
        if spec.role == "judge":
            seed_sets.append(spec.environment["AIRA_SEED_SET"])
        return False

    def judge(request: bytes) -> bytes:
        asked.append((seed_sets[-1], json.loads(request)["training"]))
        return score(request)

    sandbox.fails, sandbox.responders = made, {"judge": judge}
    return asked


def trainings(host: Host, folder: RunFolder) -> list[list[float]]:
    """Of each seed what the trainings of its submission came to."""
    return [
        [each.test for found in seed.confirmations.scores.values() for each in found]
        for seed in record_of(host, folder).seeds
    ]


def test_a_run_trains_what_it_submitted_again_at_its_end(tmp_path: Path) -> None:
    sandbox, notes = played_sandbox(), list[str]()
    host = played_host(tmp_path, sandbox)
    asked = judged_by(sandbox)
    folder = run(host, request(seeds=(0, 1), steps=2, confirm=True), notes)
    assert {number for seed_set, number in asked if seed_set == "search"} == {0}
    assert sorted(each for each in asked if each[0] == "final") == sorted([("final", n) for n in (0, 1, 2)] * 2)
    found = trainings(host, folder)
    assert [len(set(each)) for each in found] == [3, 3], "each from a seed of its own"
    record = record_of(host, folder)
    for seed in record.seeds:
        assert seed.submitted is not None
        step = seed.submitted.step
        places = [seed.folder.confirmation(step, number) for number in range(3)]
        assert all((place / "report.json").is_file() for place in places)
        assert [place.name for place in places] == [f"{step:04d}", f"{step:04d}-1", f"{step:04d}-2"]
    assert sandbox.containers == set()
    count = len(asked)
    go_on(host, folder)
    confirm(host, read_confirmable(folder, host.keys.ring()), notes.append)
    assert len(asked) == count, "nothing is left to do"
    (table,) = build_tables([folder], host.keys.ring())
    assert table.ordered == table.rows
    assert table.rows[0].confirmed is not None
    assert table.rows[0].confirmed.mean == pytest.approx(statistics.fmean(map(statistics.fmean, found)))


def test_a_run_that_is_not_to_confirm_itself_ends_with_its_search(tmp_path: Path) -> None:
    sandbox = played_sandbox()
    host = played_host(tmp_path, sandbox)
    asked = judged_by(sandbox)
    folder = run(host, request(seeds=(0, 1), confirm=False))
    assert {seed_set for seed_set, _ in asked} == {"search"}
    go_on(host, folder)
    assert {seed_set for seed_set, _ in asked} == {"search"}, "nor does a resume"
    confirm(host, read_confirmable(folder, host.keys.ring()), lambda text: None)
    assert [len(each) for each in trainings(host, folder)] == [3, 3]


def test_a_run_that_failed_while_it_confirmed_itself_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    sandbox = played_sandbox()
    host = played_host(tmp_path, sandbox)
    folder = RunFolder(host.paths.runs / "run")
    sandbox.responders = {"judge": lambda asked: b"{}" if json.loads(asked)["training"] == 2 else score(asked)}
    with pytest.raises(SandboxError, match="answer is broken"):
        run(host, request(seeds=(0,), confirm=True))
    assert [len(each) for each in trainings(host, folder)] == [2]
    assert record_of(host, folder).closed, "the search is over, and its end recorded"
    asked = judged_by(sandbox)
    go_on(host, folder)
    assert asked == [("final", 2)]
    assert [len(each) for each in trainings(host, folder)] == [3]


def test_a_training_that_is_refused_is_recorded_and_its_submission_counts_as_none(tmp_path: Path) -> None:
    sandbox = played_sandbox()
    host = played_host(tmp_path, sandbox)

    def judge(asked: bytes) -> bytes:
        answer = json.loads(score(asked))
        if json.loads(asked)["training"] == 1:
            answer |= {"status": 2, "stderr": "evaluate: error: no more", "report": None}
        return json.dumps(answer).encode()

    sandbox.responders = {"judge": judge}
    notes: list[str] = []
    folder = run(host, request(confirm=True, concurrency=1), notes)
    (seed,) = record_of(host, folder).seeds
    assert seed.submitted is not None
    assert seed.confirmations.refused == {seed.submitted.step: ("no more",)}
    assert any(note.endswith("training 2 of 3: refused: no more") for note in notes)
    lines = (seed.folder.path / "hidden" / "confirmed.jsonl").read_text().splitlines()
    assert sum('"event":"confirmation_refused"' in line for line in lines) == 1
    (table,) = build_tables([folder], host.keys.ring())
    row = table.rows[0]
    assert (row.standing, row.confirmed, row.valid_submission_rate) == (RowStanding.CONFIRMED, None, 0.0)
    assert row.results[0].unranked == (REFUSED_AGAIN,)
    asked = judged_by(sandbox)
    confirm(host, read_confirmable(folder, host.keys.ring()), notes.append)
    assert asked == [], "it is not tried until it is taken"


def test_a_task_with_one_set_of_hidden_data_has_nothing_to_confirm(tmp_path: Path) -> None:
    metadata = (find_task("mad-2p").folder / "metadata.yaml").read_text()
    folder = tmp_path / find_task("mad-2p").name
    shutil.copytree(find_task("mad-2p").folder, folder)
    (folder / "metadata.yaml").write_text(metadata.replace("hidden_validation: true", "hidden_validation: false"))
    assert trainings_of(find_task(str(folder)), "cpu") == 0
    assert trainings_of(find_task("mad-2p"), "cpu") == 3


def test_a_confirmation_is_tried_three_times_and_keeps_what_the_attempts_left(tmp_path: Path) -> None:
    sandbox = played_sandbox()
    host = played_host(tmp_path, sandbox)
    folder = run(host, request(concurrency=1))  # attempts of one training after the other
    sandbox.fails = lambda number, spec: spec.role == "judge"
    notes: list[str] = []
    with pytest.raises(SandboxError, match="The engine broke"):
        confirm(host, read_confirmable(folder, host.keys.ring()), notes.append)
    assert [note.partition(":")[0] for note in notes[-3:]] == [
        f"infrastructure failed, attempt {number} of 3" for number in (1, 2, 3)
    ]
    kept, *_ = sorted((folder.path / "seeds" / "0" / "hidden" / "confirmed").iterdir())
    assert sorted(path.name for path in kept.iterdir()) == ["attempt_1", "attempt_2", "attempt_3"]
    sandbox.fails = lambda number, spec: False
    confirm(host, read_confirmable(folder, host.keys.ring()), notes.append)
    assert [len(each) for each in trainings(host, folder)] == [3]


def test_a_confirmation_that_waits_for_the_engine_hears_ctrl_c(tmp_path: Path) -> None:
    sandbox = played_sandbox()
    host = played_host(tmp_path, sandbox)
    folder = run(host, request())
    sandbox.failure, said = EngineAway("Nobody answers."), list[str]()

    def interrupted(text: str) -> None:
        if "next try" in text:
            said.append(text)
            if len(said) == 1:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    sandbox.fails = lambda number, spec: spec.role == "judge" and len(said) < 3
    with pytest.raises(KeyboardInterrupt):
        confirm(host, read_confirmable(folder, host.keys.ring()), interrupted)
    assert len(said) == 1, "what waits is not tried again"


def test_an_artifact_that_was_replaced_is_not_confirmed(tmp_path: Path) -> None:
    host = played_host(tmp_path, played_sandbox())
    folder = run(host, request())
    record = read_confirmable(folder, host.keys.ring())
    submitted = record.seeds[0].submitted
    assert submitted is not None
    path = folder.seed(0).node(submitted.step) / "submission.csv"
    path.write_bytes(solve(Call(None, (), {"solution.py": b"ARCHITECTURE = " + b",".join([b"M"] * 16)}, 1)).files["submission.csv"])  # type: ignore[arg-type]  # fmt: skip
    with pytest.raises(RunStateError, match="was replaced"):
        confirm(host, record, lambda text: None)


def test_what_another_process_did_after_the_record_was_read_is_not_done_again(tmp_path: Path) -> None:
    """Two people confirm, or resume, one run: whoever comes to the lock second has read what is no longer so."""
    host = played_host(tmp_path, played_sandbox())
    folder = run(host, request())
    record = read_confirmable(folder, host.keys.ring())
    confirm(host, record, lambda text: None)
    for again in (lambda: confirm(host, record, print), lambda: resume(host, record, print, lambda progress: None)):
        with pytest.raises(RunStateError, match="went on in another process meanwhile"):
            again()
    assert [len(each) for each in trainings(host, folder)] == [3], "a second line would make the file unreadable"


def test_a_resume_that_finds_another_process_at_work_touches_nothing(tmp_path: Path) -> None:
    host = played_host(tmp_path, played_sandbox())
    folder = run(host, request())
    record = read_resumable(folder, host.keys.ring(), trust_agent=False)
    in_flight = folder.seed(0).calls(5)
    in_flight.mkdir(parents=True)
    (in_flight / "call_000.json").touch()
    (folder.path / "compiled").mkdir()
    lock = folder.lock()
    with pytest.raises(RunStateError, match="being worked on"):
        resume(host, record, print, lambda progress: None)
    os.close(lock)
    assert (folder.path / "compiled").exists()
    assert [path.name for path in in_flight.iterdir()] == ["call_000.json"]


class Nameless(SystemWorld):
    """A machine that dies when a manifest asks for its name."""

    def host_name(self) -> str:
        raise ZeroDivisionError


def test_a_start_that_dies_before_its_manifest_leaves_no_run(tmp_path: Path) -> None:
    host = played_host(tmp_path, played_sandbox())
    with pytest.raises(ZeroDivisionError):
        run(replace(host, world=Nameless()), request())
    assert list(host.paths.runs.iterdir()) == []
    assert record_of(host, run(host, request())).closed


def test_submissions_are_confirmed_in_all_slots_at_once(tmp_path: Path) -> None:
    """Each judge answers when both have been asked; one after the other they would wait for ever."""
    sandbox = played_sandbox()
    host = played_host(tmp_path, sandbox)
    folder = run(host, request(seeds=(0, 1), concurrency=2))
    together = threading.Barrier(2, timeout=20)

    def judge(asked: bytes) -> bytes:
        together.wait()
        return score(asked)

    sandbox.responders = {"judge": judge}
    confirm(host, read_confirmable(folder, host.keys.ring()), lambda text: None)
    assert [len(each) for each in trainings(host, folder)] == [3, 3]


def test_the_cores_of_a_step_are_recorded_and_are_those_it_has(tmp_path: Path) -> None:
    """They follow from all GPUs of the machine, of which the record of a run names its own alone."""
    host = played_host(tmp_path, played_sandbox())
    record = record_of(host, run(host, request()))
    told = record.manifest.hardware["cores_a_step"]
    assert {node.cores for node in record.seeds[0].nodes} == {told}
