"""Disk and driver against what the images of a flavour need, as it was measured for each."""

import os
from collections import namedtuple
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from aira_bench.docker_engine import DockerEngine
from aira_bench.doctor.devices import fit_checks
from aira_bench.doctor.examination import _disks
from aira_bench.errors import PrerequisiteError
from aira_bench.gpus import Gpus
from aira_bench.hardware import Hardware
from aira_bench.images.fit import require_fit
from aira_bench.images.flavour import load_flavour
from aira_bench.paths import HostPaths
from aira_bench.runs.forecast_machine import told_disk
from fake_gpus import H100, h100

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
    images = list(_disks(paths, engine, tmp_path, {"cuda"}))[-1]
    assert (images.check, images.state) == ("disk for images", state)
    if not built:
        assert f"{load_flavour('cuda').settings.disk_gib.build + 1}" in images.seen
        assert "for building cuda (projected)" in images.seen, "no build was watched alone"


def test_packages_need_room_where_they_are_downloaded_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache may lie on another disk than AIRA_HOME, whose room was looked at in its place."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    paths, cuda = HostPaths(tmp_path / "home", tmp_path), load_flavour("cuda")
    (tmp_path / "home").mkdir()
    full = tmp_path / "cache"
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(0, 0, (2 if folder == full else 500) << 30))
    needed = f"{1 + cuda.settings.disk_gib.wheels:.0f}"
    for built, state in ((False, "failed"), (True, "ok")):
        data, packages, _ = _disks(paths, cast(DockerEngine, Engine(built=built)), tmp_path, {"cuda"})
        assert (data.check, data.state) == ("disk for data and caches", "ok")
        assert (packages.check, packages.state) == ("disk for packages", state)
        assert packages.seen.startswith(f"2.0 GiB free in {full}")
        assert (f"expected {needed} for building cuda" in packages.seen) == (not built)
        said = told_disk(paths, None, cuda, built=built)
        assert (f"2 GiB free in {full} for packages, which is too little: 2.9 GiB" in said) == (not built)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user who may become another")
def test_a_folder_of_the_engine_that_this_user_may_not_look_into_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members of the group docker may use an engine whose folder lies in root's; doctor and every plan ended there."""
    for variable in ("AIRA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, "/tmp/absent")
    paths, engine = HostPaths(Path("/tmp/absent"), Path("/tmp")), cast(DockerEngine, Engine(built=False))
    root = tmp_path / "docker"
    root.mkdir()
    tmp_path.chmod(0o700)
    os.seteuid(65_534)
    try:
        assert [each.check for each in _disks(paths, engine, root, {"cuda"})] == [
            "disk for data and caches",
            "disk for packages",
        ]
        assert "for images" not in told_disk(paths, root, load_flavour("cuda"), built=False)
    finally:
        os.seteuid(0)
    assert "for images" in told_disk(paths, root, load_flavour("cuda"), built=False)


def machine(driver: str, capability: tuple[int, int] = (9, 0), name: str = H100) -> Hardware:
    gpu = replace(h100(0), compute_capability=capability, name=name)
    return Hardware("a processor", 8, 1024, (gpu,), Gpus("seen", (gpu,), driver=driver))


def test_a_driver_older_than_the_images_need_is_told() -> None:
    cuda, needed = load_flavour("cuda"), load_flavour("cuda").settings.driver
    assert needed is not None
    (line,) = fit_checks(machine("470.1.2"), cuda, "paper")
    assert (line.check, line.state) == ("GPU driver for images cuda", "failed")
    assert line.seen == f"470.1.2, expected {needed} or newer"
    assert not list(fit_checks(machine("999.1"), cuda, "paper"))
    assert not list(fit_checks(Hardware("a processor", 8, 1024), cuda, "paper"))


@pytest.mark.parametrize(
    ("capability", "fits"),
    [((6, 0), False), ((7, 0), False), ((7, 5), True), ((8, 9), True), ((10, 3), True), ((12, 1), True), ((13, 0), False)],
)  # fmt: skip
def test_a_device_that_the_images_have_no_code_for_is_told(capability: tuple[int, int], fits: bool) -> None:
    """Its first kernel would fail, in a step that would be called buggy."""
    lines = list(fit_checks(machine("999.1", capability, "a card"), load_flavour("cuda"), "paper"))
    assert [line.state for line in lines] == ["failed"] * (not fits)
    if not fits:
        major, minor = capability
        assert lines[0].seen == f"a card has compute capability {major}.{minor}, expected 7.5 to 12.0"


def test_one_that_does_not_fit_beside_one_that_does_is_a_warning() -> None:
    both = replace(machine("999.1"), gpus=(h100(0), replace(h100(1), compute_capability=(7, 0))))
    (line,) = fit_checks(both, load_flavour("cuda"), "paper")
    assert (line.check, line.state) == ("GPU 1 for images cuda", "warning")


@pytest.mark.parametrize("hardware", [machine("535.1"), machine("580.1", (7, 0))])
def test_a_run_does_not_begin_on_what_its_images_cannot_run_on(hardware: Hardware) -> None:
    with pytest.raises(PrerequisiteError, match=r"^The images cuda cannot run here: "):
        require_fit(hardware, load_flavour("cuda"))
    require_fit(hardware, load_flavour("cpu"))
