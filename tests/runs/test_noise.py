"""Noise floors of tasks, on a played machine: what is trained, how often, and in which form it is said."""

import json
import statistics
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from aira_bench.cli.main import run_command_line
from aira_bench.errors import NothingScored, RunStateError, SandboxError, UsageError
from aira_bench.hardware import Hardware
from aira_bench.record.folder import list_runs
from aira_bench.record.new_run import making_run
from aira_bench.runs.host import Host
from aira_bench.runs.leases import FOLDER_VARIABLE
from aira_bench.runs.noise import FOLDER, NoiseMeasurement, measure_noise, summary
from aira_bench.runs.request import RunRequest
from aira_bench.tasks.measured_noise import MeasuredNoise
from aira_bench.tasks.metadata import AiraBlock
from aira_bench.tasks.task import find_task
from aira_bench.world import SystemWorld
from played_host import ProbedSandbox, played_host, played_sandbox, score
from played_run import connect_host

SOURCE = {"name": "raw.txt", "url": "https://example.org/raw.txt", "bytes": 1}
REQUEST = RunRequest(agent="baseline", task="mad-2p", profile="cpu")


def measured(root: Path, sandbox: ProbedSandbox, trainings: int = 4) -> NoiseMeasurement:
    host = played_host(root, sandbox)
    return measure_noise(host, REQUEST, trainings, lambda text: None, lambda progress: None)


def test_three_artifacts_are_trained_so_often_and_the_spread_within_them_is_the_floor(tmp_path: Path) -> None:
    found = measured(tmp_path, played_sandbox())
    assert [each.name for each in found.artifacts] == ["baseline 0", "random 0", "random 1"]
    assert [len(set(each.scores)) for each in found.artifacts] == [4, 4, 4]
    squares = sum(3 * statistics.variance(each.scores) for each in found.artifacts)
    assert found.noise.deviation == pytest.approx((squares / 9) ** 0.5, rel=1e-3)
    assert (found.noise.artifacts, found.noise.trainings, found.noise.freedom) == (3, 12, 9)
    assert found.noise.hardware == "test"
    assert found.uncertainty == pytest.approx(1 / 18**0.5)
    assert summary(found.artifacts[0]).startswith("baseline 0: 4 trainings, mean 0.")
    assert list_runs(tmp_path / "runs") == [], "no board lists what was made for it"
    assert len(list_runs(tmp_path / "runs" / FOLDER)) == 2


def test_of_two_that_begin_the_same_measurement_at_once_the_later_is_told_of_the_first(tmp_path: Path) -> None:
    """It was told to resume the search of the first, which measures nothing, as if the user had typed a taken name."""
    begun = []

    def measure(text: str) -> None:
        if "probing" in text and not begun:
            begun.append(text)
            measured(tmp_path, played_sandbox())

    host = played_host(tmp_path, played_sandbox())
    with pytest.raises(RunStateError, match=r"Another process has begun the measurement in .*mad-2p-cpu-baseline"):
        measure_noise(host, REQUEST, 4, measure, lambda progress: None)
    assert begun
    with (
        making_run(tmp_path / "other" / "runs" / FOLDER, "mad-2p-cpu-baseline"),
        pytest.raises(RunStateError, match="Another process has begun"),
    ):
        measured(tmp_path / "other", played_sandbox())


def test_what_is_said_is_what_metadata_take(tmp_path: Path) -> None:
    found = measured(tmp_path, played_sandbox())
    block = AiraBlock.model_validate(yaml.safe_load(found.to_yaml()))
    assert block.noise == {"cpu": found.noise}
    assert block.noise_floor("cpu", synthetic=True) is None


def test_a_floor_of_the_stand_in_is_for_runs_on_the_stand_in_alone(tmp_path: Path) -> None:
    sandbox = played_sandbox()
    sandbox.responders = {"judge": lambda request: score(request).replace(b"Accuracy", b"Loss")}
    host = played_host(tmp_path, sandbox)
    request = replace(REQUEST, task="babistories-2p", source="synthetic")
    found = measure_noise(host, request, 3, lambda text: None, lambda progress: None)
    said = yaml.safe_load(found.to_yaml())
    block = AiraBlock.model_validate(said | {"synthetic": True, "sources": [SOURCE]})
    assert block.noise_floor("cpu", synthetic=True) == found.noise
    assert block.noise_floor("cpu", synthetic=False) is None
    with pytest.raises(ValueError, match="no generated stand-in"):
        AiraBlock.model_validate(said)


