"""Signals to a real process: what it says, how fast it is gone, and that it can be gone on with.

The machine is played (tests/played_run.py), the SDKs are real, and the server of models hangs in every way it can.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import yaml

from aira_bench.record.folder import RunFolder
from aira_bench.record.node import Node
from aira_bench.runs.leases import FOLDER_VARIABLE
from eventually import GENEROUS_S, stretched
from llm.wire_server import Brain, Fault, Misbehaviour, Reply, WireRequest, WireServer

pytestmark = pytest.mark.timeout(120)
PROGRAM = Path(__file__).parents[1] / "played_run.py"
SOLUTION = 'A try.\n```python\nARCHITECTURE = "M,M,M,mA,M,mA,M,M,M,M,M,M,mA,M,mA,M"\n```'
WITHIN_S = 5.0
TRIAL = "Say OK."


@dataclass
class Stage:
    """A folder with a data folder, and processes that work in it."""

    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRA_")}
        return {
            **kept,
            "AIRA_HOME": str(self.root / "home"),
            FOLDER_VARIABLE: str(self.root / "leases"),
            "PYTHONUNBUFFERED": "1",
            **self.variables,
        }

    @contextmanager
    def running(self, *arguments: str, ignored: int | None = None) -> Iterator["Process"]:
        log = self.root / f"log-{len(list(self.root.glob('log-*')))}"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), *arguments], cwd=self.root, env=self.environment(), stderr=stderr,
                stdout=subprocess.PIPE, start_new_session=True,
                preexec_fn=partial(_hears, ignored),
            )  # fmt: skip
            try:
                yield Process(process, log)
            finally:
                process.kill()
                process.communicate()

    def nodes(self, name: str, seed: int = 0) -> tuple[Node, ...]:
        return RunFolder(self.root / "my runs" / name).seed(seed).nodes


def _hears(ignored: int | None) -> None:
    """Every signal but one, whatever the tests themselves were started with, such as nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if ignored is not None:
        signal.signal(ignored, signal.SIG_IGN)


@dataclass
class Process:
    """One that runs."""

    popen: "subprocess.Popen[bytes]"
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, condition: Callable[[], object], within_s: float = GENEROUS_S) -> None:
        ends_s = time.monotonic() + within_s
        while not condition():
            assert self.popen.poll() is None, self.said
            assert time.monotonic() < ends_s, self.said
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGINT) -> float:
        """Send a signal; return how long the process then lived, in seconds."""
        began_s = time.monotonic()
        self.popen.send_signal(number)
        self.popen.wait(GENEROUS_S)
        return time.monotonic() - began_s


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@contextmanager
def serving(stage: Stage, brain: Brain) -> Iterator[WireServer]:
    """A server whose first call, the run's trial, is answered; `brain` has the others."""

    def answer(request: WireRequest) -> "Reply | Fault | Misbehaviour | str":
        return Reply("OK") if request.messages[-1][1] == TRIAL else brain(request)

    with WireServer(answer) as server:
        stage.variables |= {
            "OPENAI_API_KEY": "sk-any", "OPENAI_BASE_URL": server.base_url("openai"),
            "ANTHROPIC_API_KEY": "sk-any", "ANTHROPIC_BASE_URL": server.base_url("anthropic"),
            "GEMINI_API_KEY": "sk-any", "GOOGLE_GEMINI_BASE_URL": server.base_url("google"),
            "AIRA_BASE_URL_GPT_OSS_20B": server.base_url("openai-compatible"),
            "AIRA_ALLOW_KEY": "OPENAI_API_KEY=127.0.0.1,ANTHROPIC_API_KEY=127.0.0.1,GEMINI_API_KEY=127.0.0.1",
        }  # fmt: skip
        yield server


def run(agent: str, name: str = "mine", *more: str) -> tuple[str, ...]:
    return ("run", "--agent", agent, "--task", "mad-2p", "--profile", "cpu", "--steps", "2", "--name", name, "--no-confirm",
            "--runs", "my runs", *more)  # fmt: skip


