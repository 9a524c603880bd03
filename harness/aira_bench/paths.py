"""Where things lie on the host.

`AIRA_HOME` (default: `$XDG_DATA_HOME/aira-bench`) holds data and caches, which can be made again, and the machine's
key, which cannot. Run folders are results and lie under `AIRA_RUNS` (default: `./runs`).

Not covered: the layout inside a run folder (`aira_bench.record.folder`) and inside the store of one task
(`aira_bench.tasks.store`).
"""

import os
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import PrerequisiteError, UsageError

INDEX_FOLDER = ".aira-view"
"""Beside run folders: what pages of them are made from (`aira_bench.view.index`)."""


@dataclass(frozen=True)
class HostPaths:
    """The two folders below which all of this machine's files of aira-bench lie."""

    home: Path
    runs: Path

    @property
    def raw_data(self) -> Path:
        """Raw datasets as `<dataset id>/<config>`, the layout upstream tasks expect."""
        return self.home / "raw"

    @property
    def sources(self) -> Path:
        """Downloaded public files, shared by the tasks that name them."""
        return self.home / "sources"

    @property
    def tasks(self) -> Path:
        """Prepared data of every task."""
        return self.home / "tasks"

    @property
    def contents(self) -> Path:
        """What was hashed of raw data folders, so that they are read through once."""
        return self.home / "contents"

    @property
    def checks(self) -> Path:
        """Where data is made for `aira-bench check`, which removes it in the end."""
        return self.home / "checks"

    @property
    def keys(self) -> Path:
        """This machine's key and those it trusts."""
        return self.home / "keys"

    @property
    def judged(self) -> Path:
        """Verdicts that this machine gave to runs of others (`aira_bench.runs.judge_service`)."""
        return self.home / "judged"

    @property
    def scores(self) -> Path:
        """The folder of the score cache."""
        return self.home / "scores"


def host_paths(runs: Path | None = None) -> HostPaths:
    """Return the folders that the environment names; `runs` overrides its variable.

    Raises:
        PrerequisiteError: it names none, and the user has no home.
        UsageError: one of them cannot be a folder.
    """
    named = os.environ.get("AIRA_HOME")
    home = Path(named) if named else below_home("XDG_DATA_HOME", ".local/share")
    chosen = runs or Path(os.environ.get("AIRA_RUNS") or "runs")
    _require_folder(home.absolute(), "export AIRA_HOME=DIR")
    _require_folder(chosen.absolute(), "--runs DIR")
    return HostPaths(home=home.absolute(), runs=chosen.absolute())


def require_new_folders(path: Path, hint: str) -> None:
    """Refuse a folder in which this user cannot make others, before anything was done for them.

    Raises:
        UsageError: it, or what is there of the way to it, may not be written to.
    """
    _require_folder(path, hint)
    there = _there(path)
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"Nothing can be made in {path}: this user may not write to {there}.", hint=hint)


def _require_folder(path: Path, hint: str) -> None:
    there = _there(path)
    if not there.is_dir():
        raise UsageError(f"{path} cannot be a folder: {there} is a file.", hint=hint)
    if there == path and not os.access(path, os.R_OK | os.X_OK):
        raise UsageError(f"{path} cannot be read by this user.", hint=hint)


def _there(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if os.path.lexists(each))


def cache_folder() -> Path:
    """Return where downloads of packages are kept: `$XDG_CACHE_HOME/aira-bench` (default `~/.cache`), or below
    `AIRA_HOME` for a user without a home.

    Raises:
        PrerequisiteError: there is none of them.
    """
    named = os.environ.get("AIRA_HOME")
    if named and not os.environ.get("XDG_CACHE_HOME") and user_home() is None:
        return Path(named).absolute() / "cache"
    return below_home("XDG_CACHE_HOME", ".cache")


def below_home(variable: str, default: str) -> Path:
    """Return our folder in the one that a variable of the XDG specification names, by default one in the user's home.

    Raises:
        PrerequisiteError: it names none, and the user has no home.
    """
    named = os.environ.get(variable)
    home = user_home()
    if not named and home is None:
        raise PrerequisiteError(
            "This user has no home: HOME is not set, and the system knows no other.", hint="export AIRA_HOME=DIR"
        )
    return Path(named or f"{home}/{default}").absolute() / "aira-bench"


def user_home() -> Path | None:
    """Return the user's home, None where neither HOME nor the list of users tells one."""
    try:
        return Path(os.environ.get("HOME") or Path.home())
    except RuntimeError:
        return None
