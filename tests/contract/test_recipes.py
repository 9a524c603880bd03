"""Recipes of pretraining: what the paper prints, and what a wrong file is told."""

import csv
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from aira_contract.model_sizes import SCALES
from aira_contract.patterns import read_pattern
from aira_contract.presets import PRESETS, name_of
from aira_contract.recipes import FOLDER, RecipeError, find_recipe, read_recipe, shipped_recipes, write_recipe
from aira_contract.training_arithmetic import FLOP_BUDGETS, ISOTOKEN_STEPS, STEP_TOKENS, count_layers

PUBLISHED = Path(__file__).resolve().parents[2] / "results" / "published"
ISOTOKEN = (FOLDER / "isotoken-1b.toml").read_text()


def test_shipped_are_isotoken_at_three_scales_five_budgets_and_a_toy() -> None:
    budgets = {f"isoflop-{number}" for number in ("2e19", "4e19", "8e19", "2e20", "4e20")}
    assert set(shipped_recipes()) == {"isotoken-350m", "isotoken-1b", "isotoken-3b", "toy"} | budgets
    found = [find_recipe(name) for name in sorted(budgets)]
    assert sorted(recipe.flop_budget or 0 for recipe in found) == list(FLOP_BUDGETS)
    assert all(recipe.scales == SCALES and recipe.step_tokens == STEP_TOKENS for recipe in found)


def test_the_papers_isotoken_training_to_the_token() -> None:
    recipe = find_recipe("isotoken-1b")
    llama = read_pattern("16(A-M)")
    assert recipe.steps_of(llama, "1B") == ISOTOKEN_STEPS == 71_565
    assert (recipe.sequence_tokens, recipe.step_sequences) == (8192, 64)
    assert recipe.step_tokens * 71_565 == 37_520_670_720, "37.5 billion"
    assert recipe.flops(llama, "1B") == 16 * (264_241_152 + 301_989_888) * 37_520_670_720


def test_isoflop_recipes_give_the_printed_steps_wherever_the_printed_pattern_has_the_printed_layers() -> None:
    patterns = {(preset.name, scale): full.pattern for preset in PRESETS for scale, full in preset.full_size.items()}
    cells = 0
    for table in ("table10_isoflop_steps_2prim", "table11_isoflop_steps_3prim"):
        with (PUBLISHED / f"{table}.csv").open() as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            name = name_of(row["architecture"].replace(" (Approx.)", ""))
            pattern = patterns.get((name, row["scale"]))
            if pattern is None:
                continue
            counts = count_layers(pattern)
            printed = (int(row["attention"]), int(row["mlp"]), int(row.get("mamba", 0)))
            if (counts.attention, counts.mlp, counts.mamba) != printed:
                continue
            for column in [each for each in row if each.startswith("steps_")]:
                recipe = find_recipe(f"isoflop-{column.removeprefix('steps_')}")
                assert recipe.steps_of(pattern, row["scale"]) == int(row[column])
                cells += 1
    assert cells >= 100


def test_the_learning_rate_warms_up_linearly_and_ends_at_its_share_of_the_peak() -> None:
    recipe = find_recipe("isotoken-1b")
    rates = [recipe.learning_rate(step, 1000, "1B") for step in range(1000)]
    assert rates[0] == pytest.approx(4e-4 / 20), "2 % of 1000 steps"
    assert max(rates) == rates[19] == pytest.approx(4e-4)
    assert rates[-1] == pytest.approx(4e-5)
    # Half way down the cosine: (peak + final) / 2.
    assert rates[19 + 490] == pytest.approx((4e-4 + 4e-5) / 2)
    assert all(later < earlier for earlier, later in pairwise(rates[19:]))


