"""Names that stand for nothing: the known one that was meant is named, for every kind of name that a user types."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.cli.main import run_command_line
from aira_bench.near_names import guess, nearest
from generated_runs import manifest, write_run

AGENTS = ["evolution", "gpt4o", "gpt5", "gemini31pro", "gemini3pro", "o3", "o3-mini", "opus45"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("GPT-5", "gpt5"), ("Gemini 3 Pro", "gemini3pro"), ("Opus 4.5", "opus45"), ("O3-mini", "o3-mini"),
     ("evolutoin", "evolution"), ("xyzzy", None), ("", None)],
)  # fmt: skip
def test_a_name_as_tables_print_it_leads_to_the_one_that_commands_take(typed: str, meant: str | None) -> None:
    assert nearest(typed, AGENTS) == meant


def test_where_none_is_alike_all_are_listed() -> None:
    assert guess("xyzzy", ["a", "b"], "Shipped are") == "Shipped are: a, b."


@given(st.sampled_from(AGENTS), st.sampled_from(["-", " ", "_", "."]), st.integers(0, 8))
def test_case_and_punctuation_tell_nothing_apart(name: str, mark: str, place: int) -> None:
    assert nearest(f"{name[:place]}{mark}{name[place:]}".upper(), AGENTS) == name


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["run", "--agent", "GPT-5", "--task", "mad-2p", "--profile", "cpu"], "gpt5"),
        (["run", "--agent", "random", "--task", "MAD-2P", "--profile", "cpu"], "mad-2p"),
        (["run", "--agent", "random", "--task", "mad-2p", "--profile", "CPU"], "cpu"),
        (["run", "--agent", "random", "--task", "mad-2p", "--profile", "cpu", "--scaffold", "Gredy"], "greedy"),
        (["run", "--agent", "replay:my_run"], "my-run"),
        (["noise", "MAD 2P", "--profile", "cpu"], "mad-2p"),
        (["suite", "LRA", "--dry-run"], "lra"),
        (["suite", "lra", "--agents", "GPT-5", "--dry-run"], "gpt5"),
        (["suite", "lra", "--tasks", "LRA-Texts", "--dry-run"], "lra-text"),
        (["show", "My run"], "my-run"),
        (["leaderboard", "--exclude", "myrun", "--why", "it failed"], "my-run"),
        (["extrapolate", "Llama3.2", "--scale", "1B"], "llama-3.2"),
        (["extrapolate", "AIRAformer_A", "--scale", "1B"], "airaformer-a"),
        (["STATUS"], "status"),
        (["images", "Build"], "build"),
    ],
)
def test_every_kind_of_name_has_its_guess(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    meant: str,
) -> None:
    monkeypatch.setenv("AIRA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIRA_RUNS", str(tmp_path / "runs"))
    write_run(tmp_path / "runs", manifest("my-run", seeds=(0,), steps=1))
    try:
        status: object = run_command_line(arguments)
    except SystemExit as end:
        status = end.code
    assert status == 2
    assert re.search(f"[Dd]id you mean '{re.escape(meant)}'\\? ", capsys.readouterr().err)