HANGS: dict[str, Brain] = {
    "silent": lambda request: Reply("late", delay_s=90),
    "dripping": lambda request: Misbehaviour("drip", drip_for_s=90),
    # The next process minds it too, and whoever waits for the test waits for that.
    "retry-after": lambda request: Fault(429, "slow down", headers={"retry-after": "30"}),
    "overloaded": lambda request: Fault(503, "overloaded", headers={"retry-after": "75"}),
}
WAYS = [
    ("gpt5", "silent", signal.SIGINT),
    ("opus46", "retry-after", signal.SIGTERM),
    ("gemini3pro", "dripping", signal.SIGHUP),
    ("gpt-oss-20b", "overloaded", signal.SIGINT),
]
"""Each way of hanging, each provider and each signal; all of them are in tests/llm/test_stopped_calls.py."""


@pytest.mark.parametrize(("card", "hang", "number"), WAYS, ids=lambda value: str(getattr(value, "name", value)))
def test_a_run_that_waits_for_a_model_stops_within_seconds_and_goes_on(
    stage: Stage, card: str, hang: str, number: int
) -> None:
    with serving(stage, HANGS[hang]) as server:
        with stage.running(*run(card)) as process:
            process.wait_for(lambda: len(server.requests) >= 2)
            time.sleep(0.3)
            lived_s = process.stop(number)
        assert lived_s < stretched(WITHIN_S)
        assert process.popen.returncode == 130
        assert "aira-bench: stopping" in process.said
        assert process.said.splitlines()[-1] == (
            "aira-bench: stopped. Go on with: aira-bench resume mine --runs 'my runs'"
        )
        assert "Traceback" not in process.said
        assert not stage.nodes("mine")
        server.brain = lambda request: (
            json.dumps({"is_bug": False, "summary": "ran", "metric": None}) if request.schema else SOLUTION
        )
        with stage.running("resume", "mine", "--runs", "my runs") as process:
            assert process.popen.wait(GENEROUS_S) == 0, process.said
    assert [node.step_class for node in stage.nodes("mine")] == ["valid", "valid"]


def test_what_a_killed_call_may_have_cost_is_told_beside_what_steps_cost(stage: Stage) -> None:
    """Its cap counted hundreds of times what every column of spend showed, and no command said so."""

    def status() -> str:
        with stage.running("status", "mine", "--runs", "my runs") as process:
            assert process.popen.wait(GENEROUS_S) == 0, process.said
        return process.said

    with serving(stage, HANGS["silent"]) as server:
        with stage.running(*run("gpt5", "mine", "--max-cost-usd", "3")) as process:
            process.wait_for(lambda: len(server.requests) >= 2)
            process.popen.kill()
            process.popen.wait()
        said = status()
        aside = re.search(
            r"Counted by caps \(max cost usd 3\): \$(0\.6\d+) .*, \$(0\.6\d+) and [\d,]+ tokens of it set aside", said
        )
        assert aside, said
        server.brain = lambda request: SOLUTION
        with stage.running("resume", "mine", "--runs", "my runs") as process:
            assert process.popen.wait(GENEROUS_S) == 0, process.said
    said = status()
    assert re.search(r"Counted by caps \(max cost usd 3\): \$0\.6\d+ and [\d,]+ tokens\. Steps have", said), said
    assert sum(node.model_use.cost_usd or 0 for node in stage.nodes("mine")) < 0.01


def test_stopping_is_said_at_once(stage: Stage) -> None:
    with serving(stage, HANGS["silent"]) as server, stage.running(*run("gpt5")) as process:
        process.wait_for(lambda: len(server.requests) >= 2)
        process.popen.send_signal(signal.SIGINT)
        process.wait_for(lambda: "stopping" in process.said, within_s=stretched(1.0))


def test_many_seeds_behind_one_gate_stop_as_fast(stage: Stage) -> None:
    with serving(stage, HANGS["silent"]) as server, stage.running(*run("gpt5", "mine", "--seeds", "24")) as process:
        process.wait_for(lambda: len(server.requests) >= 9)
        time.sleep(0.3)
        assert process.stop() < stretched(WITHIN_S)
        assert process.popen.returncode == 130


