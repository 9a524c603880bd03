"""How a run ends and what it exits with: seeds that halt, budgets that are spent, nothing scored, a model that refuses.

In this process, on a played machine (tests/played_host.py), with real SDKs and a local server of models.
"""

import io
import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from aira_bench.cli.display import RunDisplay
from aira_bench.cli.main import run_command_line
from aira_bench.doctor import Diagnosis, examine
from aira_bench.errors import ModelError
from aira_bench.files import write_json
from aira_bench.llm.recording import read_exchange
from aira_bench.paths import host_paths
from aira_bench.record.folder import RunFolder
from aira_bench.runs.leases import FOLDER_VARIABLE
from aira_bench.runs.session import Progress
from llm.wire_server import Brain, Fault, Reply, WireRequest, WireServer
from played_run import connect_host

SOLUTION = 'A try.\n```python\nARCHITECTURE = "M,M,M,mA,M,mA,M,M,M,M,M,M,mA,M,mA,M"\n```'
ANALYSIS = json.dumps({"is_bug": False, "summary": "it ran", "metric": None})
RUN = ("run", "--task", "mad-2p", "--profile", "cpu", "--name", "mine", "--steps", "2")
UNUSABLE, MODEL, BUDGET, UNSCORED = 6, 7, 8, 10
TRIAL = "Say OK."
Serve = Callable[[Brain], WireServer]


def is_trial(request: WireRequest) -> bool:
    return request.messages[-1][1] == TRIAL


