"""The blocks of docs/api.md, run one after the other in one process, and what its tables say."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from aira_bench import testing
from aira_bench.extensions import OFFERS, group_of
from aira_bench.keys import KeyFolder
from generated_runs import manifest, write_run

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "api.md").read_text()
BLOCKS = re.findall(r"^```python( no-run)?\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.timeout(120)
def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = KeyFolder(tmp_path / "home" / "keys")
    write_run(tmp_path / "runs", manifest("demo", seeds=(0, 1), steps=3), key=keys.machine_key(), seen=keys.seen)
    code = "\n".join(text for marked, text in BLOCKS if not marked)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False, timeout=100,
        env={"AIRA_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 6 + 1, "six steps and a row"
    assert lines[-1].startswith("mad-2p evolution Spread(")


def test_blocks_that_need_containers_at_least_name_what_there_is() -> None:
    import aira_bench

    (text,) = [text for marked, text in BLOCKS if marked]
    names = re.findall(r"aira_bench\.(\w+)", text)
    assert len(names) >= 3
    assert all(hasattr(aira_bench, name) for name in names)
    compile(text, "docs/api.md", "exec")


def test_its_tables_are_whole() -> None:
    for kind, offers in OFFERS.items():
        (row,) = re.findall(rf"^\| {kind} \| (.*) \|$", PAGE, re.MULTILINE)
        assert set(re.findall(r"`(\w+)`", row)) - {"AgentOptions"} == set(offers), kind
        assert f".{group_of(kind).partition('.')[2]}" in PAGE
    suites = {name for name in testing.__all__ if name.endswith("_CHECKS")}
    assert suites == {name for name in suites if f"`{name}`" in PAGE}
