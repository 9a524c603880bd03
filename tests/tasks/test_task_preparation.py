"""What preparation makes of a task's two scripts: both halves or nothing, recorded, readable, and never again."""

import json
import os
import shutil
import stat
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from aira_bench.errors import TaskError
from aira_bench.paths import HostPaths
from aira_bench.sandbox.hardening import TRUSTED_UID
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, Mount
from aira_bench.tasks.data_source import DataSource, RawData
from aira_bench.tasks.preparation import half_spec, prepare_task
from aira_bench.tasks.store import TaskData, hash_tree, task_data
from aira_bench.tasks.task import Task, find_task, load_task
from aira_bench.testing import Call, Done, InMemorySandbox
from aira_bench.world import SystemWorld
from aira_contract.containers import RAW
from host_sandbox import host_without_containers, run_here

PARITY = Path(__file__).parents[1] / "folders" / "ParityClassificationAccuracy"
PREPARE = """
    import argparse, os, pathlib
    parser = argparse.ArgumentParser()
    for name in ("global-shared-data-dir", "agent-data-mount-dir", "agent-log-dir"):
        parser.add_argument(f"--{name}", type=pathlib.Path)
    args = parser.parse_args()
    words = f"{os.environ['AIRA_PROFILE']} {os.environ['AIRA_DATA_SOURCE']}"
    (args.agent_data_mount_dir / "train.txt").write_text(words)
"""
HIDDEN = (
    PREPARE
    + """
    import shutil
    (args.agent_data_mount_dir / "labels").mkdir()
    (args.agent_data_mount_dir / "labels" / "test.txt").write_text("1 0 1")
    (args.agent_data_mount_dir / "labels").chmod(0o700)
    raw = [path.name for path in args.global_shared_data_dir.iterdir()]
    (args.agent_data_mount_dir / "raw.txt").write_text(" ".join(raw))
    for path in args.agent_log_dir.iterdir():
        shutil.copy(path, args.agent_data_mount_dir / path.name)
"""
)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return changed(tmp_path / "task")


def changed(place: Path, prepare: str = PREPARE, hidden: str = HIDDEN, timeout_s: float = 60.0) -> Task:
    """A task folder with these scripts."""
    folder = place / PARITY.name
    shutil.copytree(PARITY, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "prepare.py").write_text(textwrap.dedent(prepare))
    (folder / "evaluate_prepare.py").write_text(textwrap.dedent(hidden))
    values = yaml.safe_load((folder / "metadata.yaml").read_text())
    profile = load_task(PARITY).profile("cpu").model_dump() | {"prepare_timeout_s": timeout_s}
    values["aira"] = {"profiles": {"cpu": {name: value for name, value in profile.items() if value is not None}}}
    (folder / "metadata.yaml").write_text(yaml.safe_dump(values))
    return load_task(folder)


def prepare(
    task: Task, data: TaskData, source: DataSource | None = None, raw: RawData | None = None
) -> tuple[bool, list[str], list[str]]:
    _, sandbox, roles = host_without_containers(data.folder.parent)
    notes: list[str] = []
    made = prepare_task(
        task, "cpu", data, source=source or DataSource(),
        provide=lambda empty: raw or RawData((Mount(empty, RAW),)),
        sandbox=sandbox, image="evaluator:1", world=SystemWorld(), note=notes.append,
    )  # fmt: skip
    return made, notes, roles


@pytest.fixture
def data(tmp_path: Path) -> TaskData:
    return TaskData(tmp_path / "store" / "cpu-1")


def test_both_halves_are_made_once(task: Task, data: TaskData) -> None:
    assert not data.ready
    made, notes, roles = prepare(task, data)
    assert (made, notes, roles) == (
        True,
        ["running prepare.py", "running evaluate_prepare.py"],
        ["prepare"] * 3,
    ), "both scripts, and a look at what evaluate.py imports"
    assert (data.public / "train.txt").read_text() == "cpu public"
    assert (data.hidden / "labels" / "test.txt").read_text() == "1 0 1"
    assert data.ready
    assert prepare(task, data)[0] is False
    assert prepare(task, data)[2] == []


def test_what_was_made_is_recorded_last(task: Task, data: TaskData) -> None:
    raw = RawData((), {"a.txt": {"bytes": 3, "sha256": "abc"}})
    prepare(task, data, raw=RawData((Mount(PARITY, RAW),), raw.files))
    recorded = data.hashes()
    assert recorded == json.loads(data.marker.read_text())
    for half, folder in (("public", data.public), ("hidden", data.hidden)):
        assert (recorded[half]["sha256"], recorded[half]["bytes"]) == hash_tree(folder)
    assert recorded["files"] == raw.files
    assert data.marker.stat().st_mtime_ns >= max(path.stat().st_mtime_ns for path in data.hidden.rglob("*"))