def works(request: WireRequest) -> Reply:
    if is_trial(request):
        return Reply("OK")
    return Reply(SOLUTION if request.schema is None else ANALYSIS)


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """A server of models that cards find, and a played machine for runs."""
    for name in [name for name in os.environ if name.endswith(("_API_KEY", "_BASE_URL")) or name.startswith("AIRA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "leases"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    monkeypatch.setattr("aira_bench.runs.connect.connect_host", connect_host)
    servers: list[WireServer] = []

    def start(brain: Brain) -> WireServer:
        servers.append(WireServer(brain).__enter__())
        monkeypatch.setenv("AIRA_BASE_URL_GPT_OSS_20B", servers[-1].base_url("openai-compatible"))
        return servers[-1]

    yield start
    for server in servers:
        server.__exit__()


def once(fault: Fault) -> Brain:
    """The first call after the trial fails, all others are answered."""
    failed: list[WireRequest] = []

    def brain(request: WireRequest) -> Reply | Fault:
        if not is_trial(request) and not failed:
            failed.append(request)
            return fault
        return works(request)

    return brain


def run(*arguments: str, agent: str = "gpt-oss-20b") -> int:
    return run_command_line([*RUN, "--agent", agent, *arguments])


def test_one_seeds_failure_halts_that_seed_alone(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve(once(Fault(403, "not for you")))
    assert run("--seeds", "2", "--runs", "some runs") == MODEL
    shown = capsys.readouterr()
    *_, halted, way_on = shown.err.splitlines()
    found = re.fullmatch(
        r"aira-bench: error: seed ([01]) halted: The model of agent .*\(HTTP 403: .*not for you.*", halted
    )
    assert found, halted
    bad = int(found[1])
    assert way_on == (f"aira-bench: seed {1 - bad} ended. Go on with: aira-bench resume mine --runs 'some runs'")
    assert "gpt-oss-20b" in shown.out, "the board shows what there is"
    folder = RunFolder(Path("some runs", "mine"))
    assert [len(folder.seed(seed).nodes) for seed in (bad, 1 - bad)] == [0, 2]
    server.brain = works
    assert run_command_line(["resume", "mine", "--runs", "some runs"]) == 0
    assert [len(folder.seed(seed).nodes) for seed in (0, 1)] == [2, 2]


def test_what_is_to_be_typed_next_finds_a_run_in_a_folder_of_the_users(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(works)
    assert run("--runs", "some runs", "--no-confirm") == 0
    shown = capsys.readouterr().out
    commands = re.findall(r"(?:Next:|  )  +aira-bench ((?:status|confirm|leaderboard).*?)      ", shown)
    assert len(commands) == 3
    for command in commands:
        assert run_command_line(shlex.split(command)) == 0, command


def test_a_run_that_is_mirrored_goes_on_being_mirrored(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").write_text("raise RuntimeError('no such client')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    serve(lambda request: Reply("OK") if is_trial(request) else Fault(401, "who are you"))
    assert run("--track", "mlflow") == MODEL
    assert "aira-bench: Go on with: aira-bench resume mine --track mlflow" in capsys.readouterr().err.splitlines()


def test_seeds_that_halt_for_one_reason_are_said_together(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(lambda request: Reply("OK") if is_trial(request) else Fault(401, "who are you"))
    assert run("--seeds", "3") == MODEL
    shown = capsys.readouterr()
    *_, halted, way_on = shown.err.splitlines()
    assert halted.startswith("aira-bench: error: seeds 0, 1, 2 halted: The model of agent 'gpt-oss-20b'")
    assert halted.endswith("Try: export AIRA_API_KEY_GPT_OSS_20B=...")
    assert way_on == "aira-bench: Go on with: aira-bench resume mine"
    assert shown.out == ""


def test_a_spent_budget_says_what_the_next_call_could_have_cost(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(works)
    assert run("--max-tokens", "5000", "--json") == BUDGET
    shown = capsys.readouterr()
    assert json.loads(shown.out)["run"] == "mine"
    spent, unscored = shown.err.splitlines()[-2:]
    assert re.fullmatch(
        r"aira-bench: seed 0 ended after 0 steps, its budget used up: The next call could use \d+ tokens; 120 of the "
        r"run's 5000 are spent\.",
        spent,
    ), "the trial's 120 tokens are counted"
    assert "No step of run mine has a score (none was taken)" in unscored
    assert unscored.endswith("Try: aira-bench status mine")


def test_a_budget_too_small_for_the_trial_is_said_too(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve(works)
    assert run("--max-tokens", "100") == BUDGET
    assert "was not tried" in capsys.readouterr().err
    assert not server.requests


def test_a_budget_that_ends_a_run_with_scores_is_no_failure(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    def dear(request: WireRequest) -> Reply:
        return works(request) if is_trial(request) else Reply(works(request).text, output_tokens=20_000)

    serve(dear)
    assert run("--max-tokens", "70000", "--steps", "50") == 0
    assert "its budget used up: The next call could use" in capsys.readouterr().err.splitlines()[-1]


def test_a_run_that_goes_on_tries_its_model_within_what_is_left(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trial of a resume, and of each worker, was paid for beside the run's account, also where that was empty."""

    def dear(request: WireRequest) -> Reply:
        return works(request) if is_trial(request) else Reply(works(request).text, output_tokens=80_000)

    server = serve(dear)
    run("--max-tokens", "70000")
    asked = len(server.requests)
    run_command_line(["resume", "mine"])
    assert "was not tried" in capsys.readouterr().err
    assert len(server.requests) == asked


def test_a_run_without_a_score_says_so(serve: Serve, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty.py").write_text("print('nothing')\n")
    assert run(agent="script:empty.py") == UNSCORED
    shown = capsys.readouterr()
    assert "No step of run mine has a score (1 invalid_submission)" in shown.err.splitlines()[-1]
    assert "seed 0 step 1/2: invalid_submission: submission.csv: missing" in shown.err, "with the reason"


def test_an_agent_that_submits_nothing_scores_nothing_on_purpose_and_an_empty_file_by_mistake(
    serve: Serve, tmp_path: Path
) -> None:
    assert run(agent="noop") == 0
    (tmp_path / "empty.py").write_text("")
    assert run("--name", "other", agent="script:empty.py") == UNSCORED


@pytest.mark.parametrize(
    ("answer", "words", "hint"),
    [
        (Fault(401, "Unauthorized"), "asks for a key", "export AIRA_API_KEY_GPT_OSS_20B=..."),
        (Fault(404, "The model `x` does not exist"), "does not know 'openai/gpt-oss-20b'", "/v1/models"),
        (Fault(402, "pay first"), "bills no more calls", "top up"),
    ],
)
def test_what_the_provider_refuses_is_found_before_images_and_data(
    answer: Fault, words: str, hint: str, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    server = serve(lambda request: answer)
    assert run() == MODEL
    shown = capsys.readouterr()
    (line,) = shown.err.splitlines()
    assert words in line
    assert hint in line.partition(" Try: ")[2]
    assert len(server.requests) == 1
    assert not Path("runs").exists()


def test_a_server_that_is_not_there_is_found_as_soon(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRA_BASE_URL_GPT_OSS_20B", "http://127.0.0.1:9/v1")
    assert run() == MODEL
    (line,) = capsys.readouterr().err.splitlines()
    assert "Connection refused" in line
    assert line.endswith("Try: aira-bench doctor"), "there is no run to resume"


def test_a_resume_whose_provider_is_gone_repeats_the_command(
    serve: Serve, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(once(Fault(403, "not for you")))
    assert run() == MODEL
    monkeypatch.setenv("AIRA_BASE_URL_GPT_OSS_20B", "http://127.0.0.1:9/v1")
    capsys.readouterr()
    assert run_command_line(["resume", "mine"]) == MODEL
    assert capsys.readouterr().err.splitlines()[-1].endswith("Try: aira-bench doctor, then aira-bench resume mine")


def test_a_run_by_a_relative_card_goes_on_from_another_folder(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(once(Fault(403, "not for you")))
    address = server.base_url("openai-compatible")
    Path("mine.toml").write_text(
        'name = "mine"\ntitle = "Mine"\nprovider = "openai-compatible"\nmodel = "m"\nmax_output_tokens = 9000\n'
        f'base_url = "{address}"\n'
    )
    assert run(agent="mine.toml") == MODEL
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_command_line(["resume", "mine", "--runs", "../runs"]) == 0


def test_a_step_that_asks_something_else_in_flight_goes_on_by_what_the_last_line_says(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    replies = iter([works, works, lambda request: Reply("I think."), lambda request: Fault(403, "enough")])
    server = serve(lambda request: next(replies)(request))
    assert run() == MODEL
    (call,) = Path("runs/mine/seeds/0/calls/0002").rglob("call_000.json")
    found = read_exchange(call)
    other = replace(found.request, system="In the words of another version.")
    write_json(call, replace(found, request=other).to_json())
    server.brain = works
    assert run_command_line(["resume", "mine"]) == UNUSABLE
    *_, halted, last = capsys.readouterr().err.splitlines()
    command = last.partition("Go on with: aira-bench ")[2]
    assert command == "resume mine --accept-changes"
    assert halted.partition("Try: aira-bench ")[2] == command
    assert run_command_line(command.split()) == 0


def test_a_provider_that_is_busy_keeps_no_run_from_beginning(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    serve(lambda request: Fault(529, "come back later") if is_trial(request) else works(request))
    assert run() == 0
    assert "is there, and did not answer a first call: HTTP 529" in capsys.readouterr().err


def test_agents_without_a_provider_are_not_tried(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = serve(works)
    assert run(agent="evolution") == 0
    assert run_command_line(["run", "--agent", "replay:mine", "--name", "again"]) == 0
    assert not server.requests
    assert "answers as" not in capsys.readouterr().err


def test_without_a_terminal_a_failing_server_is_a_line_of_the_log(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(once(Fault(503, "the machine is hot", headers={"retry-after": "0.1"})))
    assert run() == 0
    assert re.search(
        r"seed 0 step 1/2: gpt-oss-20b: HTTP 503: .*the machine is hot.* \(failure 1 of 10\); next try at \d\d:\d\d:\d\d",
        capsys.readouterr().err,
    )


def test_on_a_terminal_rows_show_waits_halts_and_the_stop() -> None:
    display = RunDisplay((0, 1), 3)
    display._console = Console(file=io.StringIO(), force_terminal=True, width=160)

    def shown() -> str:
        screen = io.StringIO()
        Console(file=screen, width=160).print(display)
        return screen.getvalue()

    display.watch(Progress(0, 2, "gpt5: HTTP 503 (failure 4 of 10); next try at 12:00:01", waits_for="provider"))
    display.watch(Progress(1, 1, "running the solution"))
    display.watch(Progress(1, 0, "halted", halted=ModelError("no key")))
    assert "failure 4 of 10" in shown()
    assert "halted: no key" in shown()
    assert "1/3" in shown(), "where it halted"
    assert "Ctrl-C stops and keeps what is done" in shown()
    with display.live():
        assert display.show_stopping(), "no line of ours between the rows"
    assert "stopping; Ctrl-C once more ends at once" in shown()
    assert not display.show_stopping()


def test_doctor_tries_each_model_whose_card_lacks_nothing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(works)
    monkeypatch.setenv("AIRA_BASE_URL_CWM", "http://127.0.0.1:9/v1")
    folder = Path("config/aira-bench/agents")
    folder.mkdir(parents=True)
    (folder / "broken.toml").write_text("name = ")
    found: dict[str, Diagnosis] = {each.check: each for each in examine(host_paths(), "cpu", None, lambda text: None)}
    assert found["model gpt-oss-20b"].state == "ok"
    assert "answers as openai/gpt-oss-20b" in found["model gpt-oss-20b"].seen
    assert found["model cwm"].state == "warning"
    assert "Connection refused" in found["model cwm"].seen
    assert found["agent card broken"].state == "warning", "one bad card hides nothing"
    assert "model gpt5" not in found, "its key is not set"
    assert len(server.requests) == 1
    body = server.requests[0].body
    assert body["max_tokens"] == 16
