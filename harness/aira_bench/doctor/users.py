"""What podman needs of a machine for a user without root: numbers of users below its own.

Not covered: lists of them that are kept elsewhere than in files of this machine.
"""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from aira_bench.docker_engine import EngineInfo
from aira_bench.doctor.diagnosis import Diagnosis

NEEDED = 65_536
"""Users of our containers are numbered below it."""


def user_checks(info: EngineInfo, folder: Path = Path("/etc")) -> Iterator[Diagnosis]:
    """Check the subordinate ids of this user, where an engine without root maps users by them.

    Args:
        info: what the engine says of itself.
        folder: where `subuid` and `subgid` lie.
    """
    if info.name != "podman" or not info.rootless:
        return
    user = _name()
    found = {kind: _counted(folder / kind, user) for kind in ("subuid", "subgid")}
    seen = ", ".join(f"{count} in {folder / kind}" for kind, count in found.items())
    if min(found.values()) >= NEEDED:
        yield Diagnosis("subordinate ids", "ok", f"{seen}, of which {NEEDED} are needed")
    else:
        mend = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user} && podman system migrate"
        yield Diagnosis("subordinate ids", "failed", f"{seen}, expected {NEEDED} of each for {user}", mend)


def _name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _counted(path: Path, user: str) -> int:
    """How many ids a file gives a user, by name or by number."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    rows = [line.split(":") for line in lines]
    return sum(
        int(row[2]) for row in rows if len(row) == 3 and row[0] in (user, str(os.geteuid())) and row[2].isdigit()
    )
