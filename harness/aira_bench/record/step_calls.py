"""Which files of a step are records of its model calls, and in which order they were made.

An agent's model records into a folder for each of its operators, `calls/<step>/propose/call_000.json`.

Not covered: what is in them (`aira_bench.llm.recording`).
"""

from collections.abc import Iterable
from pathlib import PurePosixPath


def call_names(names: Iterable[str], step: int) -> list[str]:
    """Return those of some files that are a step's model calls, in order: code is proposed before its end is analyzed.

    Args:
        names: paths below the folder of a seed.
        step: its number.
    """
    under = f"calls/{step:04d}/"
    found = [name for name in names if name.startswith(under) and PurePosixPath(name).match("call_*.json")]
    return sorted(found, key=lambda name: (name.startswith(f"{under}analyze"), name))
