"""Judge nodes behind a real sshd on loopback: the command line on both sides, as processes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import ssh_site
from aira_bench.hidden_keys import make_hidden_key
from aira_bench.keys import KeyFolder
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import read_run
from ssh_site import SshSite

pytestmark = [pytest.mark.skipif(bool(ssh_site.missing()), reason=ssh_site.missing()), pytest.mark.timeout(240)]
PLAYED = str(Path(__file__).parents[1] / "played_run.py")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SshSite]:
    """An sshd whose account is a judge node, with a key and leases of its own."""
    home = tmp_path / "node"
    (home / "keys").mkdir(parents=True, mode=0o700)
    make_hidden_key(home / "keys" / "hidden.key")
    leases = tmp_path / "node-leases"
    its = {"AIRA_HOME": str(home), "AIRA_LEASES": str(leases), "AIRA_PLAYED_BOOT": "node",
           "DOCKER_HOST": "unix:///nowhere/docker.sock"}  # fmt: skip
    with ssh_site.ssh_site(tmp_path / "ssh", [sys.executable, PLAYED, "judge", "serve"], its) as site:
        yield site


def environment(tmp_path: Path, site: SshSite, **more: str) -> dict[str, str]:
    own = {
        "AIRA_HOME": str(tmp_path / "desk"), "AIRA_RUNS": str(tmp_path / "runs"), "AIRA_SSH": site.ssh,
        "AIRA_LEASES": str(tmp_path / "leases"), "AIRA_PLAYED_BOOT": "desk",
    }  # fmt: skip
    return os.environ | own | more


def command(tmp_path: Path, site: SshSite, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, PLAYED, *arguments], env=environment(tmp_path, site, **more), capture_output=True, text=True,
        check=False, timeout=200,
    )  # fmt: skip


RUN = ("run", "--agent", "evolution", "--task", "mad-2p", "--profile", "cpu", "--name", "run", "--steps", "3")


def classes(tmp_path: Path) -> list[str]:
    record = read_run(RunFolder(tmp_path / "runs" / "run"), KeyFolder(tmp_path / "desk" / "keys").ring(), "all")
    return [node.step_class for seed in record.seeds for node in seed.nodes]


def test_a_run_is_judged_by_ssh_and_leaves_no_hidden_split_and_no_key_here(tmp_path: Path, site: SshSite) -> None:
    done = command(tmp_path, site, *RUN, "--judge-on", "ssh:judge1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "judges elsewhere (ssh)" in done.stdout
    assert classes(tmp_path) == ["valid"] * 3
    manifest = json.loads((tmp_path / "runs" / "run" / "manifest.json").read_text())
    assert manifest["judges"]["by"] == "ssh"
    assert "judge1" not in json.dumps(manifest)
    secret = (tmp_path / "node" / "keys" / "hidden.key").read_bytes().strip()
    found = [path for place in ("desk", "runs") for path in (tmp_path / place).rglob("*") if path.is_file()]
    assert found
    assert not [path for path in found if secret in path.read_bytes() or path.name == "hidden.key"]
    assert not [path for path in (tmp_path / "desk" / "tasks").rglob("hidden")]
    assert len(list((tmp_path / "node" / "tasks").rglob("hidden"))) == 1


def test_a_worker_and_a_confirmation_judge_there_too(tmp_path: Path, site: SshSite) -> None:
    done = command(
        tmp_path, site, *RUN, "--engine", "local", "--seeds", "2", "--no-confirm", AIRA_JUDGE_ON="ssh:judge1"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert classes(tmp_path) == ["valid"] * 6
    done = command(tmp_path, site, "confirm", "run")
    assert done.returncode == 6
    assert "--judge-on" in done.stderr
    done = command(tmp_path, site, "confirm", "run", "--judge-on", "judge1")
    assert done.returncode == 0, done.stderr


def test_a_node_that_loses_its_power_and_comes_back_costs_a_wait(tmp_path: Path, site: SshSite) -> None:
    process = subprocess.Popen(
        [sys.executable, PLAYED, *RUN, "--judge-on", "ssh:judge1", "--steps", "6"],
        env=environment(tmp_path, site, AIRA_PLAYED_STEP_S="0.5"), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(line)
        if "step 2" in line:
            break
    site.stop()
    threading.Timer(3.0, site.start).start()
    said += process.stderr.readlines()
    assert process.wait(150) == 0, "".join(said)
    assert classes(tmp_path) == ["valid"] * 6


def test_a_machine_that_is_not_there_is_named_with_what_ssh_says(tmp_path: Path, site: SshSite) -> None:
    site.stop()
    done = command(tmp_path, site, *RUN, "--judge-on", "ssh:judge1,judge2")
    assert done.returncode == 3
    assert "judge node 1: ssh ended with status 255" in done.stderr
    assert "cluster check --judge-on ssh:judge1,judge2" in done.stderr
    assert not (tmp_path / "runs" / "run").exists()


def test_the_check_of_a_cluster_names_what_a_node_lacks(tmp_path: Path, site: SshSite) -> None:
    (tmp_path / "node" / "keys" / "hidden.key").unlink()
    done = command(tmp_path, site, "cluster", "check", "--judge-on", "ssh:judge1", "--json")
    (row,) = json.loads(done.stdout)
    gaps = {gap["check"]: gap for gap in row["gaps"]}
    assert done.returncode == 1, done.stderr
    assert gaps["container engine"]["state"] == "failed"
    assert "can be drawn again" in gaps["hidden key"]["seen"]
    assert "aira-bench key hidden" in gaps["hidden key"]["mend"]
    site.stop()
    done = command(tmp_path, site, "cluster", "check", "--judge-on", "ssh:judge1", "--json")
    (row,) = json.loads(done.stdout)
    assert done.returncode == 1
    assert "status 255" in row["gaps"][0]["seen"]
