"""Boards as Parquet: the rows of `leaderboard.json`, typed. Needs pyarrow, of the extra `aira-bench[stats]`.

Not covered: the same bytes from every version of pyarrow, and reading: nothing here opens a stranger's Parquet file.
"""

import importlib.util
import io
from collections.abc import Mapping, Sequence

from aira_bench.boards.columns import Scalar


def parquet_is_possible() -> bool:
    """Whether pyarrow is installed."""
    return importlib.util.find_spec("pyarrow") is not None


def to_parquet(records: Sequence[Mapping[str, Scalar]]) -> bytes:
    """Return the records of a board as the content of one Parquet file; a column without any value is of text."""
    import pyarrow  # type: ignore[import-untyped]  # of the extra
    from pyarrow import parquet

    columns = {}
    for name in records[0] if records else ():
        column = pyarrow.array([record[name] for record in records])
        columns[name] = column.cast(pyarrow.string()) if pyarrow.types.is_null(column.type) else column
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()
