"""What the kernel and the engine show all containers alike comes as files of a container's own."""

from pathlib import Path

import pytest
from small_steps import RunCode

from aira_bench.sandbox.inside import erofs
from aira_bench.sandbox.own_files import OWN_COPY_BYTES
from aira_bench.sandbox.sandbox import Mount
from aira_contract.containers import WORKSPACE

LOOK = """
import os, sys
shared = os.stat("/workspace/given").st_ino
print(shared, len(os.sched_getaffinity(0)) <= os.cpu_count())
"""


def test_values_are_read_once_and_counters_left_out(tmp_path: Path) -> None:
    (tmp_path / "online").write_text("0-1\n")
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o400)
    (tmp_path / "cpu0" / "cpuidle").mkdir(parents=True)
    (tmp_path / "cpu0" / "topology").symlink_to("../online")
    found = erofs.read_values(str(tmp_path))
    assert sorted(found.children) == [b"cpu0", b"online"]
    assert found.children[b"online"].text == b"0-1\n"
    assert sorted(found.children[b"cpu0"].children) == [b"topology"]


@pytest.mark.docker
def test_a_small_file_of_the_host_is_a_copy(run_code: RunCode, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.write_bytes(b"text")
    given.chmod(0o644)
    outcome = run_code(LOOK, artifacts=(), mounts=(Mount(given, WORKSPACE / "given"),))
    inode, fits = outcome.stdout.head.decode().split()
    assert int(inode) != given.stat().st_ino
    assert fits == "True"
    assert given.stat().st_size < OWN_COPY_BYTES
