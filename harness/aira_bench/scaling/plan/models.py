"""Which model an architecture stands for at a scale, and how many steps it is trained for.

A name stands for the full-size pattern that the paper prints; the name of a searched pattern (`AIRAformer-D`) for its
stretched form, or else its stacked one. A pattern that has the scale's size is taken as it is, another one is stretched
to it. Each choice is said beside the model.

Where a recipe is a FLOP budget of the paper's Tables 10 and 11, in steps of their tokens, and the architecture is one
of their rows, the steps are those that the tables print. In 28 of 57 rows they are of other layer counts than the
pattern's (docs/scaling.md); what the pattern's own layers would give is said then. All other steps are the recipe's.

Not covered: what it takes to train it (`planned`).
"""

import re
from dataclasses import dataclass
from functools import cache

from aira_bench.errors import UsageError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.published_tables import read_table
from aira_bench.scaling.extrapolate import extrapolate
from aira_bench.scaling.notation import NotationError, read_architecture, write_pattern
from aira_contract.model_sizes import SCALES, SEQUENCE_TOKENS, ModelSize
from aira_contract.patterns import Pattern
from aira_contract.presets import FOUND_BY_AGENTS, Preset, find_preset, name_of
from aira_contract.recipes import Recipe, RecipeError
from aira_contract.training_arithmetic import (
    FLOP_BUDGETS,
    STEP_TOKENS,
    LayerCounts,
    count_layers,
    isoflop_steps,
    parameters,
)

_LIKE_THE_SCALE = (0.6, 1.6)
"""Parameters over the scale's: published models lie from 0.86 to 1.10."""
_STEP_TABLES = {"10": ("attention", "mlp"), "11": ("mamba", "mlp", "attention")}


@dataclass(frozen=True)
class PlannedModel:
    """One architecture at one scale."""

    name: str
    """As it is asked for, or what it was taken for."""
    scale: str
    pattern: Pattern
    size: ModelSize
    preset: Preset | None
    said: tuple[str, ...]
    """What was chosen for it, as sentences."""

    @property
    def counts(self) -> LayerCounts:
        """Its layers by primitive."""
        return count_layers(self.pattern)

    @property
    def parameters(self) -> int:
        """The number of parameters without embeddings."""
        return parameters(self.counts, self.size)


def planned_model(text: str, scale: str, recipe: Recipe) -> PlannedModel:
    """Return the model that a name or a pattern stands for at a scale.

    Raises:
        UsageError: it is neither, or the recipe is not for that scale.
    """
    preset = find_preset(text)
    if preset is None:
        return _of_pattern(text, scale, recipe)
    said: list[str] = []
    if not preset.full_size:
        grown = [each for each in FOUND_BY_AGENTS if each.base == preset.base]
        chosen = next((each for each in grown if each.growth == "stretch"), grown[0])
        others = ", ".join(each.name for each in grown if each is not chosen)
        said.append(
            f"{preset.title} is what was searched; planned as {chosen.title}" + (f", not {others}" if others else "")
        )
        preset = chosen
    at = scale if scale in preset.full_size else SCALES[0]
    if at != scale:
        said.append(f"nothing is printed of {preset.title} at {scale}: its layers are those at {at}")
    printed = preset.full_size[at]
    if printed.contradicts_itself:
        said.append(f"{printed.layers} layers are printed beside {printed.written}, which has {len(printed.pattern)}")
    return PlannedModel(
        preset.title, scale, printed.pattern, size_at(recipe, printed.pattern, scale), preset, tuple(said)
    )


def _of_pattern(text: str, scale: str, recipe: Recipe) -> PlannedModel:
    try:
        pattern = read_architecture(text)
    except NotationError as error:
        raise UsageError(
            f"{text[:VALUE_CHARS]!r} is neither a suite nor an architecture: {error.message}",
            hint="aira-bench architectures   (names; a pattern is such as '5(2A-M)-A', a suite 'paper' or FILE.toml)",
        ) from error
    size = size_at(recipe, pattern, scale)
    share = parameters(count_layers(pattern), size) / size.nominal_parameters
    if scale not in SCALES or _LIKE_THE_SCALE[0] <= share <= _LIKE_THE_SCALE[1]:
        return PlannedModel(write_pattern(pattern), scale, pattern, size, None, ())
    grown = extrapolate(pattern, size.nominal_parameters, "stretch", size=size)
    said = f"{write_pattern(pattern)} has {share:.0%} of {scale}: stretched to {write_pattern(grown.pattern)}"
    return PlannedModel(write_pattern(pattern), scale, grown.pattern, size, None, (said,))


def size_at(recipe: Recipe, pattern: Pattern, scale: str) -> ModelSize:
    """Return the widths of a pattern's model under a recipe.

    Raises:
        UsageError: the recipe is not for that scale.
    """
    try:
        return recipe.size(pattern, scale)
    except RecipeError as error:
        raise UsageError(f"{str(error)[:1].upper()}{str(error)[1:]}.", hint="--scale, or another --recipe") from error


@dataclass(frozen=True)
class PlannedSteps:
    """Steps of one training, and what else could be said for them."""

    steps: int
    published: bool
    """Whether they are those of a row of Table 10 or 11."""
    note: str = ""


def planned_steps(model: PlannedModel, recipe: Recipe) -> PlannedSteps:
    """Return how many steps a model is trained for under a recipe.

    Raises:
        UsageError: the budget buys no step.
    """
    try:
        own = recipe.steps_of(model.pattern, model.scale)
    except RecipeError as error:
        raise UsageError(f"{str(error)[:1].upper()}{str(error)[1:]}.", hint="a larger budget") from error
    printed = None if model.preset is None else published_counts(model.preset, model.scale)
    tokens = (recipe.sequence_tokens, recipe.step_tokens)
    if recipe.flop_budget not in FLOP_BUDGETS or tokens != (SEQUENCE_TOKENS, STEP_TOKENS) or printed is None:
        return PlannedSteps(own, published=False)
    steps = isoflop_steps(printed, model.size, recipe.flop_budget)
    if printed == model.counts:
        return PlannedSteps(steps, published=True)
    return PlannedSteps(
        steps, published=True,
        note=f"the published steps are of {printed}; the pattern has {model.counts}, which would give {own:,}",
    )  # fmt: skip


def published_counts(preset: Preset, scale: str) -> LayerCounts | None:
    """Return the layers from which Table 10 or 11 computes a model's steps; None if it has no row there."""
    return _published_rows().get((preset.name, scale))


def published_row_names(table: str) -> list[tuple[str, str]]:
    """Return the architecture, as a preset's name, and the scale of each row of Table `10` or `11`."""
    return [(_row_name(row["architecture"]), row["scale"]) for row in read_table(table, ("scale", "architecture"))]


@cache
def _published_rows() -> dict[tuple[str, str], LayerCounts]:
    found = {}
    for table, columns in _STEP_TABLES.items():
        for row in read_table(table, ("scale", "architecture", *columns)):
            counts = {column: int(row[column]) for column in columns}
            found[_row_name(row["architecture"]), row["scale"]] = LayerCounts(**counts)
    return found


def _row_name(printed: str) -> str:
    """The preset of a row: `Nemotron-H (Approx.)` is Nemotron-H, and Composer's rows name patterns in brackets."""
    return name_of(re.sub(r"\s*\((?:Approx\.|.*Mb.*)\)$", "", printed))
