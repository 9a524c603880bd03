"""Whether this process may open as many files as a run needs, found out before the run begins.

A slot's containers, running and started ahead, have their streams and the calls of the engine that tend them; a seed
has its journal and its provider's connections. What is missing in the middle of a run would halt it hours later.

Not covered: what the whole system may open, and the limits inside containers.
"""

import os
import resource

from aira_bench.errors import PrerequisiteError

A_SLOT = 13
"""Streams of a step and its reader and of a judge and its reader, twice, and calls of the engine at one time."""
A_SEED = 3
"""Its journal, and a connection of its provider with what waits for it."""
A_LEASE, A_LINE = 1, 4
"""A core or a GPU that is leased or waited for; a stand in the line, its lock, and what tells of leases."""
SPARE = 64
"""Idle connections to the engine, of which the SDK keeps up to 25, and files of the run that are open for a moment."""


def require_descriptors(slots: int, seeds: int, leases: int = 0) -> None:
    """Make sure that the process may open enough files; raises its soft limit where the hard one allows that.

    Args:
        slots: steps at a time.
        seeds: of the run.
        leases: cores and GPUs among which it finds its places.

    Raises:
        PrerequisiteError: the hard limit is too low.
    """
    needed = len(os.listdir("/proc/self/fd")) + SPARE + A_SLOT * slots + A_SEED * seeds + A_LEASE * leases + A_LINE  # noqa: PTH208
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        fit = max((hard - needed) // A_SLOT + slots, 1)
        raise PrerequisiteError(
            f"{slots} slots and {seeds} seeds need about {needed} open files, this process may have {hard}.",
            hint=f"ulimit -Hn {needed} as root, or --concurrency {min(fit, slots)}",
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
