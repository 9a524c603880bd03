"""Recipes of pretraining: everything that decides a training's numbers besides architecture, scale, data and seed.

A recipe is a TOML file; `shipped_recipes` lists those in `recipe_files`. What the paper says is in them: length, tokens
of a step, steps. The optimizer's settings are ours, since the paper gives none. A recipe says nothing of devices: the
same recipe on another number of ranks trains the same model up to rounding.

    schema = 1
    title = "..."                   what it is, in a line
    scales = ["1B"]                 for which it has a learning rate
    sequence_tokens = 8192
    step_tokens = 524288            a multiple of sequence_tokens
    vocabulary = 128256             token ids of the model; data may have fewer
    steps = 71565                   or flop_budget = 2e19, from which the steps follow by layers and scale
    checkpoint_every_steps, validate_every_steps, precision ("bfloat16" or "float32")
    [optimizer]                     AdamW; cosine from the peak to a share of it after a linear warm-up
    weight_decay, beta1, beta2, epsilon, clip_norm, z_loss, warmup_share, final_share
    [optimizer.learning_rates]      the peak, by scale

Written by people; read by the host, which plans (`aira-bench scale plan`), and by the trainer
(`aira_evaluator.pretrain`). Not covered: data, seeds, and how work is laid out on devices.
"""

import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from aira_contract.model_sizes import ModelSize, model_size, space_of
from aira_contract.training_arithmetic import count_layers, flops_per_token, isoflop_steps

SCHEMA = 1
FOLDER = Path(__file__).with_name("recipe_files")

_LARGEST = 1e30
"""Of any number: more than the FLOPs of any training there was; larger ones are integers that are no floats."""
_SAID_CHARS = 60
Precision = Literal["bfloat16", "float32"]


class RecipeError(ValueError):
    """The recipe cannot be had or read, or does not fit a scale; one line that says what and where."""


@dataclass(frozen=True)
class OptimizerSettings:
    """AdamW with decoupled weight decay, and its schedule."""

    learning_rates: Mapping[str, float]
    """The peak by scale."""
    weight_decay: float
    """Of matrices; norms, biases, and Mamba-2's rates, steps and skips have none."""
    beta1: float
    beta2: float
    epsilon: float
    clip_norm: float
    """Largest length of the gradient of all parameters together; longer ones are scaled down to it."""
    z_loss: float
    """Factor of the squared log-sum of the logits in the loss; 0 leaves it out."""
    warmup_share: float
    """Of the steps, in which the learning rate rises linearly."""
    final_share: float
    """Of the peak, at which the cosine ends."""


@dataclass(frozen=True)
class Recipe:
    """How a model is pretrained."""

    name: str
    title: str
    scales: tuple[str, ...]
    sequence_tokens: int
    step_tokens: int
    vocabulary: int
    steps: int | None
    flop_budget: int | None
    """Training FLOPs by `training_arithmetic`, where the steps follow from them."""
    checkpoint_every_steps: int
    validate_every_steps: int
    precision: Precision
    optimizer: OptimizerSettings

    @property
    def step_sequences(self) -> int:
        """Sequences of one step, over all ranks."""
        return self.step_tokens // self.sequence_tokens

    def size(self, pattern: Iterable[str], scale: str) -> ModelSize:
        """Return the widths of a pattern's model.

        Raises:
            RecipeError: the recipe is not for that scale.
        """
        if scale not in self.scales:
            raise RecipeError(f"recipe {self.name} is for {', '.join(self.scales)}, not for {scale!r}")
        return model_size(scale, space_of(pattern))

    def steps_of(self, pattern: Iterable[str], scale: str) -> int:
        """Return how many steps a pattern's model is trained for.

        For a FLOP budget, by the formulas of `training_arithmetic` from the layers of the pattern: where the paper's
        tables use other layer counts than those of the pattern they print, their steps differ (docs/scaling.md).

        Raises:
            RecipeError: the recipe is not for that scale, or its budget buys no step.
        """
        layers = tuple(pattern)
        size = self.size(layers, scale)
        if self.steps is not None:
            return self.steps
        assert self.flop_budget is not None, "read_recipe takes one of both"
        steps = isoflop_steps(
            count_layers(layers), size, self.flop_budget,
            step_tokens=self.step_tokens, sequence_tokens=self.sequence_tokens,
        )  # fmt: skip
        if not steps:
            raise RecipeError(f"recipe {self.name}: {self.flop_budget:.1e} FLOPs buy no step at {scale}")
        return steps

    def flops(self, pattern: Iterable[str], scale: str) -> int:
        """Return the training FLOPs of all steps by the paper's formula, embedding and head left out.

        Raises:
            RecipeError: the recipe is not for that scale.
        """
        layers = tuple(pattern)
        per_token = flops_per_token(count_layers(layers), self.size(layers, scale), self.sequence_tokens)
        return per_token * self.step_tokens * self.steps_of(layers, scale)

    def learning_rate(self, step: int, steps: int, scale: str) -> float:
        """Return the learning rate of a step, counted from 0, of `steps`: linear warm-up, then half a cosine."""
        peak = self.optimizer.learning_rates[scale]
        warmup = max(1, round(self.optimizer.warmup_share * steps))
        if step < warmup:
            return peak * (step + 1) / warmup
        done = (step + 1 - warmup) / max(1, steps - warmup)
        final = self.optimizer.final_share
        return peak * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)