def test_a_recipe_is_for_its_scales_alone() -> None:
    with pytest.raises(RecipeError, match="isotoken-1b is for 1B, not for '3B'"):
        find_recipe("isotoken-1b").steps_of(read_pattern("A-M"), "3B")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema = 1", "schema = 2", "expected schema = 1"),
        ("steps = 71565", "step = 71565", "unknown key step"),
        ("steps = 71565", "steps = 71565\nflop_budget = 2e19", "steps and flop_budget"),
        ("steps = 71565", "", "steps and flop_budget, or neither"),
        ("steps = 71565", "steps = 0.5", "steps is 0.5, expected a whole number"),
        ("steps = 71565", "steps = inf", "expected a number"),
        ("steps = 71565", "steps = true", "steps is True"),
        ('scales = ["1B"]', 'scales = ["7B"]', "optimizer.learning_rates"),
        ('scales = ["1B"]', "scales = []", "expected a list of scales"),
        ("1B = 4e-4", "1B = -1", "1B is -1"),
        ("1B = 4e-4", "1B = 0", "learning rates lie above 0"),
        ("beta1 = 0.9\n", "", "lacks optimizer.beta1"),
        ("beta2 = 0.95", "beta2 = 1.0", "beta1 and beta2 lie below 1"),
        ("clip_norm = 1.0", "clip_norm = 0", "clip_norm"),
        ("warmup_share = 0.02", "warmup_share = 2", "warmup_share"),
        ("step_tokens = 524288", "step_tokens = 524289", "no multiple"),
        ('precision = "bfloat16"', 'precision = "fp8"', "bfloat16 or float32"),
        ("[optimizer]", "[optimiser]", "unknown key optimiser"),
        ("steps = 71565", "steps = ", "is no TOML"),
        ("steps = 71565", f"steps = 1{'0' * 400}", "expected a number, from 0 to 1e"),
        ("vocabulary = 128256", "vocabulary = 1e31", "expected a number, from 0 to 1e"),
    ],
)
def test_a_wrong_recipe_is_told_where(old: str, new: str, said: str) -> None:
    assert old in ISOTOKEN
    with pytest.raises(RecipeError, match=said):
        read_recipe(ISOTOKEN.replace(old, new), "mine")


@pytest.mark.parametrize(("length", "step"), [(8192, 2**20), (2048, 2**19), (512, 2**17)])
def test_a_budget_is_spent_whatever_the_tokens_of_a_step(length: int, step: int) -> None:
    text = (FOLDER / "isoflop-2e20.toml").read_text()
    text = text.replace("sequence_tokens = 8192", f"sequence_tokens = {length}")
    text = text.replace("step_tokens = 524288", f"step_tokens = {step}")
    recipe = read_recipe(text, "mine")
    assert (recipe.sequence_tokens, recipe.step_tokens) == (length, step)
    for pattern in (read_pattern("16(A-M)"), read_pattern("8(Mb-M-A)")):
        assert math.isclose(recipe.flops(pattern, "1B"), 2e20, rel_tol=1e-3)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_that_is_written_is_read_as_it_was(name: str) -> None:
    recipe = replace(find_recipe(name), title='a "quoted" \\ title\twith tabs, \u00e9')
    assert read_recipe(write_recipe(recipe), name) == recipe


def test_unknown_scales_and_files_are_told() -> None:
    with pytest.raises(RecipeError, match="unknown scale '7B'"):
        read_recipe(ISOTOKEN.replace('"1B"', '"7B"').replace("1B =", "7B ="), "mine")
    with pytest.raises(RecipeError, match="shipped are isoflop-2e19, "):
        find_recipe("isotoken-7b")


def test_a_recipe_of_ones_own_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(ISOTOKEN.replace("steps = 71565", "flop_budget = 4e20"))
    recipe = find_recipe(str(path))
    assert recipe.name == "mine"
    assert recipe.steps_of(read_pattern("16(A-M)"), "1B") == round(4e20 / (16 * (264_241_152 + 301_989_888) * 2**19))
    assert math.isclose(recipe.flops(read_pattern("16(A-M)"), "1B"), 4e20, rel_tol=1e-4)
