"""What all workers of a run go by: for how long an owner is silent before it counts as dead.

Not covered: who has a unit (`entries`, `lease`).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

from aira_bench.errors import UsageError
from aira_bench.leasing.entries import read_checked
from aira_bench.shared_store.store import SharedStore

TERMS = "terms"
TERMS_VARIABLE = "AIRA_LEASE_S"
DEAD_AFTER_S = 120.0
"""Twice the time for which a client of NFS may be shown an old counter, where nothing else is said."""
LEAST_S, MOST_S = 1.0, 86_400.0


@checked_dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Terms:
    """What all workers of a run go by."""

    dead_after_s: float = Field(default=DEAD_AFTER_S, ge=LEAST_S, le=MOST_S)
    """For how long a heartbeat is silent before somebody else may take over."""


_TERMS: TypeAdapter[Terms] = TypeAdapter(Terms)


def wanted_terms(environ: Mapping[str, str]) -> Terms:
    """Return the terms that the environment asks for.

    Raises:
        UsageError: it asks for none that can be.
    """
    said = environ.get(TERMS_VARIABLE)
    if said is None:
        return Terms()
    try:
        return Terms(dead_after_s=float(said))
    except ValueError:  # pydantic's is one too
        raise UsageError(
            f"{TERMS_VARIABLE} is {said[:40]!r}, expected seconds from {LEAST_S:g} to {MOST_S:g}.",
            hint=f"unset {TERMS_VARIABLE}",
        ) from None


def open_leases(store: SharedStore, terms: Terms) -> Terms:
    """Have units leased from now on, and return the terms of whoever was first.

    Raises:
        RunStateError: there are terms that cannot be read.
    """
    return read_checked(_TERMS, store.create(TERMS, json.dumps(asdict(terms)).encode()), TERMS)


def read_terms(store: SharedStore) -> Terms | None:
    """Return the terms of a run; None where its units are not leased.

    Raises:
        RunStateError: they cannot be read.
    """
    found = store.get(TERMS)
    return None if found is None else read_checked(_TERMS, found, TERMS)
