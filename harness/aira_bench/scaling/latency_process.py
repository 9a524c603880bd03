"""Has another process measure latencies, since torch is what it takes and the host imports none.

The process runs code of ours alone, in the Python that runs this one or in one that is named, such as one with a torch
for the GPU; our packages are put on its path. Of the environment it gets what finds programs, packages and devices, no
key among it. What it measured is on disk line by line.

Not covered: what is measured (`aira_contract.latency`, `aira_evaluator.latency`).
"""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from aira_bench.errors import PrerequisiteError, UsageError
from aira_bench.escaping import printable
from aira_bench.excerpts import LINE_CHARS
from aira_bench.files import read_text, reason
from aira_bench.scaling.evaluator_process import environment
from aira_bench.scaling.latency import LatencyTable
from aira_contract.latency import PROCESS, LatencyError, LatencyRequest, LatencyRow, Machine, NotMeasured, read_line

EXTRA = "aira-bench[evaluator]"
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
    if python is None and importlib.util.find_spec("torch") is None:
        raise PrerequisiteError(
            "Latency is measured with torch, which is not installed.", hint=f"pip install '{EXTRA}'"
        )
    lines = []
    for text in _answers(request, python or sys.executable):
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


def _answers(request: LatencyRequest, python: str) -> Iterator[str]:
    """Lines as they are printed; ends the process with whoever stops asking."""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [python, "-P", "-m", PROCESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env=environment(), encoding="utf-8", errors="backslashreplace",
            )  # fmt: skip
        except OSError as error:
            raise PrerequisiteError(f"{python} cannot be started: {error.strerror}.") from error
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(request.to_json())
            process.stdin.close()
            for line in process.stdout:
                yield line.rstrip("\n")
            if process.wait() != 0:
                errors.seek(0)
                said = errors.read()[-4 * LINE_CHARS :].decode("utf-8", "backslashreplace").strip().splitlines()
                last = printable((said or ["it printed nothing"])[-1])[:LINE_CHARS]
                raise PrerequisiteError(
                    f"The process that measures ended with exit status {process.returncode}: {last}.",
                    hint="aira-bench scale latency --scale toy --device cpu",
                )
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
