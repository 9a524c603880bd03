"""How long a submitted script may train, from the one place where it stands: the task folder's metadata.yaml.

The host keeps that clock from outside. Here it is only told to scripts, through the manifest of the public data.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

from aira_evaluator.split_manifest import DataError


@dataclass(frozen=True)
class ScriptClock:
    """The two parts of a script's time; it is killed at their sum."""

    budget_s: float
    """Of training, `TIME_BUDGET` of a script."""
    start_up_s: float
    """On top for everything else, equal for all scripts."""


def read_clock(task_folder: Path, profile: str) -> ScriptClock:
    """Read the clock of one profile.

    Raises:
        DataError: there is no metadata.yaml, or no such clock in it.
    """
    path = task_folder / "metadata.yaml"
    try:
        fit = yaml.safe_load(path.read_text(encoding="utf-8"))["aira"]["profiles"][profile]["fit"]
        clock = ScriptClock(fit["budget_s"], fit["start_up_s"])
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise DataError(f"{path} has no aira.profiles.{profile}.fit with budget_s and start_up_s: {error!r}") from None
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in (clock.budget_s, clock.start_up_s)):
        raise DataError(f"{path}: aira.profiles.{profile}.fit has a clock that is no number")
    return clock
