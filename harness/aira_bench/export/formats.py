"""The formats that runs leave in, by name: what each writes, and which extra it needs.

Not covered: the formats themselves, each in a module of its own.
"""

import importlib.util
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import PrerequisiteError, RunStateError, UsageError
from aira_bench.export.atif import seed_document
from aira_bench.export.columns import to_csv, to_parquet
from aira_bench.export.inspect_log import write_log
from aira_bench.export.steps import ExportedRun
from aira_bench.export.tensorboard_events import event_files
from aira_bench.files import write_atomically


@dataclass(frozen=True)
class Format:
    """One format that runs can leave in."""

    write: Callable[[Sequence[ExportedRun], Path], list[Path]]
    """Writes runs to a path; returns the files."""
    is_file: bool
    """The path is a file with all runs; else a folder."""
    package: str = ""
    """What it imports; empty where nothing is needed."""
    extra: str = ""
    """Which extra of aira-bench has it."""


def _table(content: Callable[[Sequence[ExportedRun]], bytes]) -> Callable[[Sequence[ExportedRun], Path], list[Path]]:
    def write(runs: Sequence[ExportedRun], out: Path) -> list[Path]:
        write_atomically(out, content(runs))
        return [out]

    return write


def _write_inspect(runs: Sequence[ExportedRun], out: Path) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for run in runs:
        path = out / f"{run.name}.eval"
        beside = out / f".{run.name}.{secrets.token_hex(8)}.eval"  # a log that is not whole has no name
        try:
            write_log(run, beside)
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        paths.append(path)
    return paths


def _write_atif(runs: Sequence[ExportedRun], out: Path) -> list[Path]:
    paths = []
    for run in runs:
        for seed in run.seeds:
            if (document := seed_document(run, seed)) is not None:
                paths.append(out / run.name / f"seed-{seed.seed}.json")
                write_atomically(paths[-1], document)
    return paths


def _write_tensorboard(runs: Sequence[ExportedRun], out: Path) -> list[Path]:
    paths = []
    for run in runs:
        for name, content in event_files(run):
            paths.append(out / run.name / name)
            write_atomically(paths[-1], content)
    return paths


FORMATS: Mapping[str, Format] = {
    "inspect": Format(_write_inspect, False, "inspect_ai", "inspect"),
    "parquet": Format(_table(to_parquet), True, "pyarrow", "stats"),
    "tensorboard": Format(_write_tensorboard, False, "tensorboard", "tensorboard"),
    "atif": Format(_write_atif, False),
    "csv": Format(_table(to_csv), True),
}


def require_package(name: str) -> None:
    """Check that what a format needs is installed.

    Raises:
        PrerequisiteError: it is not.
    """
    found = FORMATS[name]
    if found.package and importlib.util.find_spec(found.package) is None:
        raise PrerequisiteError(
            f"Format {name} needs {found.package}, which is not installed.",
            hint=f"pip install 'aira-bench[{found.extra}]'",
        )


def require_place(name: str, out: Path) -> None:
    """Check that a format can be written to a path.

    Raises:
        UsageError: it is a folder where a file is written, or a file where a folder is.
    """
    if FORMATS[name].is_file and out.is_dir():
        raise UsageError(f"{out} is a folder, and format {name} writes one file.", hint=f"--out {out}/steps.{name}")
    if not FORMATS[name].is_file and out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file, and format {name} writes a folder.", hint="--out FOLDER")


def export(name: str, runs: Sequence[ExportedRun], out: Path) -> list[Path]:
    """Write runs in a format; return the files that were written.

    Args:
        name: of the format.
        runs: each under another name.
        out: a file or a folder, as the format has it; files that are there are replaced.

    Raises:
        RunStateError: a file of a run is not what was recorded, or two runs have one name.
    """
    names = [run.name for run in runs]
    if twice := sorted({each for each in names if names.count(each) > 1}):
        raise RunStateError(f"Two of the runs are named {twice[0]}; export them one by one.")
    return FORMATS[name].write(runs, out)
