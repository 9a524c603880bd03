"""What an attempt leaves that infrastructure or a stop cut short: kept beside the step's files, never overwritten.

Not covered: which failures are tried again (`aira_bench.runs.step`).
"""

import itertools
from collections.abc import Collection
from pathlib import Path

from aira_bench.errors import AiraError
from aira_bench.escaping import printable
from aira_bench.output import display
from aira_bench.sandbox.protocol import StepLost

SOLUTION = "solution.py"


def keep_attempt(
    folder: Path, name: str, failure: AiraError | None = None, *, staying: Collection[str] = (SOLUTION,)
) -> None:
    """Move what an attempt left in a step's folder to `attempt-NAME` in it, with the failure's words.

    Args:
        folder: made if absent. Earlier attempts stay in it.
        name: a number is added where there is an attempt of that name.
        failure: the engine's, with what the code had printed by then.
        staying: names that stay in it too; none where another solution takes the old one's place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    left = [path for path in folder.iterdir() if not path.name.startswith("attempt-")]
    names = itertools.chain([f"attempt-{name}"], (f"attempt-{name}-{number}" for number in itertools.count(2)))
    kept = next(path for path in (folder / each for each in names) if not path.exists())
    kept.mkdir()
    for path in left:
        if path.name not in staying:
            path.rename(kept / path.name)
    if failure is not None:
        (kept / "failure.txt").write_text(printable(str(failure)) + "\n", encoding="utf-8")
    if isinstance(failure, StepLost) and failure.output is not None:
        for stream, output in zip(("stdout", "stderr"), failure.output, strict=True):
            (kept / f"{stream}.txt").write_text(display(output), encoding="utf-8")
