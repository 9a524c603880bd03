"""Which models a comparison trains: the voted patterns, grown, and controls.

A voted pattern is grown by each rule that is asked for; what comes out the same is trained once. A control is what
`scale plan` takes a name or a pattern for. At a scale at which the paper prints nothing (toy), a named control is grown
to that scale too, since models are to be compared at one size: from what was searched by its own rule, or from its
layers at 350M, stretched. Not covered: votes (`aira_bench.scaling.aggregate`), what training takes
(`aira_bench.scaling.plan`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from aira_bench.errors import UsageError
from aira_bench.scaling.aggregate import Aggregation
from aira_bench.scaling.extrapolate import Extrapolation, extrapolate
from aira_bench.scaling.notation import read_pattern, write_pattern
from aira_bench.scaling.plan.models import PlannedModel, planned_model, size_at
from aira_contract.model_sizes import SCALES
from aira_contract.patterns import Pattern
from aira_contract.presets import Growth, Preset
from aira_contract.recipes import Recipe

METHODS: tuple[Growth, ...] = ("stretch", "stack")
_PAST = {"stretch": "stretched", "stack": "stacked"}


@dataclass(frozen=True)
class ComparedModel:
    """A model that is trained, and the way to it."""

    model: PlannedModel
    way: str
    """From what to this, in words."""
    is_grown: bool
    """Whether it comes from the votes; a control does not."""


def grown_models(
    name: str, votes: Iterable[Aggregation], scale: str, recipe: Recipe, methods: Sequence[Growth]
) -> tuple[ComparedModel, ...]:
    """Return the models that voted patterns grow to, each pattern once.

    Args:
        name: what the models are called after.
        votes: a pattern for each condition.
        scale: of the models.
        recipe: which gives the sizes.
        methods: rules of growing.

    Raises:
        UsageError: the recipe is not for that scale, or a pattern cannot be grown to it.
    """
    found: dict[Pattern, ComparedModel] = {}
    for vote in votes:
        for method in methods:
            grown = _grown(vote.pattern, scale, recipe, method)
            words = f"N{vote.condition_layers} {_PAST[method]}"
            way = f"N{vote.condition_layers}'s {_way(grown)}"
            known = found.get(grown.pattern)
            if known is not None:
                found[grown.pattern] = replace(known, way=f"{known.way}; {words} is the same")
                continue
            model = PlannedModel(f"{name} {words}", scale, grown.pattern, grown.size, None, ())
            found[grown.pattern] = ComparedModel(model, way, is_grown=True)
    return tuple(found.values())


def control(text: str, scale: str, recipe: Recipe) -> ComparedModel:
    """Return the model that a name or a pattern of the user's stands for.

    Raises:
        UsageError: it is neither, or the recipe is not for that scale.
    """
    planned = planned_model(text, scale, recipe)
    preset = planned.preset
    if scale in SCALES:
        return ComparedModel(planned, "; ".join(planned.said) or "as printed" * (preset is not None), is_grown=False)
    base, method = _searched(planned.pattern, preset)
    grown = _grown(base, scale, recipe, method)
    name = write_pattern(planned.pattern) if preset is None else preset.title
    return ComparedModel(PlannedModel(name, scale, grown.pattern, grown.size, None, ()), _way(grown), is_grown=False)


def require_distinct(models: Sequence[ComparedModel]) -> None:
    """Refuse a comparison of a model with itself.

    Raises:
        UsageError: two models have one name or one pattern.
    """
    for number, each in enumerate(models):
        for other in models[:number]:
            if each.model.name == other.model.name or each.model.pattern == other.model.pattern:
                raise UsageError(
                    f"{each.model.name} and {other.model.name} are one model at {each.model.scale}: "
                    f"{write_pattern(each.model.pattern)}.",
                    hint="--patterns   (without one of them)",
                )


def _searched(pattern: Pattern, preset: Preset | None) -> tuple[Pattern, Growth]:
    if preset is None:
        return pattern, "stretch"
    if preset.base is not None and (preset.growth or not preset.full_size):
        return read_pattern(preset.base), preset.growth or "stretch"
    return preset.full_size[SCALES[0]].pattern, "stretch"


def _grown(base: Pattern, scale: str, recipe: Recipe, method: Growth) -> Extrapolation:
    size = size_at(recipe, base, scale)
    return extrapolate(base, size.nominal_parameters, method, size=size)


def _way(grown: Extrapolation) -> str:
    return f"{write_pattern(grown.base)} {_PAST[grown.method]} by {float(grown.factor):.2f} and trimmed to the size"
