"""The settings of all task scripts, which come from the environment of the container they run in.

`AIRA_PROFILE` (default `paper`) names a task's sizes, `AIRA_SEED_SET` (default `search`) the hidden splits to score,
and `AIRA_DATA_SOURCE` (default `public`) where the data of a task comes from that has two sources. `AIRA_HIDDEN_KEY` is
the key that hidden data is derived from, which only `evaluate_prepare.py` is told. `AIRA_TRAINING` (default 0) says
which training of a submission this is. No other module reads them. Not covered: what a profile holds (the families'
`profiles`).
"""

import os
import re
from collections.abc import Iterable, Sequence

from aira_contract.settings import (
    HIDDEN_KEY_VARIABLE,
    PROFILE_VARIABLE,
    PROFILES,
    SEED_SET_VARIABLE,
    SEED_SETS,
    SOURCE_VARIABLE,
    SOURCES,
    TRAINING_VARIABLE,
)
from aira_evaluator.split_manifest import DataError


def profile_in_force(known: Iterable[str]) -> str:
    """Return the profile named by `AIRA_PROFILE`.

    Args:
        known: the profiles of the task.

    Raises:
        DataError: it is not among `known`.
    """
    return _setting(PROFILE_VARIABLE, list(known), default=PROFILES[0])


def source_in_force() -> str:
    """Return the source named by `AIRA_DATA_SOURCE`: `public` raw data, or a generated stand-in for it.

    Raises:
        DataError: there is no such source.
    """
    return _setting(SOURCE_VARIABLE, SOURCES, default=SOURCES[0])


def seed_set_in_force() -> str:
    """Return the seed set named by `AIRA_SEED_SET`, which says which hidden splits are scored.

    Raises:
        DataError: there is no such seed set.
    """
    return _setting(SEED_SET_VARIABLE, SEED_SETS, default=SEED_SETS[0])


def training_in_force() -> int:
    """Return which training of a submission `AIRA_TRAINING` asks for, counted from 0.

    Raises:
        DataError: it is no whole number from 0 to 999.
    """
    text = os.environ.get(TRAINING_VARIABLE, "0")
    if not re.fullmatch("[0-9]{1,3}", text):
        raise DataError(f"{TRAINING_VARIABLE} is {text[:20]!r}, expected a whole number from 0 to 999")
    return int(text)


def hidden_key_in_force() -> bytes | None:
    """Return the key that hidden data is derived from; None for the published seeds.

    Raises:
        DataError: it is not 64 hexadecimal digits.
    """
    text = os.environ.get(HIDDEN_KEY_VARIABLE, "")
    if text and not re.fullmatch("[0-9a-f]{64}", text):
        raise DataError(f"{HIDDEN_KEY_VARIABLE} is no key, expected 64 hexadecimal digits")
    return bytes.fromhex(text) or None


def _setting(variable: str, known: Sequence[str], default: str) -> str:
    name = os.environ.get(variable, default)
    if name not in known:
        raise DataError(f"{variable} is {name!r}, expected one of {', '.join(known)}")
    return name
