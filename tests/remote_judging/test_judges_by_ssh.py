"""Judge nodes behind a real sshd on loopback: the command line on both sides, as processes."""

import contextlib
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
PLAYED, REAL = (str(Path(__file__).parents[1] / name) for name in ("played_run.py", "another_machine.py"))


@contextlib.contextmanager
def judge_site(tmp_path: Path, program: str, **more: str) -> Iterator[SshSite]:
    """An sshd whose account is a judge node, with a key and leases of its own."""
    home = tmp_path / "node"
    (home / "keys").mkdir(parents=True, mode=0o700)
    make_hidden_key(home / "keys" / "hidden.key")
    its = {"AIRA_HOME": str(home), "AIRA_LEASES": str(tmp_path / "node-leases"), "AIRA_PLAYED_BOOT": "node", **more}
    with ssh_site.ssh_site(tmp_path / "ssh", [sys.executable, program, "judge", "serve"], its) as site:
        yield site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SshSite]:
    with judge_site(tmp_path, PLAYED, DOCKER_HOST="unix:///nowhere/docker.sock") as site:
        yield site


def environment(tmp_path: Path, site: SshSite, **more: str) -> dict[str, str]:
    own = {
        "AIRA_HOME": str(tmp_path / "desk"), "AIRA_RUNS": str(tmp_path / "runs"), "AIRA_SSH": site.ssh,
        "AIRA_LEASES": str(tmp_path / "leases"), "AIRA_PLAYED_BOOT": "desk",
    }  # fmt: skip
    return os.environ | own | more


def command(
    tmp_path: Path, site: SshSite, *arguments: str, program: str = PLAYED, within_s: float = 200, **more: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, program, *arguments], env=environment(tmp_path, site, **more), capture_output=True, text=True,
        check=False, timeout=within_s,
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


@pytest.mark.docker
@pytest.mark.timeout(900)
def test_a_candidate_is_trained_for_real_on_a_node_that_alone_has_the_hidden_splits(tmp_path: Path) -> None:
    with judge_site(tmp_path, REAL) as site:
        wanted = (*RUN[:-1], "1", "--judge-on", "ssh:judge1", "--no-confirm")
        done = command(tmp_path, site, *wanted, program=REAL, within_s=800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert classes(tmp_path) == ["valid"]
    (desk,), (node,) = ((tmp_path / each / "tasks").glob("*/cpu-*") for each in ("desk", "node"))
    assert sorted(path.name for path in desk.iterdir()) == ["public", "ready.json", "task"]
    assert (node / "hidden").is_dir()
    hidden = {path.read_bytes() for path in (node / "hidden").rglob("*") if path.is_file()}
    here = [path for place in ("desk", "runs") for path in (tmp_path / place).rglob("*") if path.is_file()]
    public = {path.read_bytes() for path in (node / "public").rglob("*") if path.is_file()}
    assert not [path for path in here if path.read_bytes() in hidden - public]
    secret = (tmp_path / "node" / "keys" / "hidden.key").read_bytes().strip()
    assert not [path for path in here if secret in path.read_bytes()]
