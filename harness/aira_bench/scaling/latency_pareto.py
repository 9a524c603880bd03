"""Which architectures are fast for their loss: figure 7 of the paper, latency and validation loss of one scale.

Losses are the paper's isoToken ones of 1B (Tables 2 and 3), or those of a CSV in the form that `scale fit` reads.
Not covered: how a chart looks (`figures.latency_chart`).
"""

import csv
import io
import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aira_bench.errors import UsageError
from aira_bench.files import read_text, reason
from aira_bench.published_tables import read_table
from aira_bench.scaling.latency import Composed, LatencyTable, MissingLatency, pareto_front
from aira_bench.scaling.notation import read_pattern
from aira_contract.latency import Case
from aira_contract.model_sizes import MODEL_SIZES
from aira_contract.patterns import Pattern
from aira_contract.presets import PRESETS, find_preset, name_of

PUBLISHED_SCALE = "1B"
"""Of the paper's isoToken trainings, and of its figure 7."""
ISOTOKEN = "isoToken"
_MOST_BYTES = 16 * 2**20
_COLUMNS = ("architecture", "loss", "loss_sd", "parameters", "budget_flops", "seed")
_SHORT = {"AIRAf.": "AIRAformer", "AIRAh.": "AIRAhybrid", "(Str.)": "(Stretched)", "(St.)": "(Stacked)"}
"""How Tables 2 and 3 shorten titles."""
_APPROXIMATED, _PATTERN = " Approx.", " ("


@dataclass(frozen=True)
class Loss:
    """The validation loss of one architecture in one comparison."""

    protocol: str
    """`isoToken`, or the FLOPs of its budget."""
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
    """Return the losses of a CSV that belong to a scale; several of one architecture and budget are averaged.

    Args:
        path: with the columns `architecture` and `loss`, and if known `loss_sd`, `parameters`, `budget_flops`, `seed`.
        scale: rows whose number of parameters is nearer to another scale's are left out.

    Raises:
        UsageError: the file cannot be read, has other columns, or nothing of this scale.
    """
    try:
        reader = csv.DictReader(io.StringIO(read_text(path, _MOST_BYTES)), strict=True)
        rows = list(reader)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {reason(error)}.") from error
    except csv.Error as error:
        raise UsageError(f"{path} is no CSV file: {error}.") from error
    columns = reader.fieldnames or ()
    if not {"architecture", "loss"} <= set(columns) <= set(_COLUMNS):
        raise UsageError(f"{path} has the columns {', '.join(columns)}, expected some of {', '.join(_COLUMNS)}.")
    groups: dict[tuple[str, str], list[tuple[float, float | None]]] = defaultdict(list)
    for number, row in enumerate(rows, start=2):
        try:
            if _of_scale(row.get("parameters"), scale):
                budget = f"{float(row['budget_flops']):.0e} FLOPs" if row.get("budget_flops") else ISOTOKEN
                groups[budget, row["architecture"]].append((_number(row["loss"]), _optional(row.get("loss_sd"))))
        except (TypeError, ValueError) as error:
            raise UsageError(f"{path}, line {number}: {error}.") from error
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
            front = pareto_front([(model.total_s, loss.loss) for model, loss in pairs])
            points = tuple(ParetoPoint(*pair, best) for pair, best in zip(pairs, front, strict=True))
            if points:
                panels.append(ParetoPanel(protocol, case, points))
    return panels, list(missing)


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


def _of_scale(parameters: str | None, scale: str) -> bool:
    if not parameters:
        return True
    sizes = {size.scale: size.nominal_parameters for size in MODEL_SIZES}
    count = _number(parameters)
    return scale not in sizes or min(sizes, key=lambda each: abs(math.log(count / sizes[each]))) == scale


def _mean(protocol: str, name: str, found: Sequence[tuple[float, float | None]]) -> Loss:
    losses = [loss for loss, _ in found]
    sd = statistics.stdev(losses) if len(losses) > 1 else found[0][1]
    return Loss(protocol, name, statistics.fmean(losses), sd)


def _optional(text: str | None) -> float | None:
    return _number(text) if text else None


def _number(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError(f"{text!r} is not a number above 0")
    return value
