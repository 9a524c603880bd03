"""A key is in the process that calls the model and nowhere else: no command line, no other environment, no container."""

import json
import subprocess
import time
from pathlib import Path

import docker
import pytest

from llm.wire_server import Reply, WireRequest, WireServer
from place import Place
from small_mad import small_mad

pytestmark = [pytest.mark.docker, pytest.mark.timeout(500)]
KEY = "sk-seen-nowhere-4f1c9a77b2"
ANSWER = "A try.\n```python\nopen('submission.csv', 'w').write('architecture\\n" + "AM" * 8 + "\\n')\n```"


def brain(request: WireRequest) -> Reply:
    """A program, or what a step showed."""
    if request.schema is not None:
        return Reply(json.dumps({"is_bug": False, "summary": "it ran", "metric": None}), delay_s=0.2)
    return Reply(ANSWER, delay_s=0.2)


def holders(kind: str) -> dict[int, str]:
    """Processes of this machine, ours and those in containers, whose command line or environment has the key."""
    found = {}
    for path in Path("/proc").glob(f"[0-9]*/{kind}"):
        try:
            if KEY.encode() in path.read_bytes():
                found[int(path.parent.name)] = (path.parent / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # it has ended
    return found


def test_no_process_list_and_no_container_shows_a_key(tmp_path: Path) -> None:
    task, place = small_mad(tmp_path), Place(tmp_path / "home", tmp_path / "runs")
    search = ("run", "--agent", "opus46", "--task", str(task), "--profile", "cpu", "--steps", "3", "--name", "seen")
    engine, inspected, seen_before = docker.from_env(), dict[str, str](), set[int]()
    with WireServer(brain) as server:
        variables = {
            "ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": server.base_url("anthropic"),
            "AIRA_ALLOW_KEY": "ANTHROPIC_API_KEY=127.0.0.1",
        }  # fmt: skip
        log = (tmp_path / "log").open("wb")
        with log, subprocess.Popen(
            place.command(*search), env={**place.environment, **variables}, stdout=log, stderr=log
        ) as process:  # fmt: skip
            while process.poll() is None:
                assert not holders("cmdline")
                others = {pid: line for pid, line in holders("environ").items() if pid != process.pid}
                # A child that was forked and has not yet begun its program still is a copy of its parent.
                assert not {pid: line for pid, line in others.items() if pid in seen_before}
                seen_before = set(others)
                for container in engine.containers.list(
                    all=True, filters={"label": "aira-bench.run"}, ignore_removed=True
                ):
                    inspected[container.id] = json.dumps(container.attrs)
                time.sleep(0.05)
        assert process.returncode == 0, (tmp_path / "log").read_text()
        assert any(KEY in json.dumps(dict(request.headers)) for request in server.requests), "the key was used"
    assert len(inspected) >= 3
    assert not any(KEY in text for text in inspected.values())
    assert KEY not in (tmp_path / "log").read_text()
    assert not any(KEY.encode() in path.read_bytes() for path in place.runs.rglob("*") if path.is_file())
