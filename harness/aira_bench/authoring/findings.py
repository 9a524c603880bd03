"""What a check says: findings that are in order, remarks that are not fatal, and one error that ends it."""

from collections.abc import Callable
from dataclasses import dataclass

from aira_bench.errors import AiraError


class CheckFailed(AiraError):
    """A card, an agent or a scaffold does not do what it has to."""


@dataclass(frozen=True)
class Finding:
    """Something that was checked and is in order; a remark is in order but probably not what the author meant."""

    check: str
    """What was looked at: a file or a stage."""
    seen: str
    is_remark: bool = False


Tell = Callable[[Finding], None]
"""Told of each finding as soon as it stands. What is wrong is an exception instead."""
