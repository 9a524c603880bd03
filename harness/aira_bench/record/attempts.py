"""What an attempt leaves that infrastructure or a stop cut short: kept beside the step's files, never overwritten.

Not covered: which failures are tried again (`aira_bench.runs.step`).
"""

from collections.abc import Collection
from pathlib import Path

from aira_bench.errors import AiraError
from aira_bench.escaping import printable
from aira_bench.output import display
from aira_bench.sandbox.sandbox import StepLost

_ATTEMPT = "attempt_"


def keep_attempt(folder: Path, failure: AiraError | None = None, *, besides: Collection[str] = ()) -> None:
    """Move what an attempt left in a step's folder to the next `attempt_<n>` in it, with the failure's words.

    Args:
        folder: made if absent. Earlier attempts stay in it.
        failure: the engine's, with what the code had printed by then.
        besides: names that stay too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = list(folder.iterdir())
    earlier = [path for path in found if path.name.startswith(_ATTEMPT)]
    kept = folder / f"{_ATTEMPT}{len(earlier) + 1}"
    kept.mkdir()
    for path in found:
        if path not in earlier and path.name not in besides:
            path.rename(kept / path.name)
    if failure is not None:
        (kept / "failure.txt").write_text(printable(str(failure)) + "\n", encoding="utf-8")
    if isinstance(failure, StepLost) and failure.output is not None:
        for stream, output in zip(("stdout", "stderr"), failure.output, strict=True):
            (kept / f"{stream}.txt").write_text(display(output), encoding="utf-8")
