"""What podman without root needs of `/etc/subuid` and `/etc/subgid`, as the doctor reads them."""

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from aira_bench.docker_engine import EngineInfo
from aira_bench.doctor.users import NEEDED, user_checks

PODMAN = EngineInfo("4.3.1", 1, "/", 2, 1024, (), name="podman", rootless=True)
ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.mark.parametrize(
    ("text", "state", "seen"),
    [
        (f"{ME}:100000:65536\n", "ok", "65536 in"),
        (f"other:1:99999\n{os.geteuid()}:100000:60000\n{ME}:200000:6000\n", "ok", "66000 in"),
        (f"{ME}:100000:65535\n", "failed", "65535 in"),
        ("other:100000:65536\n", "failed", "0 in"),
        (f"{ME}:100000\nno line\n{ME}:1:many\n", "failed", "0 in"),
        (None, "failed", "0 in"),
    ],
)
def test_ids_are_counted_over_all_lines_of_this_user(tmp_path: Path, text: str | None, state: str, seen: str) -> None:
    if text is not None:
        for name in ("subuid", "subgid"):
            (tmp_path / name).write_text(text)
    (found,) = user_checks(PODMAN, tmp_path)
    assert (found.state, seen in found.seen) == (state, True)
    assert (f"--add-subuids 100000-{99_999 + NEEDED}" in found.mend) == (state == "failed")


def test_one_of_the_two_files_is_not_enough(tmp_path: Path) -> None:
    (tmp_path / "subuid").write_text(f"{ME}:100000:65536\n")
    (found,) = user_checks(PODMAN, tmp_path)
    assert found.state == "failed"


@pytest.mark.parametrize("engine", [replace(PODMAN, rootless=False), replace(PODMAN, name="Docker")])
def test_other_engines_need_none(tmp_path: Path, engine: EngineInfo) -> None:
    assert list(user_checks(engine, tmp_path)) == []