def test_a_stop_before_there_is_a_run_names_no_way_on(stage: Stage) -> None:
    """The trial itself hangs: nothing has begun."""
    with WireServer(lambda request: Reply("late", delay_s=90)) as server:
        stage.variables |= {"AIRA_BASE_URL_GPT_OSS_20B": server.base_url("openai-compatible")}
        with stage.running(*run("gpt-oss-20b")) as process:
            process.wait_for(lambda: server.requests)
            assert process.stop(signal.SIGTERM) < stretched(WITHIN_S)
    assert process.popen.returncode == 130
    assert process.said.splitlines()[-1] == "aira-bench: stopped."
    assert not (stage.root / "my runs").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_hears_nothing_is_not_waited_for(stage: Stage, number: int) -> None:
    """A step of a sandbox that cannot be swept."""
    stage.variables["AIRA_PLAYED_STEP_S"] = "60"
    with stage.running(*run("evolution")) as process:
        process.wait_for(lambda: (stage.root / "my runs" / "mine" / "seeds" / "0" / "nodes" / "0001").exists())
        assert process.stop(number) < stretched(WITHIN_S)
    assert process.popen.returncode == 130
    assert process.said.splitlines()[-1].endswith("Go on with: aira-bench resume mine --runs 'my runs'")


def test_a_function_of_the_user_that_hangs_is_not_waited_for(stage: Stage) -> None:
    (stage.root / "agent.py").write_text("import time\n\n\ndef answer(request):\n    time.sleep(90)\n")
    with stage.running(*run("script:agent.py")) as process:
        process.wait_for(lambda: (stage.root / "my runs" / "mine" / "seeds" / "0" / "journal.jsonl").exists())
        time.sleep(0.3)
        assert process.stop() < stretched(WITHIN_S)
    assert process.popen.returncode == 130


def test_a_second_signal_ends_it_at_once(stage: Stage) -> None:
    stage.variables["AIRA_PLAYED_STEP_S"] = "60"
    with stage.running(*run("evolution")) as process:
        process.wait_for(lambda: (stage.root / "my runs" / "mine" / "seeds" / "0" / "nodes" / "0001").exists())
        process.popen.send_signal(signal.SIGINT)
        process.wait_for(lambda: "stopping" in process.said)
        assert process.stop(signal.SIGTERM) < stretched(1.0)
    assert process.popen.returncode == 130
    assert process.said.splitlines()[-1].endswith("Go on with: aira-bench resume mine --runs 'my runs'")
    stage.variables["AIRA_PLAYED_STEP_S"] = "0"
    with stage.running("resume", "mine", "--runs", "my runs") as process:
        assert process.popen.wait(GENEROUS_S) == 0, process.said
    assert len(stage.nodes("mine")) == 2


def test_a_scheduler_that_says_it_twice_in_a_moment_has_said_it_once(stage: Stage) -> None:
    """Slurm signals every process of a job, and whoever started the command passes on what he heard."""
    stage.variables["AIRA_PLAYED_STEP_S"] = "60"
    with stage.running(*run("evolution")) as process:
        process.wait_for(lambda: (stage.root / "my runs" / "mine" / "seeds" / "0" / "nodes" / "0001").exists())
        process.popen.send_signal(signal.SIGTERM)
        process.wait_for(lambda: "stopping" in process.said, within_s=0.5)
        process.popen.send_signal(signal.SIGTERM)
        time.sleep(1.2)
        assert process.popen.poll() is None, "it waits for what goes on"
        assert process.stop(signal.SIGTERM) < stretched(1.0), "and this is a second order"
    assert process.popen.returncode == 130


def test_a_hang_up_that_nohup_had_ignored_stays_ignored(stage: Stage) -> None:
    stage.variables["AIRA_PLAYED_STEP_S"] = "1"
    with stage.running(*run("evolution"), ignored=signal.SIGHUP) as process:
        process.wait_for(lambda: (stage.root / "my runs" / "mine" / "seeds" / "0" / "nodes" / "0001").exists())
        process.popen.send_signal(signal.SIGHUP)
        assert process.popen.wait(GENEROUS_S) == 0, process.said
    assert "stopping" not in process.said


