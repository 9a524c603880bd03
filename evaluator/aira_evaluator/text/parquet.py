"""Reads the `text` column of a parquet file, some rows of one row group at a time.

Memory is one batch of rows and what pyarrow holds of a row group. Not covered: other columns, and what a row without
text means, which callers decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aira_evaluator.split_manifest import DataError
from aira_evaluator.text.unpacking import Allowance

COLUMN = "text"
LARGEST_GROUP_BYTES = 8 << 30
"""By its own word; what a page claims beyond that meets the container's memory limit."""


@dataclass(frozen=True)
class Rows:
    """Consecutive rows of a row group."""

    group: int
    first: int
    """Index of the first row within its group."""
    texts: list[str | None]
    """None where a row holds no text."""


def read_rows(path: Path, most: int) -> Iterator[Rows]:
    """Every row, in order, at most `most` at a time.

    Raises:
        DataError: the file is truncated or damaged, or its column is not one of text.
        OSError: it cannot be opened.
    """
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    try:
        allowance = Allowance(path.stat().st_size, path.name)
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            if COLUMN not in schema.names:
                raise DataError(f"{path.name}: no column {COLUMN!r} among {', '.join(schema.names)}")
            for group in range(file.num_row_groups):
                if file.metadata.row_group(group).total_byte_size > LARGEST_GROUP_BYTES:
                    raise DataError(
                        f"{path.name}: row group {group} unpacks to more than {LARGEST_GROUP_BYTES >> 30} GiB"
                    )
                first = 0
                for batch in file.iter_batches(most, row_groups=[group], columns=[COLUMN], use_threads=False):
                    texts = batch.column(0).to_pylist()
                    if not all(text is None or isinstance(text, str) for text in texts):
                        raise DataError(
                            f"{path.name}: column {COLUMN!r} is of {schema.field(COLUMN).type}, not of text"
                        )
                    allowance.use(sum(len(text) for text in texts if text))
                    yield Rows(group, first, texts)
                    first += len(texts)
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{path.name}: truncated or damaged: {' '.join(str(error).split())[:200]}") from None
