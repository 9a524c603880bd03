"""Whether a run may be worked on: whose code it would run, and where what is written to it would land.

Not covered: whether its files agree with each other (`aira_bench.record.run_record`).
"""

import re
from collections.abc import Collection, Mapping

from aira_bench.errors import RunStateError
from aira_bench.extensions import is_reference
from aira_bench.files import Unacceptable, foreign_entries, hash_file
from aira_bench.keys import KeyRing
from aira_bench.leasing.entries import FOLDER as LEASES
from aira_bench.record.folder import RunFolder
from aira_bench.record.run_record import RunRecord, read_run
from aira_bench.record.sealing import MOST_ENTRIES, MOST_FILE_BYTES
from aira_bench.tasks.data_source import SYNTHETIC
from aira_bench.tasks.task import names_folder

_OF_SUBMITIT = re.compile(rf"{LEASES}/logs/\.submission_file_[0-9a-f]+\.sh: a link")
"""What submitit leaves beside the output of workers on Slurm. Nothing is ever opened there by such a name."""


def read_resumable(
    folder: RunFolder, ring: KeyRing, *, trust_agent: bool, only: Collection[int] | None = None
) -> RunRecord:
    """Read a run that is to go on: its agent and task will run, and its record goes on under this machine's key.

    Args:
        folder: the run.
        ring: the keys this machine knows.
        trust_agent: the user vouches for a run that nobody has signed.
        only: the seeds that are to go on; None for all.

    Raises:
        RunStateError: it cannot be read; it is signed by a key that is not trusted, or unsigned and not vouched for; it
            holds what is no plain file; or its agent's file is not the one it began with.
    """
    record = read_run(folder, ring, "all", only=only)
    for signer in record.signers:
        if signer is not None and not ring.trusts(signer):
            raise RunStateError(
                f"Run {record.name} is {ring.describe(signer)}: its agent and task are that key owner's.",
                hint=f"aira-bench key trust {signer}",
            )
    if None in record.signers and not trust_agent:
        raise RunStateError(
            f"Run {record.name} is unsigned: nothing says whose code its agent, card and task are. If you know:",
            hint=record.folder.command("resume", "--trust-agent"),
        )
    require_plain(folder)
    expected = record.manifest.agent_file_sha256
    try:
        if expected is not None and hash_file(folder.path, "agent.py", MOST_FILE_BYTES) != expected:
            raise Unacceptable("it was replaced: its hash is not the one in the manifest")
    except FileNotFoundError:
        raise RunStateError(f"Run {record.name}: agent.py is missing.") from None
    except Unacceptable as error:
        raise RunStateError(f"Run {record.name}: agent.py: {error}.") from error
    return record


def require_unmoved(record: RunRecord, ring: KeyRing) -> None:
    """Whether a run whose lock this process has got is still as it was read, before it had the lock.

    Raises:
        RunStateError: another process has worked on it meanwhile.
    """
    if _standing_of(read_run(record.folder, ring, "records")) != _standing_of(record):
        raise RunStateError(
            f"Run {record.name} went on in another process meanwhile.", hint=record.folder.command("status")
        )


def _standing_of(record: RunRecord) -> tuple[object, ...]:
    seeds = [(seed.lines, seed.seal, seed.confirmations.done) for seed in record.seeds]
    return (record.manifest_sha256, record.closed, *seeds)


def read_confirmable(folder: RunFolder, ring: KeyRing, *, only: Collection[int] | None = None) -> RunRecord:
    """Read a run whose submissions are to be scored once more: its task will run, and confirmations are written to it.

    Args:
        folder: the run.
        ring: the keys this machine knows.
        only: the seeds that are to be scored; None for all.

    Raises:
        RunStateError: it cannot be read, holds what is no plain file, or its task is a stranger's folder.
    """
    record = read_run(folder, ring, "all", only=only)
    require_known_task(record, ring)
    require_plain(folder)
    return record


def require_known_task(record: RunRecord, ring: KeyRing) -> None:
    """Whether task, data and evaluator that a run names may be opened: a stranger must choose no code and no folder.

    Scripts of a task folder run, and hidden data of a stranger's choice would be scored on under this machine's key.

    Raises:
        RunStateError: one of them is a folder or a reference, and the run is not signed by a trusted key.
    """
    plan = record.manifest.plan
    if all(map(ring.trusts, record.signers)):
        return
    _require_no_reference(record, ring, {"task": plan.task, "evaluator": plan.evaluator})
    if names_folder(plan.task):
        raise RunStateError(
            f"Run {record.name} is {record.describe_signer(ring)}, and its task is the folder {plan.task}, whose "
            "scripts would run with hidden data."
        )
    if plan.source not in (None, SYNTHETIC):
        raise RunStateError(
            f"Run {record.name} is {record.describe_signer(ring)}, and its data comes from the folder {plan.source}, "
            "which would be taken for the task's."
        )


def require_known_search(record: RunRecord, ring: KeyRing) -> None:
    """Whether a run's search may be played again: the same of its task, and of its scaffold.

    Raises:
        RunStateError: one of them is a folder or a reference, and the run is not signed by a trusted key.
    """
    require_known_task(record, ring)
    if not all(map(ring.trusts, record.signers)):
        _require_no_reference(record, ring, {"scaffold": record.manifest.plan.scaffold})


def _require_no_reference(record: RunRecord, ring: KeyRing, names: Mapping[str, str | None]) -> None:
    """References import what nobody here need have installed; names of installed extensions only what somebody has."""
    for kind, name in names.items():
        if name is not None and is_reference(name):
            raise RunStateError(
                f"Run {record.name} is {record.describe_signer(ring)}, and its {kind} is {name}, which would be "
                "imported and run on this machine.",
                hint=None if record.signer is None else f"aira-bench key trust {record.signer}",
            )


def require_plain(folder: RunFolder) -> None:
    """Whether a run holds nothing but folders and regular files, so that nothing written to it lands elsewhere: a link
    of submitit's is let be.

    Raises:
        RunStateError: it holds something else.
    """
    try:
        for found in foreign_entries(folder.path, MOST_ENTRIES):
            if not _OF_SUBMITIT.fullmatch(found):
                raise Unacceptable(f"{found}, which no run has")
    except Unacceptable as error:
        raise RunStateError(f"Run {folder.path.name}: {error}.") from error
