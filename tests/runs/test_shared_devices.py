"""Whole runs that share eight fake GPUs: at once, killed, resumed, confirmed; no GPU and no core is ever had twice."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from aira_bench.record.folder import RunFolder
from aira_bench.runs.leases import FOLDER_VARIABLE

pytestmark = pytest.mark.timeout(180)
PROGRAM = Path(__file__).parents[1] / "shared_devices.py"
AGENT = """
import time
def answer(request):
    if request.schema:
        return '{"is_bug": false, "summary": "", "metric": null}'
    time.sleep(0.1)
    return "A try.\\n```python\\nprint(%r)\\n```" % request.digest()
"""
RUN = ["run", "--agent", "script:agent.py", "--task", "autoresearch", "--profile", "paper", "--source", "raw", "--yes", "--no-confirm",
       "--concurrency", "8"]  # fmt: skip
SHARDS = (*range(10), 6540, 6541, 6542)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "agent.py").write_text(AGENT)
    (tmp_path / "raw").mkdir()
    for number in SHARDS:
        (tmp_path / "raw" / f"shard_{number:05d}.parquet").write_text("x")
    return tmp_path


def begun(place: Path, *arguments: str, training_s: float = 0.3) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRA_")}
    own = {"AIRA_HOME": place / "home", "AIRA_RUNS": place / "runs", FOLDER_VARIABLE: place / "leases",
           "AIRA_PLAYED_LOG": place / "log", "AIRA_PLAYED_TRAINING_S": training_s}  # fmt: skip
    with (place / "said").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), *arguments], cwd=place, stdout=said, stderr=said,
            env={**kept, **{name: str(value) for name, value in own.items()}},
        )  # fmt: skip


def lines_of(place: Path) -> list[dict[str, object]]:
    log = place / "log"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def spans(place: Path, ended_s: dict[int, float]) -> dict[str, list[tuple[float, float, int]]]:
    """When which process had each GPU and core; one that was killed had what it had until then."""
    held: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    last: dict[tuple[object, object], float] = {}
    for line in lines_of(place):
        pid, at_s = int(str(line["pid"])), float(str(line["at"]))
        for name in line["has"]:  # type: ignore[attr-defined]
            if line["word"] == "began":
                assert (pid, name) not in last, "a run has two containers at once there"
                last[pid, name] = at_s
            else:
                held[name].append((last.pop((pid, name)), at_s, pid))
    for (pid, name), at_s in last.items():
        held[str(name)].append((at_s, ended_s[int(str(pid))], int(str(pid))))
    return held


def test_two_runs_of_ten_seeds_share_eight_gpus_and_one_is_killed_and_resumed(place: Path) -> None:
    named = [[*RUN, "--seeds", "10", "--steps", "2", "--no-score-cache", "--name", name] for name in ("one", "two")]
    prepared = begun(place, *RUN, "--seeds", "1", "--steps", "1", "--name", "zero")
    assert prepared.wait(60) == 0
    one, two = (begun(place, *arguments) for arguments in named)
    while sum(line["pid"] == one.pid and line["role"] == "fit" for line in lines_of(place)) < 8:
        assert one.poll() is None
        time.sleep(0.05)
    killed_s = time.monotonic()  # before its death is known, the other run may have what it had
    one.kill()
    one.wait()
    resumed = begun(place, "resume", "one", "--trust-agent")
    assert (resumed.wait(120), two.wait(120)) == (0, 0), (place / "said").read_text()
    for name in ("one", "two"):
        run = RunFolder(place / "runs" / name)
        nodes = [node for seed in run.manifest.plan.seeds for node in run.seed(seed).nodes]
        assert [node.step_class for node in nodes] == ["valid"] * 20
        assert {node.cores for node in nodes} == {2}, "as many as alone"
    held = spans(place, {one.pid: killed_s})
    assert len([name for name in held if name.startswith("GPU-")]) == 8, "all are used"
    shared = 0
    for name, its in held.items():
        its.sort()
        for (_, end_s, pid), (begin_s, _, next_pid) in itertools.pairwise(its):
            assert end_s <= begin_s, f"{name} was had twice"
            shared += pid != next_pid
    assert shared > 16, "runs take turns on each"
    assert list((place / "leases" / "line").iterdir()) == [], "who is done stands in no line"


def test_a_seed_that_is_exclusive_keeps_its_gpu_and_the_ninth_waits_for_one(place: Path) -> None:
    asked = [*RUN, "--seeds", "9", "--steps", "2", "--no-score-cache", "--gpus-per-seed", "1", "--exclusive"]
    run = begun(place, *asked, "--name", "own", training_s=0.6)
    assert run.wait(120) == 0, (place / "said").read_text()
    record = RunFolder(place / "runs" / "own")
    trained = [line["has"][0] for line in lines_of(place) if (line["role"], line["word"]) == ("fit", "began")]  # type: ignore[index]
    assert sorted(map(trained.count, set(trained))) == [2] * 7 + [4], "the ninth had another's when that had ended"
    waited = [node.timings.waited_s.get("slot", 0.0) for seed in range(9) for node in record.seed(seed).nodes]
    assert max(waited) > 0.1
    hours = [node.timings.total_s for seed in range(9) for node in record.seed(seed).nodes]
    assert max(hours) < max(waited) + 30