def test_a_stand_in_is_marked_as_one(task: Task, data: TaskData) -> None:
    prepare(task, data, DataSource(synthetic=True))
    assert data.synthetic
    assert (data.public / "train.txt").read_text() == "cpu synthetic"


def test_the_empty_submission_does_not_stay(task: Task, data: TaskData) -> None:
    """`evaluate_prepare.py` copies a submission beside the labels, and at this time there is none."""
    prepare(task, data)
    assert sorted(path.name for path in data.hidden.iterdir()) == ["labels", "raw.txt", "train.txt"]
    assert task.metadata.aira.artifact.name == "submission.csv"


def test_scripts_see_the_raw_data_or_an_empty_folder(task: Task, data: TaskData, tmp_path: Path) -> None:
    prepare(task, data)
    assert (data.hidden / "raw.txt").read_text() == ""
    assert not (data.folder / "no-raw-data").exists()
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.csv").touch()
    prepare(task, TaskData(tmp_path / "store" / "cpu-2"), raw=RawData((Mount(tmp_path / "raw", RAW),)))
    assert (tmp_path / "store" / "cpu-2" / "hidden" / "raw.txt").read_text() == "a.csv"


def test_containers_can_read_what_was_made_and_nobody_else_enters(task: Task, data: TaskData) -> None:
    prepare(task, data)
    for folder in (data.task, data.public, data.hidden):
        for path in (folder, *folder.rglob("*")):
            wanted = 0o755 if path.is_dir() else 0o644
            assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    assert stat.S_IMODE(data.folder.stat().st_mode) == 0o700


def test_the_copy_of_the_task_is_the_task_without_caches(task: Task, data: TaskData) -> None:
    (task.folder / "__pycache__").mkdir()
    (task.folder / "__pycache__" / "prepare.pyc").touch()
    prepare(task, data)
    names = {path.name for path in data.task.rglob("*")}
    assert names == {path.name for path in task.folder.rglob("*")} - {"__pycache__", "prepare.pyc"}


