"""Every file of a board that goes out: a record, tables in each format, and a site.

All are functions of the tables and of the runs behind them, so that whoever has the runs can make them again, byte for
byte (`aira_bench.publication.verification`).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from aira_bench.boards.board import Table
from aira_bench.boards.formats import record_kinds, records, to_csv, to_json, to_markdown
from aira_bench.boards.order import with_ranks
from aira_bench.files import write_atomically
from aira_bench.keys import KeyRing
from aira_bench.parquet import parquet_is_possible, table_bytes
from aira_bench.publication.document import BOARD_FILE, board_document, document_bytes
from aira_bench.publication.latex import to_latex
from aira_bench.publication.pages import site
from aira_bench.record.run_record import RunRecord

PARQUET = "leaderboard.parquet"


def board_files(
    tables: Sequence[Table],
    runs: Sequence[RunRecord],
    ring: KeyRing,
    left_out: Mapping[str, str],
    *,
    with_parquet: bool,
) -> dict[str, bytes]:
    """Return the content of every file of a board, by name.

    Args:
        tables: of the board; rows get their ranks, which needs the extra `aira-bench[stats]`.
        runs: what it was made from.
        ring: the keys of the machine that makes it.
        left_out: why each run that is in no figure was left out, by its run id.
        with_parquet: whether one of them is the Parquet file, whose content is made where pyarrow is installed.
    """
    tables = with_ranks(tables)
    files = {
        BOARD_FILE: document_bytes(board_document(tables, runs, ring, left_out)),
        "leaderboard.csv": to_csv(tables).encode(),
        "leaderboard.json": to_json(tables).encode(),
        "leaderboard.md": to_markdown(tables).encode(),
        "leaderboard.tex": to_latex(tables).encode(),
    }
    pages = site(tables, runs, sorted([*files, *([PARQUET] if with_parquet else [])]))
    if with_parquet and parquet_is_possible():
        files[PARQUET] = table_bytes(record_kinds(), records(tables))
    return files | {name: page.encode() for name, page in pages.items()}


def write_published(
    tables: Sequence[Table], runs: Sequence[RunRecord], ring: KeyRing, left_out: Mapping[str, str], folder: Path
) -> list[Path]:
    """Write every file of a board into a folder, the Parquet file where pyarrow is installed; return their paths.

    Pages of an earlier board that this one has no more are removed, if they are named as ours are and say so.
    """
    files = board_files(tables, runs, ring, left_out, with_parquet=parquet_is_possible())
    for stale in _pages_of_before(folder):
        if stale.name not in files:
            stale.unlink()
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]


def _pages_of_before(folder: Path) -> list[Path]:
    """Pages that an earlier call wrote, as its index links to them."""
    index = folder / "index.html"
    if not index.is_file() or b"<title>Boards of aira-bench</title>" not in index.read_bytes():
        return []
    linked = re.findall(r'<th scope="row"><a href="([a-z0-9-]+\.html)">', index.read_text(errors="replace"))
    return [folder / name for name in linked if (folder / name).is_file()]
