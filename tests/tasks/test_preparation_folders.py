"""While data is prepared, labels lie in a folder that no other user can enter; a task folder is copied as it stands."""

import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from aira_bench.errors import TaskError
from aira_bench.paths import HostPaths
from aira_bench.sandbox.sandbox import ContainerSpec, Mount
from aira_bench.tasks.data_source import DataSource, RawData
from aira_bench.tasks.preparation import prepare_task
from aira_bench.tasks.store import TaskData, sweep_dead
from aira_bench.tasks.task import load_task
from aira_bench.testing import Call, Done, InMemorySandbox
from aira_bench.world import SystemWorld
from aira_contract.containers import RAW

FOLDER = Path(__file__).parents[1] / "folders" / "ParityClassificationAccuracy"


class Reached(Exception):
    """Preparation came as far as the test looks."""


class LookingSandbox:
    """Looks at the folders when the first container is to be made, by when they would be full in a real preparation."""

    def __init__(self) -> None:
        self.modes: list[int] = []

    def prepare(self, spec: ContainerSpec) -> NoReturn:
        staging = next(mount.source for mount in spec.mounts if mount.source.name == "task").parent
        self.modes.append(stat.S_IMODE(staging.stat().st_mode))
        raise Reached


def test_staging_is_closed_from_its_creation(tmp_path: Path) -> None:
    sandbox = LookingSandbox()

    def provide(empty: Path) -> RawData:
        sandbox.modes.append(stat.S_IMODE(empty.parent.stat().st_mode))
        return RawData(())

    before = os.umask(0)
    try:
        with pytest.raises(Reached):
            prepare_task(
                load_task(FOLDER), "cpu", TaskData(tmp_path / "store" / "cpu-1"), source=DataSource(), provide=provide,
                sandbox=sandbox, image="none", world=SystemWorld(), note=lambda text: None,  # type: ignore[arg-type]
            )  # fmt: skip
    finally:
        os.umask(before)
    assert sandbox.modes == [0o700, 0o700]
    assert not list((tmp_path / "store").iterdir()), "nothing is left of a preparation that failed"


def test_a_folder_that_became_hostile_after_it_was_loaded_is_refused(tmp_path: Path) -> None:
    import shutil

    shutil.copytree(FOLDER, tmp_path / FOLDER.name)
    task = load_task(tmp_path / FOLDER.name)
    (task.folder / "late").symlink_to("/etc/passwd")
    with pytest.raises(TaskError, match="late is a link"):
        prepare_task(
            task, "cpu", TaskData(tmp_path / "store" / "cpu-1"), source=DataSource(), provide=lambda empty: RawData(()),
            sandbox=LookingSandbox(), image="none", world=SystemWorld(), note=lambda text: None,  # type: ignore[arg-type]
        )  # fmt: skip


def prepare(sandbox: InMemorySandbox, data: TaskData, notes: list[str]) -> bool:
    return prepare_task(
        load_task(FOLDER), "cpu", data, source=DataSource(), provide=lambda empty: RawData((Mount(empty, RAW),)),
        sandbox=sandbox, image="none", world=SystemWorld(), note=notes.append,
    )  # fmt: skip


def test_of_two_processes_that_prepare_one_task_the_second_waits_and_finds_it_ready(tmp_path: Path) -> None:
    """The second used to make it anew and to put it in the place of what the first one's steps were reading."""
    data, begun, go_on = TaskData(tmp_path / "store" / "cpu-1"), threading.Event(), threading.Event()

    def script(call: Call) -> Done:
        begun.set()
        assert go_on.wait(20)
        output = next(mount.source for mount in call.spec.mounts if mount.writable)
        (output / "data.txt").write_text(output.name)
        return Done()

    sandbox, notes = InMemorySandbox({"prepare": script}), list[str]()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(prepare, sandbox, data, [])
        assert begun.wait(20)
        second = pool.submit(prepare, sandbox, data, notes)
        while not notes and not second.done():
            time.sleep(0.01)
        assert notes[0].startswith("another process prepares the data of ParityClassificationAccuracy (cpu)")
        go_on.set()
        assert first.result(20) is True
        inode = data.public.stat().st_ino
        assert second.result(20) is False
    assert data.public.stat().st_ino == inode, "a ready store is never replaced"
    assert sandbox.calls == 3, "each script ran once"
    assert [path.name for path in data.folder.parent.iterdir()] == ["cpu-1"]


def test_a_preparation_that_is_stopped_takes_its_container_along(tmp_path: Path) -> None:
    """It went on for hours: a stopped process ends without the threads that remove behind its back."""
    engine: list[tuple[str, str | None]] = []

    def stopped(call: Call) -> Done:
        raise KeyboardInterrupt

    sandbox = InMemorySandbox({"prepare": stopped}, before=lambda call, role: engine.append((call, role)))
    with pytest.raises(KeyboardInterrupt):
        prepare(sandbox, TaskData(tmp_path / "store" / "cpu-1"), [])
    assert engine == [("prepare", "prepare"), ("run", "prepare"), ("sweep", None), ("close", "prepare")]
    assert not sandbox.containers


def test_what_a_killed_preparation_left_goes_at_the_next_one(tmp_path: Path) -> None:
    store = tmp_path / "store"
    (store / ".cpu-9.0123456789ab.staging" / "hidden").mkdir(parents=True)
    (store / ".cpu-9.0123456789ab.lock").touch()
    (store / ".cpu-9.lock").touch()
    (store / "cpu-8").mkdir()

    def script(call: Call) -> Done:
        return Done()

    prepare(InMemorySandbox({"prepare": script}), TaskData(store / "cpu-1"), [])
    assert sorted(path.name for path in store.iterdir()) == ["cpu-1", "cpu-8"]


def test_a_machine_is_swept_of_what_died_and_of_nothing_else(tmp_path: Path) -> None:
    paths = HostPaths(tmp_path / "home", tmp_path / "runs")
    dead = [
        paths.tasks / "A" / ".cpu-1.0123456789ab.staging" / "hidden" / "x",
        paths.checks / ".check.0123456789ab.staging" / "data",
        paths.scores / "ab" / ".abcd.json.0123456789abcdef.tmp",
        paths.keys / ".key.0123456789abcdef.tmp",
    ]
    kept = [
        paths.tasks / "A" / "cpu-1" / "ready.json",
        paths.tasks / "A" / "cpu-1" / "public" / ".a.tmp",
        paths.sources / "0" / "big.part",
        paths.scores / "ab" / "abcd.json",
        paths.raw_data / "a" / ".b.tmp",
    ]
    for path in (*dead, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))
    assert sweep_dead(paths) == len(dead)
    assert not any(path.exists() for path in dead)
    assert all(path.exists() for path in kept)
    assert sweep_dead(paths) == sweep_dead(HostPaths(tmp_path / "no", tmp_path)) == 0
