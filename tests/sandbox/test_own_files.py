"""Files that one container alone gets: copies that nobody else maps, and stand-ins that say its own size."""

from pathlib import Path, PurePosixPath

import pytest

from aira_bench.sandbox.hardening import granted_mib
from aira_bench.sandbox.own_files import OWN_COPY_BYTES, own_kernel_files, with_own_files
from aira_bench.sandbox.sandbox import ContainerSpec, Limits, Mount


def spec(*sources: Path) -> ContainerSpec:
    mounts = tuple(Mount(source, PurePosixPath("/task") / source.name) for source in sources)
    return ContainerSpec("image:1", "agent", "r", Limits(memory_mib=512), mounts)


def test_small_files_are_copied_and_large_ones_and_folders_are_not(tmp_path: Path) -> None:
    small, most, large, folder = (tmp_path / name for name in ("small", "most", "large", "folder"))
    small.write_bytes(b"words")
    most.write_bytes(bytes(OWN_COPY_BYTES))
    large.write_bytes(bytes(OWN_COPY_BYTES + 1))
    folder.mkdir()
    own = tmp_path / "own"
    own.mkdir()
    before = spec(small, most, large, folder)
    after = with_own_files(before, own)
    assert [mount.target for mount in after.mounts] == [mount.target for mount in before.mounts]
    assert [mount.source.parent == own for mount in after.mounts] == [True, True, False, False]
    copy = after.mounts[0].source
    assert copy.read_bytes() == b"words"
    assert copy.stat().st_mode & 0o777 == 0o444
    assert copy.stat().st_ino != small.stat().st_ino, "pages of its own"


def test_two_containers_never_share_a_copy(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"words")
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    first, second = (with_own_files(spec(small), folder).mounts[0].source for folder in folders)
    assert first != second
    first.chmod(0o644)
    first.write_bytes(b"other")
    assert second.read_bytes() == small.read_bytes() == b"words"


def test_stand_ins_tell_of_the_container_s_memory_and_go_with_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path))
    limits = spec().limits
    with own_kernel_files(spec()) as one, own_kernel_files(spec()) as other:
        assert one != other
        assert one.is_relative_to(tmp_path / "containers")
        meminfo = (one / "meminfo").read_text()
        total = next(line for line in meminfo.splitlines() if line.startswith("MemTotal:"))
        assert total.split() == ["MemTotal:", str(granted_mib(limits) * 1024), "kB"]
    assert not one.exists(), "bound at the start, they need no name after it"
