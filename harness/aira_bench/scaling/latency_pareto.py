"""Which architectures are fast for their loss: figure 7 of the paper, latency and validation loss of one scale.

Losses are the paper's isoToken ones of 1B (Tables 2 and 3), or those of runs in a table that `scale fit` reads.
Not covered: how a chart looks (`figures.latency_chart`).
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import UsageError
from aira_bench.published_tables import read_table
from aira_bench.scaling.frontier.observations import TrainedRun, read_observations
from aira_bench.scaling.latency import Composed, LatencyTable, MissingLatency, pareto_front
from aira_bench.scaling.notation import read_pattern
from aira_contract.latency import Case
from aira_contract.model_sizes import MODEL_SIZES, TOY_SIZES
from aira_contract.patterns import Pattern
from aira_contract.presets import PRESETS, find_preset, name_of

PUBLISHED_SCALE = "1B"
"""Of the paper's isoToken trainings, and of its figure 7."""
ISOTOKEN = "isoToken"
_SHORT = {"AIRAf.": "AIRAformer", "AIRAh.": "AIRAhybrid", "(Str.)": "(Stretched)", "(St.)": "(Stacked)"}
"""How Tables 2 and 3 shorten titles."""
_APPROXIMATED, _PATTERN = " Approx.", " ("


@dataclass(frozen=True)
class Loss:
    """The validation loss of one architecture in one comparison."""

    protocol: str
    """`isoToken`, or the budget in FLOPs."""
    architecture: str
    loss: float
    sd: float | None
    """Of trainings that differ by seed; None where one is known."""


@dataclass(frozen=True)
class ParetoPoint:
    """An architecture's latency beside its loss."""

    model: Composed
    loss: Loss
    on_front: bool
    """Whether no other of the same comparison is at least as fast and as good, and better in one of both."""
    layers_printed: int | None
    """Where the pattern that the paper prints has another number of layers than it says: what it says. Which of the two
    was trained is unknown, so the latency may be another's; such a point is on no front and pushes none off it."""


@dataclass(frozen=True)
class ParetoPanel:
    """All points of one protocol in one case."""

    protocol: str
    case: Case
    points: tuple[ParetoPoint, ...]


def published_losses() -> list[Loss]:
    """Return the isoToken losses of Tables 2 and 3, at 1B; Llama 3.2 and Composer's as well."""
    found = []
    for table in ("2", "3"):
        for row in read_table(table, ("architecture", "val_loss", "val_loss_std")):
            sd = float(row["val_loss_std"]) if row["val_loss_std"] else None
            found.append(Loss(ISOTOKEN, _title(row["architecture"]), float(row["val_loss"]), sd))
    return found


def read_losses(path: Path, scale: str) -> list[Loss]:
    """Return the losses of a table of runs that belong to a scale; several of one architecture and budget are averaged.

    Args:
        path: a table as `frontier.observations` reads it.
        scale: runs whose number of parameters is nearer to another scale's are left out.

    Raises:
        UsageError: the file cannot be read, or has nothing of this scale.
    """
    groups: dict[tuple[str, str], list[TrainedRun]] = defaultdict(list)
    for run in sorted(read_observations([path]).runs, key=lambda run: run.budget_flops):
        if _nearest_scale(run.parameters) == scale:
            groups[f"{run.budget_flops:.3g} FLOPs", run.architecture].append(run)
    if not groups:
        raise UsageError(f"{path} has no losses at {scale}.")
    return [_mean(protocol, name, found) for (protocol, name), found in groups.items()]


def panels_of(table: LatencyTable, losses: Sequence[Loss], scale: str) -> tuple[list[ParetoPanel], list[str]]:
    """Return the panels of a scale, and a line for each architecture that has none.

    Args:
        table: of measured parts.
        losses: of architectures, by name or by pattern.
        scale: whose models are composed.
    """
    panels, missing = [], dict[str, None]()
    for protocol in dict.fromkeys(each.protocol for each in losses):
        for case in table.cases:
            pairs = []
            for loss in (each for each in losses if each.protocol == protocol):
                try:
                    pattern = pattern_at(loss.architecture, scale)
                    pairs.append((table.compose(loss.architecture, pattern, scale, case), loss))
                except (MissingLatency, UsageError) as error:
                    missing[f"{loss.architecture}: {error}"] = None
            if pairs:
                panels.append(ParetoPanel(protocol, case, _points(pairs, scale)))
    return panels, list(missing)


def _points(pairs: Sequence[tuple[Composed, Loss]], scale: str) -> tuple[ParetoPoint, ...]:
    printed = [_contradiction(loss.architecture, scale) for _, loss in pairs]
    sure = [pair for pair, layers in zip(pairs, printed, strict=True) if layers is None]
    best = pareto_front([(model.total_s, loss.loss) for model, loss in sure])
    front = {id(model) for (model, _), on_front in zip(sure, best, strict=True) if on_front}
    return tuple(
        ParetoPoint(model, loss, id(model) in front, layers)
        for (model, loss), layers in zip(pairs, printed, strict=True)
    )


def _contradiction(text: str, scale: str) -> int | None:
    """The number of layers that is printed beside a pattern of another number."""
    preset = find_preset(text)
    row = None if preset is None else preset.full_size.get(scale)
    return row.layers if row is not None and row.contradicts_itself else None


def pattern_at(text: str, scale: str) -> Pattern:
    """Return the layers of a pattern, or of a name at a scale; at a scale of no table, those that were searched.

    Raises:
        UsageError: it is neither, or the name has nothing there.
    """
    preset = find_preset(text)
    if preset is None:
        return read_pattern(text)
    if scale in preset.full_size:
        return preset.full_size[scale].pattern
    if preset.base is not None:
        return read_pattern(preset.base)
    if preset.full_size:
        return next(iter(preset.full_size.values())).pattern
    raise UsageError(f"{preset.title} has no pattern at {scale}.", hint="aira-bench architectures")


def names_at(scale: str) -> list[str]:
    """Return the titles of all architectures that the paper prints at a scale."""
    return [preset.title for preset in PRESETS if scale in preset.full_size]


def _title(printed: str) -> str:
    """The title of a preset that a table prints in short."""
    said = printed
    for short, long in _SHORT.items():
        said = said.replace(short, long)
    for preset in PRESETS:
        if preset.full_size and preset.name in (name_of(said), name_of(said.removesuffix(_APPROXIMATED))):
            return preset.title
    cut = name_of(said.split(_PATTERN)[0])
    return next((preset.title for preset in PRESETS if preset.full_size and preset.name == cut), printed)


def _nearest_scale(parameters: float) -> str:
    sizes = {size.scale: size.nominal_parameters for size in MODEL_SIZES + TOY_SIZES}
    return min(sizes, key=lambda each: abs(math.log(parameters / sizes[each])))


def _mean(protocol: str, name: str, runs: Sequence[TrainedRun]) -> Loss:
    losses = [run.loss for run in runs]
    sd = statistics.stdev(losses) if len(losses) > 1 else runs[0].loss_sd
    return Loss(protocol, name, statistics.fmean(losses), sd)
