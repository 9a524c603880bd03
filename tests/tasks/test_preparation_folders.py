"""While data is prepared, labels lie in a folder that no other user can enter; a task folder is copied as it stands."""

import os
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from aira_bench.errors import TaskError
from aira_bench.sandbox.sandbox import ContainerSpec
from aira_bench.tasks.data_source import DataSource, RawData
from aira_bench.tasks.preparation import prepare_task
from aira_bench.tasks.store import TaskData
from aira_bench.tasks.task import load_task
from aira_bench.world import SystemWorld

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
