"""Has another process do what takes torch, since the host imports none.

The process runs code of ours alone, in the Python that runs this one or in one that is named, such as one with a torch
for the GPU; our packages are put on its path. Of the environment it gets what finds programs, packages and devices, no
key among it. It reads one document and answers in lines.

Not covered: what the document and the lines say (`aira_contract.latency`, `exports`).
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping

from aira_bench.errors import PrerequisiteError
from aira_bench.escaping import printable
from aira_bench.excerpts import LINE_CHARS
from aira_bench.scaling.evaluator_process import environment

EXTRA = "aira-bench[evaluator]"


def answers(
    module: str, document: str, python: str | None, *, hint: str, more: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Yield the lines that a process prints, as they come; it ends with whoever stops asking.

    Args:
        module: what it runs.
        document: what it reads.
        python: the interpreter that has torch; None for this one.
        hint: the next command where it ends otherwise.
        more: what its environment has besides.

    Raises:
        PrerequisiteError: there is no torch or no such interpreter, or the process ended otherwise; with its last line.
    """
    if python is None and importlib.util.find_spec("torch") is None:
        raise PrerequisiteError("This takes torch, which is not installed.", hint=f"pip install '{EXTRA}'")
    python = python or sys.executable
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [python, "-P", "-m", module], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env=environment() | dict(more or {}), encoding="utf-8", errors="backslashreplace",
            )  # fmt: skip
        except OSError as error:
            raise PrerequisiteError(f"{python} cannot be started: {error.strerror}.") from error
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(document)
            process.stdin.close()
            for line in process.stdout:
                yield line.rstrip("\n")
            if process.wait() != 0:
                errors.seek(0, os.SEEK_END)
                errors.seek(max(0, errors.tell() - 4 * LINE_CHARS))
                said = errors.read().decode("utf-8", "backslashreplace").strip().splitlines()
                last = printable((said or ["it printed nothing"])[-1])[:LINE_CHARS]
                raise PrerequisiteError(
                    f"The process with torch ended with exit status {process.returncode}: {last}.", hint=hint
                )
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
