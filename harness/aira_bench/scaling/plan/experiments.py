"""What a programme of pretraining is: a TOML file of experiments, each architectures by scales by recipes by seeds.

    title = "Two hybrids"

    [[experiment]]
    name = "isotoken"
    architectures = ["airahybrid-d-stretched", "2Mb-M-3A"]
    scales = ["350M", "1B"]
    recipes = ["isotoken-350m", "isotoken-1b"]
    seeds = 3

A recipe is one that comes with aira-bench or a file FILE.toml; a scale and a recipe that is not for it are no pair. An
experiment of which no scale has a recipe is an error.

Not covered: what it costs (`planned`), and agents' searches (`aira_bench.suites`).
"""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from aira_bench.errors import UsageError
from aira_bench.files import Unacceptable, read_text, reason
from aira_contract.recipes import Recipe, RecipeError, find_recipe, shipped_recipes

SHIPPED = Path(__file__).parent / "shipped"
MOST_TRAININGS = 100_000
_MOST_BYTES = 1 << 20


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_tuple), Field(min_length=1, max_length=1000)]


class Experiment(BaseModel):
    """Architectures by scales by recipes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(min_length=1, max_length=100)
    architectures: Names
    scales: Names
    recipes: Names
    seeds: int = Field(default=1, ge=1, le=1000)
    note: str = Field(default="", max_length=500)
    """What the file assumes, printed with the plan."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    title: str = Field(min_length=1, max_length=200)
    experiment: Annotated[tuple[Experiment, ...], BeforeValidator(_tuple)] = Field(min_length=1, max_length=1000)


@dataclass(frozen=True)
class PretrainingSuite:
    """Experiments that are planned, run and reported as one."""

    name: str
    title: str
    experiments: tuple[Experiment, ...]


@dataclass(frozen=True)
class PlannedCell:
    """One architecture at one scale under one recipe: as many runs as it has seeds."""

    experiment: str
    architecture: str
    scale: str
    recipe: Recipe
    seeds: int
    named: str = ""
    """What the recipe was asked for by: its name or its file."""


def shipped_pretraining() -> tuple[str, ...]:
    """Return the names of the suites that come with the package, sorted."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def is_suite(named: str) -> bool:
    """Whether a word on the command line names a suite, shipped or in a file."""
    return named in shipped_pretraining() or named.endswith(".toml")


def read_pretraining(named: str) -> PretrainingSuite:
    """Read a shipped suite by its name, or a file by its path.

    Raises:
        UsageError: there is none, or it breaks the schema; the message names the key and what is expected.
    """
    path = SHIPPED / f"{named}.toml" if named in shipped_pretraining() else Path(named)
    hint = f"aira-bench scale plan {' | '.join(shipped_pretraining())} | FILE.toml   (docs/scaling.md)"
    try:
        file = _File.model_validate(tomllib.loads(read_text(path, _MOST_BYTES)))
    except (OSError, Unacceptable) as error:
        raise UsageError(f"Cannot read the suite {named}: {reason(error)}.", hint=hint) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"The suite {path} is no TOML file: {error}.", hint=hint) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"The suite {path} is not valid: {where}: {first['msg']}.", hint=hint) from error
    return PretrainingSuite(path.stem, file.title, file.experiment)


def asked_experiment(architectures: Sequence[str], scales: Sequence[str], recipes: Sequence[str]) -> Experiment:
    """Return what a command line asks for, in place of a suite.

    Raises:
        UsageError: it is more than a suite may have.
    """
    try:
        return Experiment(
            name=", ".join(architectures)[:100] or "asked", architectures=tuple(architectures), scales=tuple(scales),
            recipes=tuple(recipes),
        )  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}.", hint="fewer at a time") from error


def named_recipe(named: str) -> Recipe:
    """Return a recipe by its name or file.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    try:
        return find_recipe(named)
    except RecipeError as error:
        said = f"{str(error)[:1].upper()}{str(error)[1:]}."
        raise UsageError(said, hint=f"--recipe {' | '.join(shipped_recipes())}") from error


def trainings_of(experiment: Experiment) -> Iterator[PlannedCell]:
    """Yield what an experiment trains, scale by scale.

    Raises:
        UsageError: a recipe cannot be had, or no scale has one.
    """
    recipes, found = {name: named_recipe(name) for name in experiment.recipes}, False
    for scale in experiment.scales:
        for name, recipe in recipes.items():
            if scale in recipe.scales:
                found = True
                for architecture in experiment.architectures:
                    yield PlannedCell(experiment.name, architecture, scale, recipe, experiment.seeds, name)
    if not found:
        known = "; ".join(f"{recipe.name} is for {', '.join(recipe.scales)}" for recipe in recipes.values())
        raise UsageError(
            f"{experiment.name}: no recipe is for {', '.join(experiment.scales)}: {known}.",
            hint="--scale, or another --recipe",
        )
