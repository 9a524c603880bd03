"""What is read of control groups: of version 2, whose files are played, since a test machine has the one or the other."""

from pathlib import Path

import pytest

from aira_bench.sandbox import memory_use
from aira_bench.sandbox.memory_use import MemoryUse


@pytest.fixture
def above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The group above that of process 7's container."""
    group = tmp_path / "cgroup" / "system.slice" / "docker-abc.scope"
    group.mkdir(parents=True)
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "cgroup").write_text("0::/system.slice/docker-abc.scope\n")
    (group / "memory.peak").write_text(f"{96 << 20}\n")
    (group / "memory.stat").write_text(f"anon 1\nkernel {8 << 20}\nslab_reclaimable {2 << 20}\n")
    (group.parent / "memory.events").write_text("low 0\noom 5\noom_kill 7\n")
    monkeypatch.setattr(memory_use, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory_use, "_CGROUPS", tmp_path / "cgroup")
    return group.parent


def test_peak_and_kernel_memory_are_read(above: Path) -> None:
    use = MemoryUse(7)
    use.sample()
    assert (use.peak_mib, use.kernel_mib) == (96.0, 6.0)


@pytest.mark.parametrize(
    ("after", "may_have"),
    [
        ("oom 5\noom_kill 8\n", False),
        ("oom 6\noom_kill 8\n", True),
        ("oom_kill 8\n", True),
    ],
    ids=["the whole machine had no memory", "some limit was met", "nobody can say"],
)
def test_a_kill_without_a_limit_met_is_the_machine_s(above: Path, after: str, may_have: bool) -> None:
    """Engines call both by one name; the count of limits met is kept above the container, which is gone by then."""
    use = MemoryUse(7)
    (above / "memory.events").write_text(after)
    for file in (above / "docker-abc.scope").iterdir():
        file.unlink()
    assert use.may_have_met_its_limit() == may_have


def test_where_groups_cannot_be_seen_the_engine_s_word_stands(above: Path) -> None:
    assert MemoryUse(8).may_have_met_its_limit()


@pytest.mark.parametrize(
    ("events", "killed"),
    [("oom 1\noom_kill 1\n", True), ("oom 3\noom_kill 0\n", False), ("oom 1\n", False), ("", False)],
)
def test_a_kill_is_seen_before_the_engine_takes_the_group_away(above: Path, events: str, killed: bool) -> None:
    """Podman 4.3 calls no container killed for memory: its monitor writes that where podman does not look."""
    group = above / "docker-abc.scope"
    (group / "memory.events").write_text(events)
    use = MemoryUse(7)
    use.sample()
    for file in group.iterdir():
        file.unlink()
    use.sample()
    assert use.was_killed == killed


@pytest.mark.parametrize(
    ("peak_mib", "kills", "killed"),
    [(136, 1, True), (136, 0, False), (40, 1, False)],
    ids=["its own limit", "a limit without a kill", "the whole machine had no memory"],
)
def test_on_version_1_a_kill_counts_where_the_limit_was_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peak_mib: int, kills: int, killed: bool
) -> None:
    group = tmp_path / "cgroup" / "memory" / "libpod-abc"
    group.mkdir(parents=True)
    (tmp_path / "proc" / "7").mkdir(parents=True)
    (tmp_path / "proc" / "7" / "cgroup").write_text("6:memory:/libpod-abc\n")
    (group / "memory.max_usage_in_bytes").write_text(f"{peak_mib << 20}\n")
    (group / "memory.limit_in_bytes").write_text(f"{136 << 20}\n")
    (group / "memory.kmem.usage_in_bytes").write_text("0\n")
    (group / "memory.oom_control").write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n")
    monkeypatch.setattr(memory_use, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(memory_use, "_CGROUPS", tmp_path / "cgroup")
    use = MemoryUse(7)
    use.sample()
    assert use.was_killed == killed
