"""The paper's claims of faster scaling: what its tables allow to check, and which numbers are not printed.

The paper prints four percentages and no slope, no intercept and no loss of Figures 5, 6, 23 and 24 but one and a range
(appendix C: 2.7415 of AIRAformer-A stretched at 1B, 2.7647 to 2.7732 of the attention-heavy ones). So no claim can be
computed. What can be checked is whether the two percentages of one architecture agree with the definition: as ratios of
slopes less 1 they give the slope of Composer's model as a share of the other reference's.

Not covered: the claims that follow from tables (`aira_bench.reproduce.headline`).
"""

from dataclasses import dataclass
from pathlib import Path

from aira_bench.published_tables import read_table
from aira_bench.scaling.plan.models import published_row_names
from aira_contract.training_arithmetic import FLOP_BUDGETS


@dataclass(frozen=True)
class PublishedClaim:
    """One architecture that is said to scale faster than two others."""

    architecture: str
    faster: tuple[tuple[str, float], tuple[str, float]]
    """Two references and the per cent over each; the second is Composer's."""
    missing_losses: int
    """Losses of isoFLOP runs of its search space that the paper does not print."""

    @property
    def composer_share(self) -> float:
        """The slope of Composer's model over that of the other reference, if both percentages are ratios of slopes."""
        (_, first), (_, second) = self.faster
        return (1 + first / 100) / (1 + second / 100)


_WORDS = " scales faster than "
_PRINTED_LOSSES = {"AIRAformer-C": 1, "AIRAhybrid-C": 0}
"""Exact ones, of each claim's search space."""


def published_claims(folder: Path | None = None) -> tuple[PublishedClaim, ...]:
    """Return the claims of faster scaling, as printed.

    Args:
        folder: of the published tables, by default those that come with the product.

    Raises:
        PrerequisiteError: a table is missing or damaged.
    """
    found: dict[str, list[tuple[str, float]]] = {}
    for row in read_table("headline", ("claim", "value"), folder):
        architecture, words, reference = row["claim"].partition(_WORDS)
        if words:
            found.setdefault(architecture, []).append((reference, float(row["value"])))
    rows = {"AIRAformer-C": len(published_row_names("10")), "AIRAhybrid-C": len(published_row_names("11"))}
    return tuple(
        PublishedClaim(name, (first, second), rows[name] * len(FLOP_BUDGETS) - _PRINTED_LOSSES[name])
        for name, (first, second) in found.items()
    )


def claim_lines(claims: tuple[PublishedClaim, ...]) -> list[str]:
    """Return what is to be said of the claims, a sentence or two each."""
    lines = []
    for claim in claims:
        (first, one), (second, other) = claim.faster
        lines.append(
            f"{claim.architecture}: {one:.0f} % faster than {first}, {other:.0f} % than {second}. As ratios of slopes, "
            f"the slope of {second} is {claim.composer_share:.2f} of that of {first}; the text calls it flatter. Not "
            f"computed: {claim.missing_losses} losses and all slopes are not printed."
        )
    return lines
