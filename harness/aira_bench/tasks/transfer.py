"""How far the download of a public file is, for whoever shows it.

Apart from the download itself (`download`), whose HTTP is not loaded where nothing is fetched.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Transfer:
    """How far one file is."""

    name: str
    done_bytes: int
    total_bytes: int | None