def test_a_measurement_is_told_again_only_of_what_was_measured(tmp_path: Path) -> None:
    """One on the stand-in was printed as that of the files that were asked for next, and its day was today's."""
    sandbox = played_sandbox()
    sandbox.responders = {"judge": lambda request: score(request).replace(b"Accuracy", b"Loss")}
    host = played_host(tmp_path, sandbox)
    files = [tmp_path / name for name in ("files", "others")]
    for folder in files:
        folder.mkdir()
        for file in find_task("babistories-2p").metadata.aira.sources:
            (folder / file.name).write_bytes(b"text")

    def of(source: str, host: Host = host) -> NoiseMeasurement:
        request = replace(REQUEST, task="babistories-2p", source=source)
        return measure_noise(host, request, 3, lambda text: None, lambda progress: None)

    made = of("synthetic")
    assert made.synthetic
    assert not of(str(files[0])).synthetic
    assert len(list_runs(tmp_path / "runs" / FOLDER)) == 4
    with pytest.raises(RunStateError, match=f"begun with source {files[0]}, and it would be {files[1]} now"):
        of(str(files[1]))
    elsewhere = replace(host, hardware=Hardware("another", 2, 1024, ()))
    with pytest.raises(RunStateError, match="begun with hardware class test, and it would be another now"):
        of("synthetic", elsewhere)
    later = replace(host, world=LaterWorld())
    assert of("synthetic", later) == made


class LaterWorld(SystemWorld):
    """A year from now."""

    def now(self) -> datetime:
        return super().now() + timedelta(days=365)


def test_a_measurement_that_was_cut_short_does_what_is_missing(tmp_path: Path) -> None:
    sandbox = played_sandbox()
    asked: list[int] = []
    broken = [True]

    def judge(request: bytes) -> bytes:
        asked.append(json.loads(request)["training"])
        return b"{}" if broken and asked.count(3) > 1 else score(request)

    sandbox.responders = {"judge": judge}
    with pytest.raises(SandboxError, match="answer is broken"):
        measured(tmp_path, sandbox)
    broken.clear()
    found = measured(tmp_path, sandbox)
    assert [len(each.scores) for each in found.artifacts] == [4, 4, 4]
    before = len(asked)
    assert measured(tmp_path, sandbox).noise == found.noise
    assert len(asked) == before, "nothing is trained twice"
    assert measured(tmp_path, sandbox, 5).noise.trainings == 15


def test_trainings_that_are_refused_are_said_and_a_judge_without_noise_has_no_floor(tmp_path: Path) -> None:
    sandbox = played_sandbox()

    def judge(request: bytes) -> bytes:
        answer = json.loads(score(request))
        if json.loads(request)["training"] == 1:
            answer |= {"status": 2, "stderr": "evaluate: error: no more", "report": None}
        return json.dumps(answer).encode()

    sandbox.responders = {"judge": judge}
    found = measured(tmp_path / "refused", sandbox)
    assert all("refused: no more" in summary(each) for each in found.artifacts)
    sandbox.responders = {"judge": lambda request: score(json.dumps(json.loads(request) | {"training": 0}).encode())}
    with pytest.raises(NothingScored, match="no noise is seen"):
        measured(tmp_path / "same", sandbox)


def test_a_noise_floor_needs_an_artifact_that_was_trained_twice() -> None:
    with pytest.raises(ValueError, match="3 of 3 artifacts leave no degree of freedom"):
        MeasuredNoise(deviation=0.1, artifacts=3, trainings=3, measured="2026-01-01", hardware="a processor")


def test_the_command_prints_and_writes_the_floor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "leases"))
    monkeypatch.setattr("aira_bench.runs.connect.connect_host", connect_host)
    command = ["noise", "mad-2p", "--profile", "cpu", "--trainings", "3"]
    assert run_command_line(command) == 0
    shown = capsys.readouterr().out
    written = (tmp_path / "runs" / FOLDER / "mad-2p-cpu.yaml").read_text()
    assert written.rstrip() in shown
    assert "6 degrees of freedom" in shown
    assert run_command_line([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["noise"]["trainings"] == 9
    assert run_command_line([*command[:-1], "1"]) == UsageError.exit_code
    assert "noise is seen from 2 on" in capsys.readouterr().err
