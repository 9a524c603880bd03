"""A valid step without its score is named; no mean is taken without it."""

from pathlib import Path

import pytest

from aira_bench.errors import RunStateError
from aira_bench.keys import KeyRing, MachineKey
from aira_bench.record.run_record import read_run, read_runs
from generated_runs import manifest, write_run

KEY = MachineKey(b"4" * 32)


@pytest.mark.parametrize("key", [KEY, None], ids=["signed", "unsigned"])
@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_valid_step_whose_score_is_gone_is_named(tmp_path: Path, key: MachineKey | None, line: int) -> None:
    run = write_run(tmp_path, manifest("a", seeds=(0, 1), steps=3), invalid_share=0.0, key=key)
    ring = KeyRing(KEY.public)
    assert len(read_run(run, ring).seed(1).scores) == 3
    scores = run.seed(1).scores.path
    lines = scores.read_bytes().splitlines(keepends=True)
    scores.write_bytes(b"".join(lines[:line] + lines[line + 1 :]))
    with pytest.raises(RunStateError, match=r"Run a: seed 1: hidden/scores\.jsonl: ") as caught:
        read_run(run, ring)
    assert key is not None or f"the score of step {line + 1} is missing" in caught.value.message
    assert read_runs([run], ring)[0] == [], "and it is on no board"


def test_a_score_file_that_is_gone_is_named_too(tmp_path: Path) -> None:
    run = write_run(tmp_path, manifest("a", seeds=(0,), steps=1), invalid_share=0.0)
    run.seed(0).scores.path.unlink()
    with pytest.raises(RunStateError, match="the score of step 1 is missing, and the step is valid"):
        read_run(run, KeyRing())
