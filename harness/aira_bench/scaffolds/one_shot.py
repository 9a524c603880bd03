"""One draft, one solution (paper, section 2)."""

import random
from dataclasses import dataclass

from aira_bench.record.node import Journal
from aira_bench.scaffolds.policy import Action, Draft, Stop


@dataclass(frozen=True)
class OneShot:
    """Drafts once; only a draft that was lost before any of its code ran is drafted again."""

    def next(self, journal: Journal, rng: random.Random) -> Action:
        """Draft until the code of one step has run."""
        return Draft() if all(node.is_lost for node in journal) else Stop()
