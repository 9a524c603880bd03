"""One draft, one solution (paper, section 2)."""

import random
from dataclasses import dataclass

from aira_bench.runs.node import Journal
from aira_bench.scaffolds.protocol import Action, Draft, Stop


@dataclass(frozen=True)
class OneShot:
    """Drafts once; a draft lost to infrastructure is drafted again."""

    def next(self, journal: Journal, rng: random.Random) -> Action:
        """Draft until one step has had a result."""
        return Stop() if any(node.step_class != "infra_error" for node in journal) else Draft()
