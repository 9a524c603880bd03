"""Runs on object storage (`--runs s3://BUCKET/PREFIX`): commands work on a mirror of what is there, and never know.

What workers do there is their own (`worker`). Commands that would change runs in another way are refused by name.

Not covered: the mirror (`aira_bench.copies.mirror`).
"""

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aira_bench.copies.mirror import RunsMirror
    from aira_bench.shared_store.objects import ObjectAddress

READ = ("analyze", "export", "figures", "leaderboard", "report", "show", "status", "submit", "verify", "view")
"""Commands that read runs."""
WORK = ("run", "resume", "suite")
"""Commands that leave runs to workers."""
KEYS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION",
    "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "GOOGLE_APPLICATION_CREDENTIALS",
    "STORAGE_EMULATOR_HOST",
)  # fmt: skip
"""Variables by which the stores' libraries find their keys: workers have them by the way that secrets go."""
_REFUSED = {"accept_changes": "--accept-changes", "from_last_good": "--from-last-good", "track": "--track"}


@contextlib.contextmanager
def runs_on_objects(args: argparse.Namespace) -> Iterator[None]:
    """Have a command's folder of runs be a mirror while it runs, where an address is given in its place.

    Raises:
        UsageError: the address is none, or the command does not go with one.
        PrerequisiteError: the storage may not be used, or keeps no conditions.
        MachineError: storage or disk failed.
    """
    args.mirror = None
    address = _address(args)
    if address is None:
        yield
        return
    from aira_bench.copies.mirror import mirrored_runs
    from aira_bench.paths import host_paths
    from aira_bench.shared_store.objects import open_objects

    command = args.typed[1]
    _require_known(args, command, address)
    store = open_objects(address)
    if command in WORK:
        args.engine = args.engine or "local"
        store.require_conditions()
    with mirrored_runs(store, host_paths(Path()).home) as mirror:
        args.mirror, args.runs = mirror, mirror.root
        yield


def place_for_workers(args: argparse.Namespace, place: Path, runs: list[Path]) -> str:
    """Return what workers are told that they find runs at; runs of a mirror are put where they find them."""
    mirror: RunsMirror | None = args.mirror
    if mirror is None:
        return str(place.absolute())
    for run in runs:
        mirror.publish(run)
    return mirror.typed(place)


def look_again(args: argparse.Namespace) -> None:
    """Have the folder of runs as it is now."""
    if args.mirror is not None:
        args.mirror.refresh()


def _address(args: argparse.Namespace) -> "ObjectAddress | None":
    if not hasattr(args, "runs") or (args.typed[1] == "cluster" and args.judge_on is not None):
        return None  # judge nodes need no runs
    text = str(args.runs or os.environ.get("AIRA_RUNS") or "")
    if ":/" not in text:
        return None
    from aira_bench.shared_store.objects import object_address

    return object_address(text)


def _require_known(args: argparse.Namespace, command: str, address: "ObjectAddress") -> None:
    from aira_bench.errors import UsageError

    if command not in (*READ, *WORK):
        worker = f"aira-bench worker {address}/RUN" if command == "confirm" else "--runs DIR"
        raise UsageError(f"aira-bench {command} does not work on object storage ({address}).", hint=worker)
    for name, option in _REFUSED.items():
        if getattr(args, name, None):
            left = [word for word in args.typed if word != option and word != getattr(args, name)]
            raise UsageError(f"{option} does not go with runs on object storage ({address}).", hint=join(left))
