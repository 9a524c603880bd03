"""Whether a stranger's run may be worked on: whose code it would run, and where what is written to it would land."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from aira_bench.errors import RunStateError
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import read_run
from aira_bench.record.trust import (
    read_confirmable,
    read_resumable,
    require_known_search,
    require_known_task,
    require_plain,
)
from generated_runs import manifest, write_run

KEY, OTHER = MachineKey(b"1" * 32), MachineKey(b"2" * 32)
RING = KeyRing(KEY.public)
TRUSTING = KeyRing(KEY.public, (OTHER.public,))


def run_of(runs: Path, key: MachineKey | None, **plan: object) -> RunFolder:
    record = manifest("a", seeds=(0,), steps=2)
    return write_run(
        runs, record.model_copy(update={"plan": record.plan.model_copy(update=plan)}), invalid_share=0.0, key=key
    )


def refused(work: Callable[[], object]) -> RunStateError:
    with pytest.raises(RunStateError) as caught:
        work()
    assert "\n" not in caught.value.message
    return caught.value


def test_what_this_machine_or_a_trusted_one_signed_goes_on(tmp_path: Path) -> None:
    assert read_resumable(run_of(tmp_path / "mine", KEY), RING, trust_agent=False).closed
    assert read_resumable(run_of(tmp_path / "theirs", OTHER), TRUSTING, trust_agent=False).closed


def test_what_a_stranger_signed_names_the_key_to_trust(tmp_path: Path) -> None:
    run = run_of(tmp_path, OTHER)
    for trust_agent in (False, True):
        error = refused(lambda: read_resumable(run, RING, trust_agent=trust_agent))  # noqa: B023
        assert "that key owner's" in error.message
        assert error.hint == f"aira-bench key trust {OTHER.public}"


def test_what_nobody_signed_goes_on_if_the_user_says_so(tmp_path: Path) -> None:
    run = run_of(tmp_path, None)
    error = refused(lambda: read_resumable(run, RING, trust_agent=False))
    assert error.hint == f"aira-bench resume a --trust-agent --runs {run.path.parent}"
    assert read_resumable(run, RING, trust_agent=True).signers == (None,)


FOLDERS: dict[str, tuple[dict[str, object], str]] = {
    "task": ({"task": "/home/stranger/Task"}, "its task is the folder /home/stranger/Task"),
    "relative task": ({"task": "./Task"}, "its task is the folder ./Task"),
    "data": ({"source": "/home/stranger/raw"}, "its data comes from the folder /home/stranger/raw"),
    "evaluator": ({"evaluator": "theirs.judge:Judge"}, "its evaluator is theirs.judge:Judge"),
    "task class": ({"task": "theirs.tasks:TASK"}, "its task is theirs.tasks:TASK"),
}


@pytest.mark.parametrize(("plan", "said"), FOLDERS.values(), ids=list(FOLDERS))
@pytest.mark.parametrize("key", [OTHER, None], ids=["stranger", "unsigned"])
def test_a_strangers_run_chooses_no_folder_and_no_code(
    tmp_path: Path, plan: dict[str, object], said: str, key: MachineKey | None
) -> None:
    run = run_of(tmp_path, key, **plan)
    assert said in refused(lambda: read_confirmable(run, RING)).message
    assert said in refused(lambda: require_known_search(read_run(run, RING), RING)).message


@pytest.mark.parametrize("plan", [plan for plan, _ in FOLDERS.values()], ids=list(FOLDERS))
def test_ones_own_run_may(tmp_path: Path, plan: dict[str, object]) -> None:
    assert read_confirmable(run_of(tmp_path, KEY, **plan), RING).name == "a"


@pytest.mark.parametrize("source", [None, "synthetic"])
def test_a_strangers_run_of_a_task_of_ours_on_its_own_data_may_be_confirmed(tmp_path: Path, source: str | None) -> None:
    assert read_confirmable(run_of(tmp_path, OTHER, source=source), RING).name == "a"


def test_a_strangers_scaffold_is_for_the_search_alone_to_refuse(tmp_path: Path) -> None:
    record = read_run(run_of(tmp_path, OTHER, scaffold="theirs.search:Policy"), RING)
    require_known_task(record, RING)
    error = refused(lambda: require_known_search(record, RING))
    assert "its scaffold is theirs.search:Policy" in error.message
    assert error.hint == f"aira-bench key trust {OTHER.public}"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "place",
    [os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), lambda path: path.symlink_to(path.parent)],
    ids=["pipe", "link to a file", "link to a folder"],
)
@pytest.mark.parametrize("where", ["stray", "seeds/stray", "seeds/0/nodes/0001/stray"])
def test_a_run_that_holds_more_than_files_and_folders_is_not_worked_on(
    tmp_path: Path, place: Callable[[Path], object], where: str
) -> None:
    run = run_of(tmp_path, None)
    (run.path / where).parent.mkdir(parents=True, exist_ok=True)
    require_plain(run)
    place(run.path / where)
    error = refused(lambda: require_plain(run))
    assert "which no run has" in error.message
    assert "which no run has" in refused(lambda: read_resumable(run, RING, trust_agent=True)).message


@pytest.mark.parametrize(
    ("where", "is_let_be"),
    [
        ("leases/logs/.submission_file_0123456789abcdef0123456789abcdef.sh", True),
        ("leases/logs/worker-0.log", False),
        ("leases/.submission_file_0123456789abcdef0123456789abcdef.sh", False),
        ("seeds/leases/logs/.submission_file_0123456789abcdef0123456789abcdef.sh", False),
    ],
)
def test_the_link_that_submitit_leaves_of_workers_on_slurm_is_let_be(
    tmp_path: Path, where: str, *, is_let_be: bool
) -> None:
    run = run_of(tmp_path, KEY)
    (run.path / where).parent.mkdir(parents=True, exist_ok=True)
    (run.path / where).symlink_to(tmp_path / "1_submission.sh")
    if is_let_be:
        assert read_resumable(run, RING, trust_agent=False).closed
        assert read_confirmable(run, RING).closed
    else:
        assert "which no run has" in refused(lambda: read_resumable(run, RING, trust_agent=False)).message


def test_a_run_that_is_gone_is_named(tmp_path: Path) -> None:
    run = run_of(tmp_path, KEY)
    shutil.rmtree(run.path)
    assert "Run a: " in refused(lambda: read_resumable(run, RING, trust_agent=True)).message
