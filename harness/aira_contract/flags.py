"""Names of what an evaluation's checks notice, where the host acts on them.

Written by the evaluator into reports; the host keeps any flag and shows it, and knows these by name. Not covered: the
other flags, which mean something to readers alone.
"""

from typing import Literal

ABOVE_PUBLISHED_BEST = "above_published_best"
"""The score is better than any published: kept out of boards' means until a confirmation has run its controls."""

AdmittedFlag = Literal["custom_gradient"]
CUSTOM_GRADIENT: AdmittedFlag = "custom_gradient"
"""The module's gradient is not the derivative of its function. Unranked, but in tasks whose metadata admit it."""
