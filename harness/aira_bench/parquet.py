"""Tables as Parquet: named columns of stated types, so that a column without any value has the type of all others.

Needs pyarrow, of the extra `aira-bench[stats]`. The same rows make the same bytes with one version of pyarrow.

Not covered: the same bytes from every version of pyarrow, and reading: nothing here opens a stranger's Parquet file.
"""

import importlib.util
import io
from collections.abc import Mapping, Sequence
from typing import Literal

Kind = Literal["text", "int", "float", "bool"]
"""What a column holds; any value of it may be missing. Whole numbers have 64 bits, fractions are doubles."""


def parquet_is_possible() -> bool:
    """Whether pyarrow is installed."""
    return importlib.util.find_spec("pyarrow") is not None


def table_bytes(kinds: Mapping[str, Kind], records: Sequence[Mapping[str, object]]) -> bytes:
    """Return the content of a Parquet file.

    Args:
        kinds: what each column holds, in their order.
        records: the rows, each with a value for every column; None where it is unknown.
    """
    import pyarrow  # type: ignore[import-untyped]  # of the extra
    from pyarrow import parquet

    types = {"text": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(), "bool": pyarrow.bool_()}
    columns = {
        name: pyarrow.array([record[name] for record in records], type=types[kind]) for name, kind in kinds.items()
    }
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()
