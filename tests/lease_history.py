"""What the leases and the journal of a seed say of whether two ever had it at a time.

Not covered: files of the step, which a late holder writes to a copy that nobody reads (`aira_bench.record.forks`).
"""

import json
from collections.abc import Iterator

from aira_bench.leasing.entries import lease_store
from aira_bench.record.folder import RunFolder
from aira_bench.record.journal import AttemptBegan


def lease_faults(folder: RunFolder, seed: int) -> list[str]:
    """Return what of a seed that is over could not be so if each attempt had it alone; nothing where all is well."""
    return [*_of_entries(_entries(folder, seed)), *_of_journal(folder, seed)]


def _entries(folder: RunFolder, seed: int) -> list[dict[str, object]]:
    """All turns at a seed, in their order."""
    store = lease_store(folder.path)
    numbers = [name for name in store.names(str(seed)) if name.isdigit()]
    return [json.loads(store.get(f"{seed}/{number}") or b"null") for number in numbers]


def _of_entries(entries: list[dict[str, object]]) -> Iterator[str]:
    attempts = [entry["attempt"] for entry in entries if entry["state"] == "held"]
    if attempts != list(range(1, len(attempts) + 1)):
        yield f"attempts {attempts}, expected each number once, and none left out"
    if not attempts:
        yield "nobody ever had it"
    holder: dict[str, object] | None = None
    for entry in entries:
        if entry["state"] == "held":
            holder = entry
        elif holder is None or (entry["attempt"], entry["worker"]) != (holder["attempt"], holder["worker"]):
            yield f"given back by attempt {entry['attempt']} of {entry['worker']}, who did not have it"
    over = [place for place, entry in enumerate(entries) if entry["state"] == "over"]
    if over != [len(entries) - 1]:
        yield f"over at {over} of {len(entries)} turns, expected once and at last"


def _of_journal(folder: RunFolder, seed: int) -> Iterator[str]:
    leased = {(entry["attempt"], entry["worker"]) for entry in _entries(folder, seed) if entry["state"] == "held"}
    events = folder.seed(seed).events
    wrote = [(event.attempt, event.worker) for event in events if isinstance(event, AttemptBegan)]
    if not wrote:
        yield "no attempt wrote to the journal"
    if unknown := [each for each in wrote if each not in leased]:
        yield f"the journal has lines of {unknown}, who never had it"
    if [attempt for attempt, _ in wrote] != sorted({attempt for attempt, _ in wrote}):
        yield f"lines of attempts {[attempt for attempt, _ in wrote]}, expected rising numbers"