def test_what_an_earlier_preparation_left_is_replaced_whole(task: Task, data: TaskData) -> None:
    data.public.mkdir(parents=True)
    (data.public / "old.txt").touch()
    prepare(task, data)
    assert [path.name for path in data.public.iterdir()] == ["train.txt"]


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("raise SystemExit('no such column: bits')", r"prepare\.py failed \(exit status 1\): no such column: bits"),
        ("import sys; sys.exit(7)", r"failed \(exit status 7\): no message"),
        ("import sys; print('first\\nlast', file=sys.stderr); sys.exit(2)", "exit status 2.*: last$"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_a_script_that_fails_leaves_nothing_and_says_why(
    tmp_path: Path, data: TaskData, script: str, told: str
) -> None:
    for half in ("prepare", "hidden"):
        with pytest.raises(TaskError, match=told) as caught:
            prepare(changed(tmp_path / half, **{half: script}), data)
        assert "\n" not in str(caught.value)
        assert list(data.folder.parent.iterdir()) == []


@pytest.mark.parametrize("missing", ["import no_such_module", "from json import no_such_name", "def ("])
def test_an_evaluation_that_cannot_begin_stops_preparation(task: Task, data: TaskData, missing: str) -> None:
    """It used to refuse every submission, gold too, and to tell the reason to a file."""
    script = task.folder / "evaluate.py"
    script.write_text(f"{missing}\n{script.read_text()}")
    with pytest.raises(
        TaskError, match=r"evaluate\.py cannot be run: (ModuleNotFound|Import|Syntax)Error.*metadata\.yaml"
    ):
        prepare(task, data)
    assert not data.folder.exists()


def test_an_evaluation_that_knows_no_help_is_let_be(task: Task, data: TaskData) -> None:
    (task.folder / "evaluate.py").write_text("import sys; sys.exit('usage: evaluate.py SUBMISSION')")
    assert prepare(task, data)[0]


def test_a_script_without_end_names_the_setting_that_ends_it(tmp_path: Path, data: TaskData) -> None:
    task = changed(tmp_path / "task", prepare="import time; time.sleep(60)", timeout_s=0.5)
    told = r"did not end within 0\.5 s; aira\.profiles\.cpu\.prepare_timeout_s in .*metadata\.yaml"
    with pytest.raises(TaskError, match=told):
        prepare(task, data)
    assert not data.folder.exists()


def test_a_script_that_was_killed_is_told_apart_from_one_that_failed(task: Task, data: TaskData) -> None:
    def killed(call: Call) -> Done:
        return replace(run_here(call), ended="out_of_memory", exit_code=137)

    with pytest.raises(TaskError, match=r"prepare\.py failed \(out of memory\)"):
        prepare_task(
            task, "cpu", data, source=DataSource(), provide=lambda empty: RawData((Mount(empty, RAW),)),
            sandbox=InMemorySandbox({"prepare": killed}), image="i", world=SystemWorld(), note=lambda text: None,
        )  # fmt: skip


def spec(task: Task, half: str, gpu: str | None = "GPU-7") -> ContainerSpec:
    raw = RawData((Mount(Path("/data"), RAW),))
    return half_spec(task, "cpu", Path("/staging"), half, DataSource(), raw, "evaluator:1", "id", gpu)


def test_a_container_may_write_its_own_half_and_nothing_else(task: Task) -> None:
    for half in ("public", "hidden"):
        mounts = spec(task, half).mounts
        assert [str(mount.source) for mount in mounts if mount.writable] == [f"/staging/{half}"]
        assert {str(mount.target) for mount in mounts} == {"/task", "/raw", "/output"}
        other = "hidden" if half == "public" else "public"
        assert not any(other in str(mount.source) for mount in mounts)
        assert spec(task, half).role == "prepare"
        assert spec(task, half).image == "evaluator:1"


def test_only_the_hidden_half_of_a_task_with_scripts_gets_a_gpu(task: Task) -> None:
    script = find_task("autoresearch")
    assert script.metadata.aira.artifact.kind == "script"
    lent = {half: half_limits(script, half).gpu_uuid for half in ("public", "hidden")}
    assert lent == {"public": None, "hidden": "GPU-7"}
    assert spec(task, "hidden").limits.gpu_uuid is None
    assert spec(task, "hidden").limits.memory_mib == task.profile("cpu").memory_mib


def half_limits(task: Task, half: str) -> Limits:
    return spec(task, half).limits


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_the_half_belongs_to_the_user_containers_run_as(tmp_path: Path, data: TaskData) -> None:
    owners = (
        "import os, pathlib, sys; out = pathlib.Path(sys.argv[4]); (out / 'owner').write_text(str(out.stat().st_uid))"
    )
    prepare(changed(tmp_path / "task", prepare=owners), data)
    assert (data.public / "owner").read_text() == str(TRUSTED_UID)


# The store ------------------------------------------------------------------------------------------------------------


def test_a_store_is_told_apart_by_task_profile_image_and_source(task: Task, tmp_path: Path) -> None:
    paths = HostPaths(tmp_path / "home", tmp_path / "runs")
    edited = changed(tmp_path / "edited", prepare=PREPARE + "\n# edited\n")
    stores = {
        task_data(paths, each, profile, raw=raw, image=image).folder
        for each in (task, edited)
        for profile in ("cpu", "paper")
        for raw in (None, "synthetic", "0" * 64)
        for image in ("evaluator:1", "evaluator:2")
    }
    assert len(stores) == 24
    assert {store.parent for store in stores} == {paths.tasks / task.name}
    again = task_data(paths, load_task(task.folder), "cpu", raw=None, image="evaluator:1")
    assert again.folder in stores


def test_a_tree_is_hashed_by_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"12")
    (tmp_path / "a" / "deep" / "two").write_bytes(b"345")
    whole, size = hash_tree(tmp_path / "a")
    assert size == 5
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b" / "empty").mkdir()
    (tmp_path / "b" / "link").symlink_to("one")
    os.utime(tmp_path / "b" / "one", (0, 0))
    assert hash_tree(tmp_path / "b") == (whole, 5), "empty folders, links and times are no data"
    (tmp_path / "b" / "one").rename(tmp_path / "b" / "uno")
    assert hash_tree(tmp_path / "b")[0] != whole
    (tmp_path / "b" / "uno").rename(tmp_path / "b" / "one")
    (tmp_path / "b" / "one").write_bytes(b"21")
    assert hash_tree(tmp_path / "b")[0] != whole
    assert hash_tree(tmp_path / "nothing there") == hash_tree(tmp_path / "b" / "empty")


def test_a_name_cannot_stand_for_a_content(tmp_path: Path) -> None:
    """Names and contents are told apart in what is hashed, whatever characters a name holds."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "x\ny").touch()
    (tmp_path / "b" / "x").touch()
    (tmp_path / "b" / "y").touch()
    (tmp_path / "a" / os.fsdecode(b"\xff")).touch()
    assert hash_tree(tmp_path / "a")[0] != hash_tree(tmp_path / "b")[0]
