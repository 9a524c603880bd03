"""Leaves runs to workers: those that one process began, and those that workers left.

Not covered: making a run for workers (`launch`), and their work (`worker`).
"""

import contextlib
import os
from collections.abc import Collection

from aira_bench.errors import RunStateError
from aira_bench.keys import KeyFolder
from aira_bench.leasing.entries import lease_store, reopen_unit
from aira_bench.leasing.terms import Terms, open_leases
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import RunRecord
from aira_bench.record.sealing import Keeper
from aira_bench.record.seen_chains import Witness
from aira_bench.record.trust import require_unmoved
from aira_bench.runs.changes import TRUST, differences, require_accepted
from aira_bench.world import World


def share(folder: RunFolder, terms: Terms) -> None:
    """Leave a run to workers, whether it was shared before or not.

    Raises:
        RunStateError: one process has the whole run, or it is of a version without signatures.
    """
    if folder.manifest.schema_version == 1:
        raise RunStateError(
            f"Run {folder.path.name} is unsigned, so it cannot be shared.", hint=folder.command("resume", TRUST)
        )
    if folder.is_locked:
        raise RunStateError(
            f"Run {folder.path.name} is being worked on by another process.", hint=folder.command("status")
        )
    open_leases(lease_store(folder.path), terms)


def share_again(record: RunRecord, keys: KeyFolder, world: World, terms: Terms, *, accept: bool) -> None:
    """Leave a run that has been read and may go on to workers; seeds that halted too often are tried again.

    Args:
        record: the run, as `read_resumable` has read and checked it.
        keys: of this machine.
        world: its clock.
        terms: what workers go by, unless the run has terms.
        accept: go on although something that answers depend on changed, and record what.

    Raises:
        RunStateError: one process has the run; or something changed and is not accepted.
    """
    folder, changed = record.folder, differences(record)
    if not accept:
        require_accepted(record, changed)
    elif changed:
        with contextlib.ExitStack() as stack:  # alone: the record of the run has one writer
            stack.callback(os.close, folder.lock())
            require_unmoved(record, keys.ring())
            keeper = Keeper(
                folder,
                keys.machine_key(),
                record.manifest.run_id,
                record.manifest_sha256,
                world.now,
                Witness(keys.seen),
            )
            keeper.accept(changed, [(seed.seed, len(seed.nodes)) for seed in record.seeds])
    share(folder, terms)
    for seed in record.manifest.plan.seeds:
        reopen_unit(folder.path, seed, world)


def share_to_confirm(record: RunRecord, seeds: Collection[int], world: World, terms: Terms) -> None:
    """Leave seeds of a run whose search is over to workers that train again what they submitted.

    Args:
        record: the run, as `read_confirmable` has read and checked it.
        seeds: those with trainings that are missing.
        world: its clock.
        terms: what workers go by, unless the run has terms.

    Raises:
        RunStateError: one process has the run, or a search of it is not over.
    """
    if searched := [seed.seed for seed in record.seeds if seed.ended is None]:
        raise RunStateError(
            f"Run {record.name} is still to be searched (seed {searched[0]}), so workers cannot confirm it.",
            hint=record.folder.command("resume"),
        )
    share(record.folder, terms)
    for seed in seeds:
        reopen_unit(record.folder.path, seed, world, ("halted", "over"))
