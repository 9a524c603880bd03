"""Language models searching through the command line: real SDKs, a local server that speaks their formats, real containers.

The scripted brain answers with few architectures, so that most scores come from the cache, and the task has little data.
"""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aira_bench.agents.llm.model_sources import recorded_exchanges
from eventually import stretched
from llm.wire_server import Reply, WireRequest, WireServer
from place import Place
from small_mad import small_mad

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]
KEY = "sk-very-secret-0123456789"
ARCHITECTURES = ("M" * 16, "AM" * 8, "A" * 8 + "M" * 8)
PROVIDERS = {
    "gemini3pro": {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": "google"},
    "opus46": {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": "anthropic"},
    "gpt5": {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": "openai"},
    "gpt-oss-20b": {"AIRA_BASE_URL_GPT_OSS_20B": "openai-compatible"},
}
RECORDED = Path(__file__).parent / "recorded" / "greedy-mad-2p"


def brain(request: WireRequest) -> Reply:
    """Deterministic: which architecture, or which mistake, follows from the prompt."""
    text = request.messages[-1][1]
    if request.schema is not None:
        bug = "exit status 1" in text
        return Reply(json.dumps({"is_bug": bug, "summary": "it crashed" if bug else "it ran", "metric": None}))
    draw = int(hashlib.sha256(text.encode()).hexdigest(), 16)
    if draw % 5 == 0 and "cannot be used" not in text:
        return Reply("I forgot the program.")
    if "This solution failed" not in text and draw % 7 == 0:
        return Reply("A crash.\n```python\nraise SystemExit(1)\n```")
    architecture = ARCHITECTURES[draw % len(ARCHITECTURES)]
    return Reply(
        f"I try {architecture}.\n```python\nopen('submission.csv', 'w').write('architecture\\n{architecture}\\n')\n```"
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("models")
    small_mad(root)
    return Place(root / "home", root / "runs")


@pytest.fixture(scope="module")
def server() -> Iterator[WireServer]:
    with WireServer(brain) as running:
        yield running


def settings(card: str, server: WireServer) -> dict[str, str]:
    """Environment of a run against the local server."""
    keys = ",".join(f"{name}=127.0.0.1" for name in PROVIDERS[card] if name.endswith("KEY"))
    return {"AIRA_ALLOW_KEY": keys} | {
        name: server.base_url(value) if name.endswith("URL") or "BASE_URL" in name else value  # type: ignore[arg-type]
        for name, value in PROVIDERS[card].items()
    }


def search(place: Place, steps: int = 8) -> tuple[str, ...]:
    (task,) = place.home.parent.glob("Neural*")
    return ("--task", str(task), "--profile", "cpu", "--steps", str(steps))


@pytest.mark.parametrize(("card", "seeds"), [(card, 2 if card == "gemini3pro" else 1) for card in PROVIDERS])
def test_a_greedy_search_by_each_provider_runs_to_its_budget(
    place: Place, server: WireServer, card: str, seeds: int
) -> None:
    answer = place.call(
        "run", "--agent", card, *search(place), "--seeds", str(seeds), "--name", card, "--json",
        **settings(card, server),
    )  # fmt: skip
    (row,) = json.loads(answer.stdout)["board"]
    assert row["seeds_ended"] == seeds
    assert row["valid_submission_rate"] == 1.0
    assert row["input_tokens"] > 0
    assert (row["cost_usd"] is None) == (card == "gpt-oss-20b"), "an unknown price is unknown, never 0"
    for seed in range(seeds):
        tree = place.tree(card, seed)
        assert len(tree) == 8
        assert [row[1] for row in tree[:5]] == ["draft"] * 5
    manifest = place.run(card).manifest
    assert manifest.prompts
    assert manifest.card is not None
    assert manifest.card["name"] == card
    for path in place.run(card).path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    shown = place.call("status").stdout
    assert "$" in shown or card == "gpt-oss-20b"


def test_a_replay_needs_no_key_and_gives_the_same_tree(place: Place, server: WireServer) -> None:
    if not place.run("gemini3pro").path.exists():
        test_a_greedy_search_by_each_provider_runs_to_its_budget(place, server, "gemini3pro", 2)
    place.call("run", "--agent", "replay:gemini3pro", "--name", "replayed")
    for seed in (0, 1):
        assert place.tree("replayed", seed) == place.tree("gemini3pro", seed)
        plain, again = (untimed(place.run(name).seed(seed).journal) for name in ("gemini3pro", "replayed"))
        assert plain == again


def untimed(journal: Path) -> list[Any]:
    """What a journal tells of the search: without times, whose it is, and hashes of what holds times."""
    text = re.sub(r'"(at|[a-z]+_s)":("[^"]*"|[0-9.e-]+)', '"":0', journal.read_text())
    bodies = [json.loads(line)["body"] for line in text.splitlines()]
    for body in bodies:
        body.get("node", {}).get("timings", {}).pop("waited_s", None)  # for what other runs on this machine did
    return [
        {key: value for key, value in body.items() if key not in {"files", "score_sha256"}}
        for body in bodies
        if body["event"] != "seed_opened"
    ]


def test_a_run_killed_in_a_call_asks_for_nothing_twice(place: Place) -> None:
    asked: list[str] = []

    def slow(request: WireRequest) -> Reply:
        asked.append(hashlib.sha256(json.dumps([request.messages, request.schema]).encode()).hexdigest())
        reply = brain(request)
        return Reply(reply.text, delay_s=0.7)

    with WireServer(slow) as server:
        variables = settings("gpt5", server)
        arguments = place.command("run", "--agent", "gpt5", *search(place), "--name", "cut")
        calls = place.run("cut").seed(0).path / "calls"
        with subprocess.Popen(
            arguments, env={**place.environment, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            while len(list(calls.rglob("call_*.json"))) < 5:
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
        place.call("resume", "cut", **variables)
        answered = len(recorded_exchanges(calls))
    assert len(place.tree("cut")) == 8
    searching = len(asked) - 2  # `run` and `resume` each try the model with one tiny call first
    assert answered <= searching <= answered + 1, "only the call in flight may have been asked twice"


def test_without_a_key_a_run_stops_at_once_and_says_what_to_do(place: Place) -> None:
    started_s = time.monotonic()
    done = place.call("run", "--agent", "gemini3pro", *search(place), status=3)
    assert time.monotonic() - started_s < stretched(5), "a smoke check; under a second on an idle machine"
    (line,) = done.stderr.strip().splitlines()
    for part in ("GEMINI_API_KEY", "--agent evolution", "replay:"):
        assert part in line


def test_a_budget_ends_the_seeds_and_is_never_passed(place: Place, server: WireServer, tmp_path: Path) -> None:
    card = tmp_path / "small.toml"
    card.write_text(
        'name = "small"\ntitle = "Small"\nprovider = "openai-compatible"\nmodel = "small"\nmax_output_tokens = 2000\n'
        "[prices]\nusd_per_mtok_input = 1.0\nusd_per_mtok_cached_input = 1.0\nusd_per_mtok_output = 1.0\n"
        'as_of = 2026-01-01\nsource = "a test"\n'
    )
    for name, cap in (("tokens", ("--max-tokens", "15000")), ("dollars", ("--max-cost-usd", "0.015"))):
        place.call("run", "--agent", str(card), *search(place, 40), "--seeds", "2", "--name", name, *cap,
                   AIRA_BASE_URL_SMALL=server.base_url("openai-compatible"))  # fmt: skip
        use = [
            item.completion for seed in (0, 1) for item in recorded_exchanges(place.run(name).seed(seed).path / "calls")
        ]
        spent = sum((item.usage.input_tokens or 0) + (item.usage.output_tokens or 0) for item in use)
        assert 0 < spent <= 15000
        assert sum(item.cost_usd or 0.0 for item in use) == pytest.approx(spent / 1e6)
        for seed in (0, 1):
            assert len(place.tree(name, seed)) < 40
            assert '"why":"budget"' in place.run(name).seed(seed).journal.read_text()


def test_a_python_function_takes_a_models_place(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "def answer(request):\n"
        "    if request.schema:\n"
        '        return \'{"is_bug": false, "summary": "fine", "metric": null}\'\n'
        "    program = \"open('submission.csv', 'w').write('architecture\\\\n\" + 'M' * 16 + \"\\\\n')\"\n"
        "    return 'All MLP.\\n```python\\n' + program + '\\n```'\n"
    )
    place.call("run", "--agent", f"script:{file}", *search(place, 2), "--name", "mine")
    tree = place.tree("mine")
    assert [row[3] for row in tree] == ["valid", "valid"]
    assert tree[0][6] == ",".join("M" * 16)


EDITOR = """
def answer(request):
    text = request.messages[0].text
    if request.schema:
        return '{"is_bug": false, "summary": "ran", "metric": null}'
    if "### change:" not in text:
        return "```python\\nlayers = 'MMMMMMMMMMMMMMMM'\\nopen('submission.csv', 'w').write('architecture\\\\n' + layers)\\n```"
    return (
        "Attention.\\n### change: alternate\\n<<<<<<< SEARCH\\nlayers = 'MMMMMMMMMMMMMMMM'\\n=======\\n"
        "layers = 'AMAMAMAMAMAMAMAM'\\n>>>>>>> REPLACE\\n"
    )
"""


def test_a_named_edit_is_applied_scored_and_told(place: Place, tmp_path: Path) -> None:
    file = tmp_path / "editor.py"
    file.write_text(EDITOR)
    place.call("run", "--agent", f"script:{file}", *search(place, 6), "--scaffold", "greedy-edit", "--name", "edits")
    (change,) = json.loads(place.call("status", "edits", "--changes", "--json").stdout)
    assert (change["step"], change["parent"], change["changes"], change["single"]) == (6, 1, ["alternate"], True)
    assert change["moved by"] > 0


def test_the_recorded_run_that_ships_with_the_tests_replays(place: Place) -> None:
    shutil.copytree(RECORDED, place.runs / "recorded")
    place.call("run", "--agent", "replay:recorded", "--name", "recorded-again")
    recorded, again = place.tree("recorded"), place.tree("recorded-again")
    assert [row[:4] + row[5:7] for row in again] == [row[:4] + row[5:7] for row in recorded]
    assert {row[3] for row in recorded} > {"valid"}, "the record holds failures too"
