"""Wheels of a lock, fetched by the host's own pip from a folder of wheels: what is missing, whole, and for the images' Python."""

from pathlib import Path

import pytest

from aira_bench.errors import PrerequisiteError
from aira_bench.images.wheels import fetch_wheels, find_file, wheel_folder
from wheel_shop import SETTINGS, flavour, offer, only_pip_source


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one place where pip looks; the cache is elsewhere, too."""
    only_pip_source(tmp_path / "offered", monkeypatch, tmp_path / "cache")
    return tmp_path / "offered"


def test_both_locks_are_fetched_and_what_is_there_is_not_fetched_again(tmp_path: Path, offered: Path) -> None:
    offer(offered, "one_package", "1.0")
    offer(offered, "two", "2.0", "cp311-cp311-manylinux_2_28_x86_64")
    small, notes = flavour(tmp_path, "one-package==1.0", agents=("two==2.0",)), list[str]()
    paths = fetch_wheels(small, notes.append)
    assert [path.name for path in paths] == [
        "one_package-1.0-py3-none-any.whl",
        "two-2.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    ]
    assert (
        {path.parent for path in paths}
        == {wheel_folder(small)}
        == {tmp_path / "cache" / "aira-bench" / "wheels" / "python3.11"}
    )
    assert notes == ["downloading packages 1 to 2 of 2: one-package==1.0, two==2.0"]
    for path in offered.iterdir():
        path.unlink()
    assert fetch_wheels(small, notes.append) == paths
    assert len(notes) == 1
    assert not list(wheel_folder(small).glob(".part-*"))


def test_wheels_are_for_the_images_and_not_for_this_machine(tmp_path: Path, offered: Path) -> None:
    for tag in ("cp312-cp312-manylinux_2_28_x86_64", "cp311-cp311-macosx_11_0_arm64", "cp311-cp311-win_amd64"):
        offer(offered, "compiled", "1.0", tag)
    small = flavour(tmp_path, "compiled==1.0")
    with pytest.raises(PrerequisiteError, match=r"the small images' packages: ERROR: .*compiled==1\.0") as caught:
        fetch_wheels(small, lambda text: None)
    assert "pip download --no-deps compiled==1.0" in str(caught.value)
    assert "\n" not in str(caught.value)
    offer(offered, "compiled", "1.0", "cp311-abi3-manylinux2014_x86_64")
    (path,) = fetch_wheels(small, lambda text: None)
    assert path.name == "compiled-1.0-cp311-abi3-manylinux2014_x86_64.whl"


def test_what_one_batch_brought_stays_when_another_fails(tmp_path: Path, offered: Path) -> None:
    """A download that is cut off goes on where it stopped."""
    names = [f"p{number:02d}" for number in range(12)]
    for name in names[:10]:
        offer(offered, name, "1.0")
    small, notes = flavour(tmp_path, *(f"{name}==1.0" for name in names)), list[str]()
    with pytest.raises(PrerequisiteError, match=r"p10==1\.0"):
        fetch_wheels(small, notes.append)
    assert len(list(wheel_folder(small).glob("*.whl"))) == 10
    for name in names[10:]:
        offer(offered, name, "1.0")
    assert len(fetch_wheels(small, notes.append)) == 12
    assert [note.partition(":")[0] for note in notes] == [
        "downloading packages 1 to 10 of 12", "downloading packages 11 to 12 of 12", "downloading packages 1 to 2 of 2",
    ]  # fmt: skip


def test_the_second_index_is_asked_when_the_host_knows_no_better(
    tmp_path: Path, offered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index" / "elsewhere"
    index.mkdir(parents=True)
    wheel = offer(index, "elsewhere", "1.0")
    (index / "index.html").write_text(f'<!DOCTYPE html><a href="{wheel.name}">{wheel.name}</a>')
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "no index").as_uri())
    extra = SETTINGS.replace("gpu_for", f'extra_index = "{(tmp_path / "index").as_uri()}"\ngpu_for', 1)
    (path,) = fetch_wheels(flavour(tmp_path, "elsewhere==1.0", settings=extra), lambda text: None)
    assert path.name == wheel.name


def test_a_build_for_the_cpu_that_the_host_also_knows_is_not_taken_for_the_one_asked_for(
    tmp_path: Path, offered: Path
) -> None:
    """By pip's rules `torch==2.0` is 2.0+cpu, too, and that is the newer one."""
    offer(offered, "torch", "2.0+cpu")
    plain = offer(offered, "torch", "2.0")
    (path,) = fetch_wheels(flavour(tmp_path, "torch==2.0"), lambda text: None)
    assert path.name == plain.name


def test_flavours_share_what_both_name(tmp_path: Path, offered: Path) -> None:
    offer(offered, "shared", "1.0").touch()
    one = fetch_wheels(flavour(tmp_path, "shared==1.0"), lambda text: None)
    (offered / "shared-1.0-py3-none-any.whl").unlink()
    assert fetch_wheels(flavour(offered, "shared==1.0"), lambda text: None) == one


def test_platforms_are_all_that_a_glibc_has(tmp_path: Path) -> None:
    """A list by hand had forgotten 2.18, the one that NCCL's wheel names."""
    names = flavour(tmp_path).settings.platforms
    assert names[0] == "manylinux_2_28_x86_64"
    assert {f"manylinux_2_{minor}_x86_64" for minor in range(5, 29)} < set(names)
    assert {"manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"} < set(names)


def test_a_file_of_another_version_is_not_taken(tmp_path: Path) -> None:
    for name in (
        "numpy-1.0-py3-none-any.whl",
        "numpy_ext-2.0-py3-none-any.whl",
        "numpy-2.0.txt",
        "numpy-2.0.tar.gz.part",
    ):
        (tmp_path / name).touch()
    assert find_file(tmp_path, "numpy==2.0") is None
    (tmp_path / "numpy-2.0+cpu-cp311-cp311-linux_x86_64.whl").touch()
    assert find_file(tmp_path, "numpy==2.0") is None
    (tmp_path / "NumPy-2.0-cp311-cp311-linux_x86_64.whl").touch()
    found = find_file(tmp_path, "numpy==2.0")
    assert found is not None
    assert found.name.startswith("NumPy-2.0")
