"""Tables over improvement steps: by feature, by toggle, by category, and between kinds of MLP (paper, Appendix G).

Every feature that a step changed is credited with the step's whole improvement: most steps change several things at
once, and nothing in the data tells their shares. Only the solo columns are about one change alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median

from aira_bench.agent_code.evidence import Scalar
from aira_bench.agent_code.features import CATEGORIES, FEATURES
from aira_bench.analysis.improvements import Improvement


@dataclass(frozen=True)
class FeatureRow:
    """One row of the paper's Table 19: how often improvement steps changed a feature, and what those steps gained."""

    feature: str
    category: str
    count: int
    solo: int
    delta_median: float
    delta_mean: float
    delta_best: float
    solo_median: float | None


@dataclass(frozen=True)
class ToggleRow:
    """One row of the paper's Table 20: what adding a feature gained, and what removing it did."""

    feature: str
    add_count: int
    add_median: float | None
    remove_count: int
    remove_median: float | None
    verdict: str


@dataclass(frozen=True)
class CategoryRow:
    """One row of the paper's Table 21: the improvement steps that changed any feature of a category."""

    category: str
    count: int
    percent_of_improvements: float
    delta_median: float
    delta_mean: float
    delta_best: float


@dataclass(frozen=True)
class TransitionRow:
    """The improvement steps that replaced one kind of MLP by another, and their median gain."""

    before: str
    after: str
    count: int
    delta_median: float


@dataclass(frozen=True)
class Tables:
    """All tables over some improvement steps, with counts of the steps that no row shows."""

    improvements: tuple[Improvement, ...]
    features: tuple[FeatureRow, ...]
    toggles: tuple[ToggleRow, ...]
    categories: tuple[CategoryRow, ...]
    mlp_transitions: tuple[TransitionRow, ...]
    unattributed: int
    """Improvement steps that changed none of the 27 features."""
    read_as_text: int
    """Improvement steps with a script that did not parse."""
    not_read: int
    """Improvement steps with a script that could not be read in time or within bounds."""


def make_tables(improvements: Sequence[Improvement]) -> Tables:
    """Make every table over some improvement steps; a row stands only where at least one step belongs to it."""
    return Tables(
        improvements=tuple(improvements),
        features=tuple(sorted(_feature_rows(improvements), key=lambda row: -row.delta_median)),
        toggles=tuple(_toggle_rows(improvements)),
        categories=tuple(sorted(_category_rows(improvements), key=lambda row: -row.delta_median)),
        mlp_transitions=tuple(_transition_rows(improvements)),
        unattributed=sum(step.read and not step.changed for step in improvements),
        read_as_text=sum(step.read and not step.parsed for step in improvements),
        not_read=sum(not step.read for step in improvements),
    )


def _feature_rows(improvements: Sequence[Improvement]) -> Iterable[FeatureRow]:
    for feature in FEATURES:
        steps = [step for step in improvements if feature.name in step.changed]
        if steps:
            deltas, solo = [step.delta for step in steps], [step.delta for step in steps if step.solo]
            yield FeatureRow(
                feature.name, feature.category, len(steps), len(solo), median(deltas), fmean(deltas), max(deltas),
                _median(solo),
            )  # fmt: skip


def _toggle_rows(improvements: Sequence[Improvement]) -> Iterable[ToggleRow]:
    for feature in sorted((feature for feature in FEATURES if feature.is_toggle), key=lambda feature: feature.name):
        changes = [(step.changed[feature.name][1], step.delta) for step in improvements if feature.name in step.changed]
        added = [delta for after, delta in changes if after]
        removed = [delta for after, delta in changes if not after]
        if changes:
            add, remove = _median(added), _median(removed)
            yield ToggleRow(feature.name, len(added), add, len(removed), remove, _verdict(add, remove))


def _verdict(add: float | None, remove: float | None) -> str:
    if remove is None:
        return "add only"
    if add is None:
        return "remove only"
    if add == remove:
        return "equal"
    return "add helps more" if add > remove else "remove helps more"


def _category_rows(improvements: Sequence[Improvement]) -> Iterable[CategoryRow]:
    for category in CATEGORIES:
        names = {feature.name for feature in FEATURES if feature.category == category}
        deltas = [step.delta for step in improvements if names & step.changed.keys()]
        if deltas:
            percent = 100 * len(deltas) / len(improvements)
            yield CategoryRow(category, len(deltas), percent, median(deltas), fmean(deltas), max(deltas))


def _transition_rows(improvements: Sequence[Improvement]) -> Iterable[TransitionRow]:
    found: dict[tuple[Scalar, Scalar], list[float]] = {}
    for step in improvements:
        if "mlp_type" in step.changed:
            found.setdefault(step.changed["mlp_type"], []).append(step.delta)
    for (before, after), deltas in sorted(found.items(), key=lambda entry: (-len(entry[1]), str(entry[0]))):
        yield TransitionRow(str(before), str(after), len(deltas), median(deltas))


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