def shipped_recipes() -> tuple[str, ...]:
    """Return the names of the recipes that come with the package, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.toml")))


def find_recipe(named: str) -> Recipe:
    """Read a shipped recipe by its name, or any other from a file `FILE.toml`.

    Raises:
        RecipeError: there is no such recipe, or it cannot be read.
    """
    path = FOLDER / f"{named}.toml" if named in shipped_recipes() else Path(named)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or "it is not UTF-8"
        known = ", ".join(shipped_recipes())
        raise RecipeError(f"no recipe {named!r}: {said}; shipped are {known}, another is a file FILE.toml") from error
    return read_recipe(text, path.stem)


def read_recipe(text: str, name: str) -> Recipe:
    """Read a recipe's TOML.

    Raises:
        RecipeError: it is no TOML, lacks a key, has one that is unknown, or a value is impossible.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {name} is no TOML: {error}") from error
    if table.pop("schema", None) != SCHEMA:
        raise RecipeError(f"recipe {name}: expected schema = {SCHEMA}")
    settings = table.pop("optimizer", None)
    if not isinstance(settings, dict):
        raise RecipeError(f"recipe {name} has no table [optimizer]")
    table |= {key: table.get(key) for key in ("steps", "flop_budget")}
    _check_keys(table, {field.name for field in fields(Recipe)} - {"name", "optimizer"}, name, "")
    _check_keys(settings, {field.name for field in fields(OptimizerSettings)}, name, "optimizer.")
    recipe = _Reading(name).recipe(table, settings)
    _check(recipe)
    return recipe


def _check_keys(table: Mapping[str, object], known: set[str], name: str, prefix: str) -> None:
    for said, keys in (("unknown key", set(table) - known), ("lacks", known - set(table))):
        if keys:
            raise RecipeError(f"recipe {name}: {said} {', '.join(prefix + key for key in sorted(keys))}")


@dataclass(frozen=True)
class _Reading:
    """One recipe's values, each with its type."""

    name: str

    def recipe(self, table: dict[str, Any], settings: dict[str, Any]) -> Recipe:
        whole = {
            key: self.whole(table, key)
            for key in (
                "sequence_tokens",
                "step_tokens",
                "vocabulary",
                "checkpoint_every_steps",
                "validate_every_steps",
            )
        }
        rates = settings.pop("learning_rates")
        scales = table["scales"]
        if not isinstance(scales, list) or not scales or not all(isinstance(scale, str) for scale in scales):
            raise self.wrong("scales", scales, "a list of scales")
        if not isinstance(rates, dict) or set(rates) != set(scales):
            raise self.wrong("optimizer.learning_rates", rates, "one for each of scales")
        if table["precision"] not in get_args(Precision):
            raise self.wrong("precision", table["precision"], " or ".join(get_args(Precision)))
        if not isinstance(table["title"], str):
            raise self.wrong("title", table["title"], "a text")
        return Recipe(
            name=self.name,
            title=table["title"],
            scales=tuple(scales),
            steps=None if table["steps"] is None else self.whole(table, "steps"),
            flop_budget=None if table["flop_budget"] is None else self.whole(table, "flop_budget"),
            precision=table["precision"],
            optimizer=OptimizerSettings(
                learning_rates={scale: self.number(rates, scale) for scale in scales},
                **{key: self.number(settings, key) for key in settings},
            ),
            **whole,
        )

    def whole(self, table: Mapping[str, object], key: str) -> int:
        """TOML's integers end at 2^63, so budgets are written as 2e19; those are exact."""
        number = self.number(table, key)
        if number != int(number) or number < 1:
            raise self.wrong(key, table[key], "a whole number above 0")
        return int(number)

    def number(self, table: Mapping[str, object], key: str) -> float:
        value = table[key]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST:
            raise self.wrong(key, value, f"a number, from 0 to {_LARGEST:g}")
        return value

    def wrong(self, key: str, found: object, expected: str) -> RecipeError:
        return RecipeError(f"recipe {self.name}: {key} is {_short(found)}, expected {expected}")


def _short(found: object) -> str:
    """A value in few characters; the digits of a huge integer are not even written down, which Python refuses."""
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) > _LARGEST:
        return f"an integer of {found.bit_length()} bits"
    said = repr(found)
    return said if len(said) <= _SAID_CHARS else f"{said[:_SAID_CHARS]}..."


def write_recipe(recipe: Recipe) -> str:
    """Return a recipe's TOML, which `read_recipe` reads as the same recipe where it is given the same name."""
    top = {"schema": SCHEMA, **asdict(recipe)}
    settings = top.pop("optimizer")
    rates = settings.pop("learning_rates")
    del top["name"]
    tables = (("", top), ("[optimizer]", settings), ("[optimizer.learning_rates]", rates))
    lines = []
    for header, table in tables:
        lines += [header] if header else []
        # What JSON makes of texts, numbers and lists of them, TOML reads; but for DEL, which it wants escaped.
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items() if value is not None]
    return "\n".join(lines).replace("\x7f", "\\u007f") + "\n"


def _check(recipe: Recipe) -> None:
    settings = recipe.optimizer
    faults = {
        "has steps and flop_budget, or neither; expected one of them": (recipe.steps is None)
        == (recipe.flop_budget is None),
        "step_tokens is no multiple of sequence_tokens": recipe.step_tokens % recipe.sequence_tokens,
        "beta1 and beta2 lie below 1": max(settings.beta1, settings.beta2) >= 1,
        "epsilon and clip_norm lie above 0": min(settings.epsilon, settings.clip_norm) <= 0,
        "warmup_share and final_share are at most 1": max(settings.warmup_share, settings.final_share) > 1,
        "learning rates lie above 0": min(settings.learning_rates.values()) <= 0,
    }
    for fault, there in faults.items():
        if there:
            raise RecipeError(f"recipe {recipe.name}: {fault}")
    for scale in recipe.scales:
        try:
            model_size(scale, "2-primitive")
        except ValueError as error:
            raise RecipeError(f"recipe {recipe.name}: {error}") from error
