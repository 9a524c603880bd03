"""Checking a card: what it says and what is missing are findings; a broken card is one line and exit status 1."""

import json
from pathlib import Path

import pytest

from aira_bench.authoring.templates import write_template
from aira_bench.cli.main import run_command_line


@pytest.fixture
def card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AIRA_BASE_URL_MINE", "OPENAI_API_KEY", "OPENAI_BASE_URL", "AIRA_ALLOW_KEY"):
        monkeypatch.delenv(name, raising=False)
    return write_template("card", "mine", tmp_path).path


def checked(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert run_command_line(["check", str(path)]) == 0
    return capsys.readouterr().out


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_template_works(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = checked(card, capsys)
    assert "Example model (openai-compatible: example/model)" in shown
    assert "calls go to http://localhost:8000/v1" in shown
    assert "remark  mine.toml: no prices" in shown
    assert f"aira-bench run --agent {card}" in shown


def test_a_variable_that_goes_before_the_card_is_shown(
    card: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRA_BASE_URL_MINE", "http://127.0.0.1:9/v1")
    assert "calls go to http://127.0.0.1:9/v1" in checked(card, capsys)


def test_a_missing_key_is_a_remark_with_the_command_that_sets_it(
    card: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(card, "# key_variable", "key_variable")
    assert "remark  environment: set OPENAI_API_KEY: export OPENAI_API_KEY=..." in checked(card, capsys)


def test_a_key_that_may_not_go_to_the_server_is_a_remark(
    card: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    change(card, "# key_variable", "key_variable")
    change(card, "http://localhost:8000", "https://gateway.example.org")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-mine")
    shown = checked(card, capsys)
    assert "confirm that OPENAI_API_KEY may go to gateway.example.org" in shown
    assert "export AIRA_ALLOW_KEY=OPENAI_API_KEY=gateway.example.org" in shown
    assert "sk-secret" not in shown


def test_json_has_the_findings(card: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["check", str(card), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["checked"] == "mine"
    assert answer["score"] is None
    assert {finding["check"] for finding in answer["findings"]} == {"mine.toml", "environment"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("max_output_tokens", "max_ouput_tokens", "max_output_tokens: Field required"),
        ('provider = "openai-compatible"', 'provider = "openrouter"', "provider"),
        ('name = "mine"', 'name = "other"', "says name = 'other'"),
        ("temperature = 1.0", "temperature = 3.0", "sampling.temperature"),
        ('base_url = "http', 'base_url = "ftp', "not an http or https URL"),
        ('provider = "openai-compatible"', 'provider = "anthropic"', "needs key_variable"),
        ("[sampling]", "[sampling", "no TOML file"),
        ("# [reasoning]\n# effort", "[reasoning]\neffort = 'huge' #", "reasoning.effort"),
    ],
)
def test_a_broken_card_is_one_line(
    card: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, said: str
) -> None:
    change(card, old, new)
    assert run_command_line(["check", str(card)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert str(card) in shown.err
    assert said in shown.err


def test_a_card_that_is_absent_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["check", str(tmp_path / "absent.toml")]) == 1
    assert "Cannot read the agent card" in capsys.readouterr().err
