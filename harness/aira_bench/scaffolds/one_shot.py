"""One draft, one solution (paper, section 2)."""

import random
from dataclasses import dataclass

from aira_bench.record.node import Journal
from aira_bench.scaffolds.policy import Action, Draft, Stop


@dataclass(frozen=True)
class OneShot:
    """Drafts once; a draft that infrastructure took is none."""

    def next(self, journal: Journal, rng: random.Random) -> Action:
        """Draft until a draft has come to something."""
        return Stop() if journal else Draft()
