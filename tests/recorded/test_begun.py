"""A run that an earlier commit began, signed and left in its third step goes on, to the end that commit would have come to.

The engine is the in-process one of the loop's tests, as it was then; so this is about what is on disk. A run in containers
is refused in one line where task, data or images changed (`aira_bench.runs.host`), as a change of the evaluator does.
"""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.errors import RunStateError
from aira_bench.files import write_atomically
from aira_bench.hardware import Hardware
from aira_bench.keys import KeyRing
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import read_run
from aira_bench.record.sealing import Keeper
from aira_bench.record.seen_chains import Witness
from aira_bench.record.trust import read_resumable
from aira_bench.runs.launch import resume
from aira_bench.runs.loop import run_seed
from generated_runs import LONG_AGO
from played_host import played_host, played_sandbox
from recorded.shown import HERE, SCRIPTS_KEY
from runs.test_loop import engine, session

RING = KeyRing(SCRIPTS_KEY.public)
THEN = (
    "1 draft () valid 0.8735 M,M,M,mA,M,mA,M,M,M,M,M,M,mA,M,mA,M",
    "2 draft () valid 0.0734 mA,M,M,M,mA,M,M,mA,M,mA,M,mA,mA,mA,M,mA",
    "3 draft () valid 0.4325 mA,M,M,mA,M,mA,mA,M,M,M,mA,M,mA,M,M,mA",
    "4 draft () valid 0.4569 M,M,M,M,mA,mA,mA,mA,M,mA,mA,mA,M,M,M,mA",
    "5 draft () valid 0.4629 mA,mA,mA,M,mA,M,mA,mA,mA,mA,M,mA,mA,M,mA,mA",
    "6 improve (1,) valid 0.3593 M,mA,M,mA,M,M,M,M,M,M,M,M,mA,M,mA,M",
)
"""What commit d75be7b made of the same search undisturbed."""


@pytest.fixture
def begun(tmp_path: Path) -> RunFolder:
    shutil.copytree(HERE / "begun", tmp_path / "runs" / "begun")
    return RunFolder(tmp_path / "runs" / "begun")


def go_on(folder: RunFolder, tmp_path: Path) -> None:
    record = read_resumable(folder, RING, trust_agent=False)
    keeper = Keeper(
        folder, SCRIPTS_KEY, record.manifest.run_id, record.manifest_sha256, lambda: LONG_AGO, Witness(None)
    )
    active = replace(session(tmp_path, engine(), cache=False), plan=record.manifest.plan, keeper=keeper)
    run_seed(active, folder.seed(0), 0)
    active.slots.close()
    keeper.close(record.manifest.plan.seeds)


def rows(folder: RunFolder) -> list[str]:
    nodes = read_run(folder, RING, "all").seed(0).nodes
    return [f"{n.step} {n.operator} {n.parents} {n.step_class} {n.fitness} {n.canonical}" for n in nodes]


def test_a_run_begun_before_goes_on_to_the_end_it_would_have_come_to(begun: RunFolder, tmp_path: Path) -> None:
    assert rows(begun) == list(THEN[:2])
    before = begun.seed(0).journal.read_bytes()
    go_on(begun, tmp_path)
    assert rows(begun) == list(THEN)
    record = read_run(begun, RING, "all")
    assert record.closed
    assert record.signers == (SCRIPTS_KEY.public,)
    assert record.seed(0).restarts == 1
    assert begun.seed(0).journal.read_bytes().startswith(before), "what was recorded is not written anew"


def test_where_the_task_changed_since_it_says_why_in_one_line(begun: RunFolder, tmp_path: Path) -> None:
    """`aira-bench resume` itself, on a machine that has the run's key: what is tried is the ground it stands on."""
    host = replace(played_host(tmp_path, played_sandbox()), hardware=Hardware("test processor", 2, 1024, ()))
    write_atomically(host.keys.path / "machine.key", f"{SCRIPTS_KEY.secret.hex()}\n".encode(), mode=0o600)
    record = read_resumable(begun, host.keys.ring(), trust_agent=False)
    with pytest.raises(RunStateError, match="Run begun would go on with what it did not begin with: aira-bench 0 then"):
        resume(host, record, lambda text: None, lambda progress: None)
    with pytest.raises(RunStateError) as caught:
        resume(host, record, lambda text: None, lambda progress: None, accept_changes=True)
    assert caught.value.message.startswith("Run begun cannot go on: the task folder changed since it began (aaaa")
    assert len(caught.value.message.splitlines()) == 1
    assert caught.value.hint == "aira-bench run --agent evolution --task mad-2p --profile cpu"
    assert rows(begun) == list(THEN[:2]), "nothing was taken, and nothing is lost"


def test_a_run_begun_before_is_guarded_like_any_other(begun: RunFolder, tmp_path: Path) -> None:
    (begun.seed(0).node(1) / "submission.csv").write_text("architecture\n" + "M" * 16 + "\n")
    with pytest.raises(RunStateError, match=r"seed 0: step 1: nodes/0001/submission\.csv: it was replaced"):
        go_on(begun, tmp_path)


def test_the_recorded_files_are_as_they_were_committed() -> None:
    """What later versions must read is of no use once it is written by them."""
    found = hashlib.sha256()
    names = ("begun", "scripts", "greedy-mad-2p", "unwatched", "unclaimed", "uncurved")
    for path in sorted(path for name in names for path in (HERE / name).rglob("*")):
        if path.is_file():
            found.update(f"{path.relative_to(HERE)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    assert found.hexdigest() == "9ae9fb6b7bd90217031cc99b28d836c016a9ab577b9204f7e46962b9ba57bbcc"
