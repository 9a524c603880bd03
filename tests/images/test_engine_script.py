"""`images/docker-engine.sh`: does nothing where a daemon answers, says one clear thing where it cannot help."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from aira_bench.bundled import bundled_folder


def run_script(path: str) -> subprocess.CompletedProcess[str]:
    script = str(bundled_folder("images") / "docker-engine.sh")
    shell = shutil.which("sh") or "/bin/sh"
    return subprocess.run(
        [shell, script], capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "PATH": path}
    )


@pytest.mark.docker
def test_a_daemon_that_answers_is_left_alone() -> None:
    done = run_script(os.environ["PATH"])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_system_without_docker_or_apt_is_told_in_one_line(tmp_path: Path) -> None:
    done = run_script(str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "Docker is missing" in done.stderr


def test_ordinary_user_is_told_the_commands(tmp_path: Path) -> None:
    for name, text in {"id": "echo 1000", "apt-get": "exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    done = run_script(str(tmp_path))
    assert done.returncode == 3
    assert "sudo apt-get install -y docker.io" in done.stderr
