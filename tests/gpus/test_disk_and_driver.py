"""Disk and driver against what the images of a flavour need, as it was measured for each."""

from collections import namedtuple
from pathlib import Path
from typing import cast

import pytest

from aira_bench.docker_engine import DockerEngine
from aira_bench.doctor.devices import driver_check
from aira_bench.doctor.examination import _disks
from aira_bench.gpus import Gpus
from aira_bench.images.flavour import load_flavour
from aira_bench.paths import HostPaths
from fake_gpus import h100

Usage = namedtuple("Usage", "total used free")


class Engine:
    def __init__(self, *, built: bool) -> None:
        self.built = built

    def image_exists(self, tag: str) -> bool:
        return self.built


@pytest.mark.parametrize(("built", "free_gib", "state"), [(True, 5, "ok"), (False, 5, "failed"), (False, 500, "ok")])
def test_disk_is_what_the_flavour_needs_where_its_images_are_not_built(
    built: bool, free_gib: int, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was 10 GiB for all of them."""
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(0, 0, free_gib << 30))
    engine, paths = cast(DockerEngine, Engine(built=built)), HostPaths(tmp_path, tmp_path)
    images = list(_disks(paths, engine, tmp_path, {"cuda"}))[1]
    assert (images.check, images.state) == ("disk for images", state)
    if not built:
        assert f"{load_flavour('cuda').settings.disk_gib.build + 1}" in images.seen


def test_a_driver_older_than_the_images_need_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda, needed = load_flavour("cuda"), load_flavour("cuda").settings.driver
    assert needed is not None
    (line,) = driver_check(Gpus("seen", (h100(0),), driver="470.1.2"), cuda, "paper")
    assert (line.state, line.seen) == ("failed", f"470.1.2, expected {needed} or newer")
    assert not list(driver_check(Gpus("seen", (h100(0),), driver="999.1"), cuda, "paper"))
    assert not list(driver_check(Gpus("none"), cuda, "paper"))