@pytest.mark.parametrize(("number", "way_on"), [(signal.SIGINT, "confirm"), (signal.SIGTERM, "resume")])
def test_a_run_that_confirms_itself_stops_within_seconds_and_goes_on_with_what_is_missing(
    stage: Stage, number: int, way_on: str
) -> None:
    """The search is over then, and of three trainings one is done."""
    seed = RunFolder(stage.root / "my runs" / "mine").seed(0)
    kept = seed.path / "hidden" / "confirmed.jsonl"
    stage.variables["AIRA_PLAYED_TRAINING_S"] = "60"
    asked = [word for word in run("evolution") if word != "--no-confirm"]
    with stage.running(*asked) as process:
        process.wait_for(lambda: kept.exists() and kept.read_bytes().count(b"\n") == 2)
        first = kept.read_bytes()
        lived_s = process.stop(number)
    assert lived_s < stretched(WITHIN_S)
    assert process.popen.returncode == 130
    assert process.said.splitlines()[-1] == (
        "aira-bench: stopped. Go on with: aira-bench confirm mine --runs 'my runs'"
    )
    assert "Traceback" not in process.said
    assert kept.read_bytes() == first
    stage.variables["AIRA_PLAYED_TRAINING_S"] = "0"
    with stage.running(way_on, "mine", "--runs", "my runs") as process:
        assert process.popen.wait(GENEROUS_S) == 0, process.said
    assert kept.read_bytes().startswith(first), "what was done is not done again"
    assert len(kept.read_bytes().splitlines()) == 3 + len(first.splitlines()) - 1
    assert len(stage.nodes("mine")) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("slow", ["AIRA_PLAYED_STEP_S", "AIRA_PLAYED_TRAINING_S"])
def test_a_measurement_of_noise_stops_wherever_it_is_and_goes_on_with_the_same_command(
    stage: Stage, slow: str, number: int
) -> None:
    """One that was stopped in its searches ended with a traceback."""
    stage.variables[slow] = "1"
    command = ("noise", "mad-2p", "--profile", "cpu", "--trainings", "2", "--runs", "my runs")
    begun = "seeds/0/nodes/0001" if slow == "AIRA_PLAYED_STEP_S" else "seeds/0/hidden/confirmed"
    with stage.running(*command) as process:
        process.wait_for((stage.root / "my runs" / "noise" / "mad-2p-cpu-baseline" / begun).exists)
        assert process.stop(number) < stretched(WITHIN_S)
    assert process.popen.returncode == 130, process.said
    assert process.said.splitlines()[-1] == (
        "aira-bench: stopped. Go on with: aira-bench noise mad-2p --profile cpu --trainings 2 --runs 'my runs'"
    )
    stage.variables[slow] = "0"
    with stage.running(*command) as process:
        assert process.popen.wait(GENEROUS_S) == 0, process.said


def test_a_finished_run_is_not_to_be_resumed(stage: Stage) -> None:
    """A stop while its board is made, or of a resume that has nothing left to do."""
    with stage.running(*run("evolution")) as process:
        assert process.popen.wait(GENEROUS_S) == 0, process.said
    code = (
        "import sys; sys.argv[0] = 'aira-bench'\n"
        "import aira_bench.cli.ending as ending\n"
        "def board(*args, **kwargs): raise KeyboardInterrupt\n"
        "ending.show_board = board\n"
    )
    program = stage.root / "late.py"
    program.write_text(f"{code}import runpy; runpy.run_path({str(PROGRAM)!r}, run_name='__main__')\n")
    done = subprocess.run(
        [sys.executable, str(program), "resume", "mine", "--runs", "my runs"], cwd=stage.root,
        env=stage.environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr.splitlines()[-1] == "aira-bench: stopped."


@pytest.mark.parametrize("refuses", [False, True], ids=["silent", "refused, then a pause"])
def test_a_download_that_hangs_is_stopped(stage: Stage, refuses: bool) -> None:
    """A server that never answers, and one that is not there, so that the next try is waited for."""
    parity = Path(__file__).parents[1] / "folders" / "ParityClassificationAccuracy"
    folder = stage.root / parity.name
    shutil.copytree(parity, folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = 9 if refuses else listener.getsockname()[1]
        source = {"name": "a.txt", "url": f"http://127.0.0.1:{port}/a.txt"}
        values = yaml.safe_load((folder / "metadata.yaml").read_text())
        values["aira"] = {**values.get("aira", {}), "sources": [source]}
        (folder / "metadata.yaml").write_text(yaml.safe_dump(values))
        with stage.running("prepare", str(folder), "--profile", "cpu") as process:
            process.wait_for(
                lambda: "again in" in process.said if refuses else "a.txt" in process.said or held(listener)
            )
            assert process.stop() < stretched(WITHIN_S)
    assert process.popen.returncode == 130
    assert process.said.splitlines()[-1] == "aira-bench: stopped.", "there is no run to go on with"


def held(listener: socket.socket) -> bool:
    """Whether somebody has connected."""
    listener.settimeout(0.01)
    try:
        kept.append(listener.accept()[0])
    except TimeoutError:
        return False
    return True


kept: list[socket.socket] = []
"""Connections that nobody answers."""
