"""Has another process measure latencies; what it measured is on disk line by line.

Not covered: what is measured (`aira_contract.latency`, `aira_evaluator.latency`), and how it is started
(`torch_process`).
"""

from collections.abc import Callable
from pathlib import Path

from aira_bench.errors import UsageError
from aira_bench.files import read_text, reason
from aira_bench.scaling.latency import LatencyTable
from aira_bench.scaling.torch_process import answers
from aira_contract.latency import PROCESS, LatencyError, LatencyRequest, LatencyRow, Machine, NotMeasured, read_line

_MOST_BYTES = 64 * 2**20
_COMPOSED = '{"composed": '
"""How lines begin that `bench/model_latency.py` prints for its readers; they follow from the others."""

Line = LatencyRow | NotMeasured | Machine


def measured(request: LatencyRequest, python: str | None, keep: Callable[[str], object]) -> LatencyTable:
    """Return what a process measures.

    Args:
        request: what.
        python: the interpreter that has torch; None for this one.
        keep: is handed every line as soon as it is there.

    Raises:
        PrerequisiteError: there is no torch, no such device, or no such interpreter.
        UsageError: the process answered something else than latencies.
    """
    lines = []
    for text in answers(PROCESS, request.to_json(), python, hint="aira-bench scale latency --scale toy --device cpu"):
        try:
            lines.append(read_line(text))
        except LatencyError as error:
            raise UsageError(f"The process that measures answered what it should not: {error}.") from error
        keep(text)
    return LatencyTable.of(lines)


def read_latencies(path: Path) -> LatencyTable:
    """Return the table in a file of lines, such as `measured` keeps or `bench/model_latency.py` prints.

    Raises:
        UsageError: it cannot be read, or holds no latencies.
    """
    lines: list[Line] = []
    try:
        texts = read_text(path, _MOST_BYTES).splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}.") from error
    for number, text in enumerate(texts, start=1):
        if not text.strip() or text.startswith(_COMPOSED):
            continue
        try:
            lines.append(read_line(text))
        except LatencyError as error:
            raise UsageError(f"{path}, line {number}: {error}.", hint="aira-bench scale latency --help") from error
    table = LatencyTable.of(lines)
    if not table.rows:
        raise UsageError(f"{path} holds no latencies.", hint=f"aira-bench scale latency --out {path}")
    return table
