"""Has processes make tokens of texts: the room they take, the request, and the processes.

Cut anywhere, the same command goes on: with a download where it stopped, else with the file that was being read.
Commands beside each other share the work. Not covered: what the processes do (`aira_contract.token_making` names it).
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from aira_bench.errors import AiraError, PrerequisiteError, UsageError
from aira_bench.escaping import printable
from aira_bench.excerpts import LINE_CHARS
from aira_bench.files import read_text, reason, write_atomically
from aira_bench.paths import HostPaths
from aira_bench.scaling.corpus.made import MANIFEST
from aira_bench.scaling.corpus.texts import Texts
from aira_bench.scaling.evaluator_process import environment
from aira_contract.token_making import (
    PROGRAM,
    REQUEST,
    SPARE_DISK_BYTES,
    CorpusFile,
    RequestError,
    TokenRequest,
    expected_token_bytes,
)

EXTRA = "aira-bench[tokens]"
_MOST_BYTES = 1 << 26
_GIB, _MIB = 2**30, 2**20


def require_libraries(tokenizer: Path | None) -> None:
    """Refuse to begin where libraries are missing.

    Raises:
        PrerequisiteError: they are.
    """
    needed = ["numpy", "tokenizers", "zstandard", "pyarrow"]
    if tokenizer is not None and tokenizer.suffix != ".json":
        needed.append("tiktoken")
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise PrerequisiteError(
            f"Tokens are made with {', '.join(missing)}, not installed here.", hint=f"pip install '{EXTRA}'"
        )


def require_room(texts: Texts, out: Path, paths: HostPaths) -> str:
    """Return in words what downloads and tokens take, having looked for so much room.

    Raises:
        PrerequisiteError: less is free.
    """
    sizes = texts.sizes(paths)
    missing = [file.name for file in texts.missing(paths)]
    wanted_bytes = {
        paths.sources: sum(sizes[name] or 0 for name in missing),
        out: sum(expected_token_bytes(CorpusFile(name, size or 0, "", "")) for name, size in sizes.items()),
    }
    unknown = sum(size is None for size in sizes.values())
    said = (
        f"{len(sizes)} files of {texts.name}: {len(missing)} to download, {wanted_bytes[paths.sources] / _MIB:,.1f} "
        f"MiB; tokens up to {wanted_bytes[out] / _MIB:,.1f} MiB"
        + (f"; {unknown} files of unknown size" if unknown else "")
    )
    devices: dict[int, int] = {}
    for folder, wanted in wanted_bytes.items():
        there = next(each for each in (folder, *folder.parents) if each.exists())
        device = there.stat().st_dev
        devices[device] = devices.get(device, SPARE_DISK_BYTES) + wanted
        free = shutil.disk_usage(there).free
        if free < devices[device]:
            raise PrerequisiteError(
                f"{said}; with a reserve that is {devices[device] / _GIB:.2f} GiB in {there}, where "
                f"{free / _GIB:.2f} GiB are free.",
                hint="fewer --shards, --out on another disk, or AIRA_HOME on another",
            )
    return said


def file_sha256(path: Path) -> str:
    """Return the hash of a tokenizer's file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}.", hint="--tokenizer FILE") from error


def check_folder(out: Path, request: TokenRequest) -> None:
    """Refuse a folder that holds something else than this request began.

    Raises:
        UsageError: it does.
    """
    try:
        found = TokenRequest.from_json(read_text(out / REQUEST, _MOST_BYTES)).identity
    except FileNotFoundError:
        others = out.exists() and any(not each.name.startswith(".") for each in out.iterdir())
        if (out / REQUEST).exists():  # another process began meanwhile
            check_folder(out, request)
            return
        if others:
            raise UsageError(f"{out} holds something else than tokens in the making.", hint="--out DIR") from None
        return
    except (OSError, ValueError, RequestError) as error:
        raise UsageError(f"{out / REQUEST} cannot be read: {error}.", hint="--out DIR   (another folder)") from error
    wanted = request.identity
    differ = [name for name in vars(wanted) if getattr(wanted, name) != getattr(found, name)]
    if differ:
        raise UsageError(
            f"{out} holds tokens of another request: {', '.join(differ)} differ.", hint="--out DIR   (another folder)"
        )


def make(out: Path, request: TokenRequest, processes: int, python: str | None) -> None:
    """Carry a request out with so many processes.

    Raises:
        UsageError: the folder holds something else.
        PrerequisiteError: a process cannot be started, or a file or the tokenizer is not what it should be.
        AiraError: a process died.
    """
    check_folder(out, request)
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / REQUEST, request.to_json().encode())
    with contextlib.ExitStack() as opened:
        started = [opened.enter_context(_process(out, python or sys.executable)) for _ in range(processes)]
        failed = [(process, errors) for process, errors in started if process.wait() != 0]
        if not failed or (out / MANIFEST).exists():  # what one was killed at, another did
            return
        process, errors = failed[0]
        errors.seek(0)
        said = errors.read()[-4 * LINE_CHARS :].decode("utf-8", "backslashreplace").strip().splitlines()
        what = printable(said[-1])[:LINE_CHARS] if said else f"a process ended with status {process.returncode}"
        kind = PrerequisiteError if said else AiraError
        raise kind(f"The tokens in {out} are not made: {what}.", hint="that mended, the same command goes on")


@contextlib.contextmanager
def _process(out: Path, python: str) -> "Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]":
    """One process, which ends with this one's interest in it; a kill of this one leaves it at work."""
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                [python, "-P", "-m", PROGRAM, str(out)], stdin=subprocess.DEVNULL, stdout=2, stderr=errors,
                env=environment() | {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        except OSError as error:
            raise PrerequisiteError(f"{python} cannot be started: {error.strerror}.", hint="--python PYTHON") from error
        try:
            yield process, errors
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()


def cores() -> int:
    """Return how many processes this one may have at work at once."""
    return len(os.sched_getaffinity(0))
