"""What flags of evaluations mean, for people. Evaluators may know others, which are shown by their names alone.

Not covered: when a flag is raised (docs/lra_trust.md, docs/autoresearch.md).
"""

from collections.abc import Mapping

from aira_contract.flags import ABOVE_PUBLISHED_BEST, CUSTOM_GRADIENT

MEANINGS: Mapping[str, str] = {
    ABOVE_PUBLISHED_BEST: "better than any published score: in no mean of a board before its controls were run",
    CUSTOM_GRADIENT: "the module's gradient is not the derivative of its function",
    "informed_at_init": "before any training its answers are off chance by three standard errors",
    "batch_sensitive": "its outputs for an example change a little with the other examples of the batch",
    "padding_dependent": "more padding changes at least 5 % of its answers",
    "quadratic": "its cost grows with the square of the length",
    "fixed_length": "it cannot be traced at other lengths",
    "hard_wired": "it does well on the real task and not on control tasks that differ in what can be known before",
    "slow_to_serve": "the model took long to answer",
}


def explained(flag: str) -> str:
    """Return what a flag means; nothing of one that is not known here.

    Args:
        flag: its name.
    """
    return MEANINGS.get(flag, "")
