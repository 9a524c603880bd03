"""Named architectures of the paper as models: what it prints at a scale, and how that stands to what a rule gives.

Not covered: the names themselves and their patterns (`aira_contract.presets`), and whether printed figures follow from
printed patterns (`aira_bench.reproduce`).
"""

from collections.abc import Sequence

from aira_bench.errors import UsageError
from aira_bench.scaling.extrapolate import Extrapolation, as_it_is
from aira_contract.model_sizes import MODEL_SIZES
from aira_contract.presets import FOUND_BY_AGENTS, FullSizePattern, Preset
from aira_contract.training_arithmetic import FLOP_BUDGETS, count_layers, parameters


def published_model(
    preset: Preset, target_parameters: int, *, budgets_flops: Sequence[int] = FLOP_BUDGETS
) -> Extrapolation:
    """Return the model that the paper prints of an architecture at a scale; nothing is grown.

    Args:
        preset: which architecture.
        target_parameters: what a published scale is called after: 1,000,000,000 for `1B`.
        budgets_flops: training FLOPs to give step counts for.

    Raises:
        UsageError: the paper prints nothing of it at that scale.
    """
    printed = _printed(preset, target_parameters)
    if printed is None:
        other = [f"{preset.name}:{scale}" for scale in preset.full_size]
        other = other or [each.name for each in FOUND_BY_AGENTS if each.base == preset.base]
        raise UsageError(
            f"The paper prints no pattern of {preset.title} for {target_parameters:,} parameters; it prints "
            f"{', '.join(other)}.",
            hint=f"aira-bench architectures {preset.name}",
        )
    return as_it_is(printed.pattern, target_parameters, budgets_flops=budgets_flops)


def said_of(preset: Preset, model: Extrapolation) -> list[tuple[str, str]]:
    """Return what is to be said beside a model of a named architecture, in words, by what it is about."""
    said = [("architecture", f"{preset.title}: {preset.source}")]
    if preset.note:
        said.append(("note", preset.note))
    printed = _printed(preset, model.target_parameters)
    if printed is None:
        return said
    counts = count_layers(printed.pattern)
    if printed.contradicts_itself:
        said.append(("note", f"The paper prints {printed.layers} layers beside {printed.written}, which has "
                             f"{counts.layers} (docs/reproduce.md)."))  # fmt: skip
    if model.method != "published":
        same = printed.pattern == model.pattern
        billions = parameters(counts, model.size) / 10**9
        other = "the same" if same else f"{printed.written} ({counts.layers} layers, {billions:.3f} B parameters)"
        said.append(("published", other))
    return said


def _printed(preset: Preset, target_parameters: int) -> FullSizePattern | None:
    scale = next((size.scale for size in MODEL_SIZES if size.nominal_parameters == target_parameters), "")
    return preset.full_size.get(scale)
