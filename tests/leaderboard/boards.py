"""Every format of a board, for tests that compare them with files; and boards that use every column.

Run as a program it writes the files anew: `python tests/leaderboard/boards.py`. A change of theirs is a change of what
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

from aira_bench.keys import SIGNED_HERE, KeyRing
from aira_bench.leaderboard.board import Entry, Row, Section, Spread, Table, build_tables
from aira_bench.leaderboard.formats import legend, print_tables, records, stacked, to_csv, to_json, to_markdown
from aira_bench.runs.folder import RunFolder
from aira_bench.runs.node import ModelUse

RECORDED = Path(__file__).resolve().parents[1] / "recorded"
BOARDS = RECORDED / "boards"

MAD = Section("mad-2p", "Accuracy", False, "cpu", "a processor", "evaluator:1", "aaaa-bbbb", "search")
BPB = replace(MAD, task="bpb", metric="BPB", lower_is_better=True, seed_set="final", synthetic=True)
EMPTY = Row(
    entry=Entry("random", "linear", "hidden", 10, 1.0, SIGNED_HERE, "shared"),
    seeds=1, ended=0, valid_submission_rate=None, valid_step_rate=None, validation=None, test=None, best_test=None,
    confirmed=None, claimed=None, claimed_less_trusted=None, flagged=0, unranked=0, awaiting=0, normalized=None,
    normalized_corrected=None, steps=0, wall_s=0.0, infra_errors=0, retries=0, runs_by_seed={0: 1}, runs_not_shown=0,
    model_use=ModelUse(),
)  # fmt: skip
FULL = Row(
    entry=Entry("gemini|3", "mcts", "claimed", 200, 24.0, "signed by abcd (trusted)", "own trees"),
    seeds=5, ended=4, valid_submission_rate=0.75, valid_step_rate=0.625, validation=Spread(0.5, 0.1, 3, 0.02),
    test=Spread(0.51, 0.11, 3), best_test=Spread(0.6, 0.05, 4), confirmed=Spread(0.49, None, 1, 0.01),
    claimed=Spread(0.7, 0.0, 3), claimed_less_trusted=Spread(0.2, 0.1, 3), flagged=2, unranked=1, awaiting=1,
    normalized=Spread(0.4, 0.3, 4), normalized_corrected=Spread(0.3, 0.3, 4), steps=800, wall_s=86_412.3456,
    infra_errors=3, retries=7, runs_by_seed={4: 2, 0: 3, 1: 1, 2: 2, 3: 2}, runs_not_shown=5,
    model_use=ModelUse(12, 1000, 234, 1.23456),
)  # fmt: skip
UNPRICED = replace(
    EMPTY,
    entry=replace(EMPTY.entry, agent="=HYPERLINK()", record="unsigned", isolation="dropped caches"),
    ended=1, test=Spread(0.25, None, 1), validation=Spread(0.3, None, 1), valid_submission_rate=1.0, steps=4,
    wall_s=303.4, infra_errors=1, confirmed=Spread(0.2, None, 1), normalized=Spread(0.1, None, 1),
    model_use=ModelUse(2, None, None, None),
)  # fmt: skip


def made_tables() -> list[Table]:
    """Two tables in which every column has something, and every format something to escape."""
    return [Table(MAD, (FULL, UNPRICED, EMPTY)), Table(BPB, (replace(UNPRICED, retries=2, infra_errors=0),))]


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
