"""What a suite may take: sums over cells, by cards and profiles or by earlier runs, checked by hand."""

import json
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line
from aira_bench.suites.estimate import CellCost, agent_use
from aira_bench.suites.suite_file import read_suite, select
from generated_runs import manifest, write_run
from suites.played_suites import TWO_BY_TWO, cost_of, suite_host, written

GREEDY_GPT5 = (
    'title = "t"\n[[matrix]]\nagents = ["gpt5"]\ntasks = ["lra-listops"]\nseeds = 10\nsteps = 500\nhours = 24\n'
)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))


def only(folder: Path, text: str, past: Path | None = None) -> CellCost:
    (cell,) = cost_of(written(folder, text), suite_host(folder), past).cells
    return cell


def test_a_cell_without_earlier_runs_is_reckoned_by_card_and_profile(tmp_path: Path) -> None:
    """344 s a step of listops on one H200, 24 h: 251 steps, ten seeds; GPU-hours between that pace and all hours."""
    cell = only(tmp_path, GREEDY_GPT5)
    assert cell.steps == 24 * 3600 // 344 == 251
    assert cell.seed_hours.low == pytest.approx(10 * (min(24, 500 * 344 / 3600) + 5 * 344 / 3600)), "controls too"
    assert cell.seed_hours.high == 10 * (24 + 3 * 8), "a submission is trained 3 times again, of 8 h at most each"
    assert cell.past_steps == 0
    assert cell.usd is not None
    assert cell.tokens.low < cell.tokens.high
    by_hand = cell.tokens.low * 1.25e-6
    assert cell.usd.low > by_hand, "answers cost eight times what prompts do"
    assert cell.usd.low < cell.tokens.low * 10e-6


def test_one_draft_is_one_step(tmp_path: Path) -> None:
    cell = only(tmp_path, GREEDY_GPT5 + 'scaffold = "one-shot"\n')
    assert cell.steps == 1
    assert cell.seed_hours.low == pytest.approx(10 * (1 + 5) * 344 / 3600)
    assert cell.seed_hours.high == pytest.approx(10 * (12 + 3 * 8)), "a solution has 4 h, its evaluation 8 h"
    assert only(tmp_path, GREEDY_GPT5.replace("gpt5", "baseline")).steps == 1, "by the agent's own scaffold"


def test_earlier_runs_tell_what_a_step_takes(tmp_path: Path) -> None:
    """Generated steps take 1 s each and ask no model: 3 steps of 2 seeds are 6 s."""
    write_run(tmp_path / "past", manifest("past", seeds=(0,), steps=5, agent="random", hardware_class="test"))
    host = suite_host(tmp_path)
    label = host.hardware.label
    write_run(tmp_path / "past", manifest("past2", seeds=(0,), steps=5, agent="random", hardware_class=label))
    costs = {cell.plan.name: cell for cell in cost_of(written(tmp_path), host, tmp_path / "past").cells}
    known = costs["random-mad-2p"]
    assert known.past_steps == 10
    assert known.seed_hours.low == pytest.approx(2 * 3 / 3600), "of this machine's class alone"
    written_bytes = sum(
        path.stat().st_size for path in (tmp_path / "past").glob("*/seeds/**/*") if path.is_file()
    )  # fmt: skip
    assert known.disk_mib.low == known.disk_mib.high == pytest.approx(written_bytes / 10 * 6 / 2**20)
    assert costs["evolution-mad-2p"].past_steps == 0


def test_caps_bound_the_estimate(tmp_path: Path) -> None:
    cell = only(tmp_path, GREEDY_GPT5 + "seed_max_cost_usd = 0.5\nseed_max_tokens = 1000\n")
    assert cell.usd is not None
    assert (cell.usd.low, cell.usd.high, cell.tokens.high) == (5.0, 5.0, 10_000)


def test_a_suite_is_the_sum_of_its_cells(tmp_path: Path) -> None:
    plan = select(read_suite("lra"), agents=["gpt5", "cwm"], tasks=["lra-listops", "lra-text"])
    cost = cost_of(plan, suite_host(tmp_path))
    assert len(cost.cells) == 8
    assert cost.unpriced == ("cwm",)
    assert cost.usd.high == pytest.approx(sum(cell.usd.high for cell in cost.cells if cell.usd is not None))
    assert cost.total(lambda cell: cell.seed_hours).high == pytest.approx(2 * 2 * (10 * (24 + 24) + 20 * (12 + 24)))


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("gpt5", ["set OPENAI_API_KEY"]),
        ("gpt6", ["gpt6", "aira-bench agents"]),
        ("absent.toml", ["absent.toml"]),
        ("script:absent.py", ["absent.py cannot be read"]),
    ],
)
def test_an_agent_that_cannot_be_used_is_named_with_what_to_do(name: str, parts: list[str]) -> None:
    found = agent_use(name)
    assert found.obstacle is not None
    said = str(found.obstacle)
    assert all(part in said for part in parts), said
    assert agent_use("random").obstacle is None


def test_the_command_says_it_and_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = TWO_BY_TWO.replace('["random", "evolution"]', '["random", "gpt5", "gpt6"]')
    (tmp_path / "mine.toml").write_text(text)
    assert run_command_line(["suite", "mine.toml", "--dry-run"]) == 3
    shown = capsys.readouterr()
    assert "6 cells, 12 seeds, in " in shown.out
    assert "agent       gpt5: set OPENAI_API_KEY." in shown.out
    assert "agent       gpt6: " in shown.out
    (said,) = shown.err.splitlines()
    assert said.endswith("Try: aira-bench suite mine.toml --dry-run --agents random")
    assert run_command_line(["suite", "mine.toml", "--dry-run", "--agents", "random", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [cell["run"] for cell in record["cells"]] == ["random-mad-2p", "random-mad-3p"]
    assert run_command_line(["suite", "mine.toml"]) == 3
    *agents, said = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in agents] == ["gpt5", "gpt6"]
    assert {path.name for path in tmp_path.iterdir()} == {"mine.toml"}


def test_nothing_dear_begins_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    (tmp_path / "mine.toml").write_text(GREEDY_GPT5)
    assert run_command_line(["suite", str(tmp_path / "mine.toml")]) == 2
    assert "nobody is at a terminal to be asked" in capsys.readouterr().err
    assert run_command_line(["suite", str(tmp_path / "mine.toml"), "--yes"]) == 3, "no engine"
    assert not (tmp_path / "runs").exists()
