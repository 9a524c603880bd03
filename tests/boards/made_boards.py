"""Every format of a board, for tests that compare them with files; and boards that use every column.

Run as a program it writes the files anew: `python tests/boards/made_boards.py`. A change of theirs is a change of what
users read and of what other programs parse, so it is made on purpose and stands in the changelog.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from aira_bench.boards.board import Section, Table, build_tables
from aira_bench.boards.formats import legend, print_tables, records, stacked, to_csv, to_json, to_markdown
from aira_bench.boards.replicates import SeedResult
from aira_bench.boards.rows import Entry, row_of
from aira_bench.keys import SIGNED_HERE, KeyRing
from aira_bench.record.folder import RunFolder
from aira_bench.record.node import ModelUse
from aira_bench.tasks.measured_noise import MeasuredNoise

RECORDED = Path(__file__).resolve().parents[1] / "recorded"
BOARDS = Path(__file__).resolve().parent / "frozen"

MAD = Section("mad-2p", "Accuracy", False, "cpu", "a processor", "evaluator:1", "aaaa-bbbb", "search")
BPB = replace(MAD, task="bpb", metric="BPB", lower_is_better=True, seed_set="final", synthetic=True)
NEVER_ENDED = SeedResult(
    seed=0, created="2026-01-01", ended=False, steps=0, valid_steps=0, infra_errors=0, retries=0, wall_s=0.0,
    submitted=None, validation=None, test=None, best_test=None, trainings=(), trainings_wanted=3, claimed=None, claimed_less_trusted=None, overclaim=None,
    flagged=False, unranked=(), awaits_confirm=False, validation_standard_error=None, test_standard_error=None,
    training_standard_errors=(), normalized=None, normalized_corrected=None, not_normalized="", model_use=ModelUse(),
)  # fmt: skip
ENDED = replace(
    NEVER_ENDED, ended=True, steps=40, valid_steps=25, infra_errors=2, retries=3, wall_s=6123.4567, submitted=7,
    validation=0.5, test=0.52, best_test=0.6, claimed=0.7, claimed_less_trusted=0.2, overclaim=0.15, flagged=True,
    validation_standard_error=0.03, normalized=0.4, normalized_corrected=0.3, model_use=ModelUse(3, 1000, 234, 1.23456),
)  # fmt: skip
CONFIRMED = replace(ENDED, seed=1, test=0.31, validation=0.4, validation_standard_error=0.04, trainings=(0.28, 0.29, 0.30),
                    training_standard_errors=(0.01, 0.01, 0.01), claimed_less_trusted=-0.1, overclaim=-0.05, flagged=False)  # fmt: skip
UNRANKED = replace(
    ENDED, seed=2, test=0.99, best_test=0.5, unranked=("hard_wired",), normalized=0.0, normalized_corrected=0.0
)
AWAITING = replace(ENDED, seed=3, test=0.98, awaits_confirm=True, normalized=None, normalized_corrected=None)
LOST = replace(NEVER_ENDED, seed=4, ended=True, steps=4, infra_errors=4, retries=8, wall_s=12.0)
PLAIN = replace(NEVER_ENDED, ended=True, steps=5, infra_errors=1, wall_s=303.4, submitted=2, validation=0.3, test=0.25,
                trainings=(0.18, 0.2, 0.22), training_standard_errors=(None,) * 3, not_normalized="profile cpu", model_use=ModelUse(2, None, None, None))  # fmt: skip

ENTRY = Entry("random", "linear", "hidden", 10, 1.0, SIGNED_HERE, "shared")
EMPTY = row_of(ENTRY, {0: [NEVER_ENDED]}, {0: 0})
FULL = row_of(
    Entry("gemini|3", "mcts", "claimed", 200, 24.0, "signed by abcd (trusted)", "own trees"),
    {
        0: [NEVER_ENDED, replace(ENDED, created="2026-03-01"), replace(ENDED, created="2026-02-01", test=0.2)],
        1: [CONFIRMED], 2: [UNRANKED], 3: [AWAITING], 4: [LOST], 5: [replace(NEVER_ENDED, seed=5, steps=3, retries=1)],
    },
    {0: 2, 1: 0, 2: 1, 3: 1, 4: 1, 5: 1},
)  # fmt: skip
UNPRICED = row_of(
    replace(ENTRY, agent="=HYPERLINK()", record="unsigned", isolation="dropped caches"), {0: [PLAIN]}, {0: 0}
)
RANKED = replace(
    row_of(
        replace(ENTRY, agent="evolution"),
        {0: [PLAIN], 1: [replace(PLAIN, seed=1, trainings=(0.48, 0.5, 0.52))]}, {0: 0, 1: 0},
    ),
    rank="1-2",
)  # fmt: skip
NOISE = MeasuredNoise(deviation=0.02, artifacts=3, trainings=30, measured="2026-01-01", hardware="a processor")
RETRIED = row_of(UNPRICED.entry, {0: [replace(PLAIN, retries=2, infra_errors=0)]}, {0: 0})


def made_tables() -> list[Table]:
    """Two tables in which every column has something, and every format something to escape."""
    return [Table(MAD, (RANKED, replace(UNPRICED, rank="1-2"), FULL, EMPTY), NOISE), Table(BPB, (RETRIED,))]


def recorded_tables() -> list[Table]:
    """The board of the recorded run."""
    return build_tables([RunFolder(RECORDED / "greedy-mad-2p")], KeyRing())


def formats(tables: list[Table]) -> dict[str, str]:
    """Every form in which boards are shown, by the name of its file."""
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        print_tables(tables)
    return {
        "csv": to_csv(tables),
        "json": to_json(tables),
        "md": to_markdown(tables),
        "txt": stream.getvalue(),
        "stacked.txt": "".join(stacked(table, 80) for table in tables) + legend(tables) + "\n",
        "types.json": json.dumps(
            [{key: type(value).__name__ for key, value in row.items()} for row in records(tables)]
        ),
    }


def boards() -> Mapping[str, str]:
    """All files of `tests/recorded/boards`."""
    sets = {"recorded": recorded_tables(), "made": made_tables()}
    return {f"{name}.{suffix}": text for name, tables in sets.items() for suffix, text in formats(tables).items()}


if __name__ == "__main__":
    for variable in ("FORCE_COLOR", "COLUMNS"):
        os.environ.pop(variable, None)
    for file_name, content in boards().items():
        (BOARDS / file_name).write_bytes(content.encode())
    print(f"{len(boards())} files written to {BOARDS}", file=sys.stderr)
