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
