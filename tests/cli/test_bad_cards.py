"""One bad card takes nothing from the list of agents but itself."""

import json
import os
from pathlib import Path

import pytest

from aira_bench.cli.main import run_command_line


@pytest.mark.timeout(30)
@pytest.mark.parametrize("kind", ["no toml", "unknown key", "pipe", "device"])
def test_a_bad_card_is_named_and_every_other_agent_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert run_command_line(["agents", "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    card = tmp_path / "aira-bench" / "agents" / "bad.toml"
    card.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(card)
    elif kind == "device":
        card.symlink_to("/dev/zero")
    else:
        card.write_text("[" if kind == "no toml" else 'name = "bad"\nprise = 3\n')
    assert run_command_line(["agents", "--json"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out) == before
    assert len(said.err.splitlines()) == 1
    assert "bad.toml" in said.err
