"""Where things lie on the host.

`AIRA_HOME` (default: `$XDG_DATA_HOME/aira-bench`) holds data and caches, which can be made again, and the machine's
key, which cannot. Run folders are results and lie under `AIRA_RUNS` (default: `./runs`).

Not covered: the layout inside a run folder (`aira_bench.record.folder`) and inside the store of one task
(`aira_bench.tasks.store`).
"""

import os
from dataclasses import dataclass
from pathlib import Path


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
    def scores(self) -> Path:
        """The folder of the score cache."""
        return self.home / "scores"


def host_paths(runs: Path | None = None) -> HostPaths:
    """Return the folders that the environment names; `runs` overrides its variable."""
    data_home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    home = Path(os.environ.get("AIRA_HOME") or Path(data_home) / "aira-bench")
    chosen = runs or Path(os.environ.get("AIRA_RUNS") or "runs")
    return HostPaths(home=home.absolute(), runs=chosen.absolute())
