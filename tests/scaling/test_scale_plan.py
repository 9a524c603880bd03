"""Plans against published steps, memory that was measured on a device, and arithmetic by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.cli.main import run_command_line
from aira_bench.errors import UsageError
from aira_bench.published_tables import read_table
from aira_bench.scaling.plan.experiments import PlannedCell, named_recipe, read_pretraining, trainings_of
from aira_bench.scaling.plan.memory import MemorySetting, Recompute, rank_memory
from aira_bench.scaling.plan.models import planned_model, planned_steps
from aira_bench.scaling.plan.planned import PlannedTraining, PlanSettings, plan_all, plan_training
from aira_bench.scaling.plan.throughput import gpu_type, read_measurements, throughput
from aira_contract.model_sizes import model_size, space_of
from aira_contract.patterns import read_pattern
from aira_contract.presets import find_preset
from aira_contract.recipes import FOLDER, find_recipe
from aira_contract.training_arithmetic import count_layers

BUDGETS = ("2e19", "4e19", "8e19", "2e20", "4e20")
GIB = 2**30
ROWS = [(row, table) for table in ("10", "11") for row in read_table(table, ("scale", "architecture"))]


def title_of(printed: str) -> str:
    """The architecture of a row: Composer's name the pattern in brackets, and one of them another pattern's."""
    return "Composer" if printed.startswith("Composer (") else printed.replace(" (Approx.)", "")


def planned(architecture: str, scale: str, recipe: str, seeds: int = 1, **how: Any) -> PlannedTraining:  # noqa: ANN401
    options = PlanSettings(**{"gpu": gpu_type("h200"), "gpus": 16, "measurements": read_measurements(), **how})
    return plan_training(PlannedCell("", architecture, scale, named_recipe(recipe), seeds), options)


def test_the_published_steps_in_285_of_285_cells() -> None:
    cells = [
        (planned(title_of(row["architecture"]), row["scale"], f"isoflop-{budget}").steps, row[f"steps_{budget}"])
        for row, _ in ROWS
        for budget in BUDGETS
    ]
    assert len(cells) == 285
    assert [str(steps.steps) for steps, _ in cells] == [printed for _, printed in cells]
    assert all(steps.published for steps, _ in cells)
    assert sum(bool(steps.note) for steps, _ in cells) == 28 * 5, "rows of other layers than the pattern's"


def test_the_suite_of_the_paper_has_its_runs() -> None:
    suite = read_pretraining("paper")
    found = {experiment.name: sum(each.seeds for each in trainings_of(experiment)) for experiment in suite.experiments}
    assert found == {
        "isotoken, two primitives": 9 * 3, "isotoken, three primitives": 12 * 3, "isoflop, two primitives": 120,
        "isoflop, three primitives": 165,
    }  # fmt: skip
    rows = {(title_of(row["architecture"]), row["scale"]) for row, _ in ROWS}
    isoflop = [each for experiment in suite.experiments[2:] for each in trainings_of(experiment)]
    presets = {(preset.title, each.scale) for each in isoflop if (preset := find_preset(each.architecture))}
    assert presets == rows
    tables = ("2", "3")
    for table, experiment in zip(tables, suite.experiments, strict=False):
        assert len(experiment.architectures) == len(read_table(table, ("architecture",)))


@pytest.mark.parametrize(
    ("scale", "pattern", "measured_gib"),
    [
        (each.scale, each.pattern, gib)
        for each, gib in zip(read_measurements(), (17.5, 17.9, 16.9, 32.7, 37.5, 35.8), strict=True)
    ],
)
def test_memory_is_within_5_percent_of_what_was_measured(
    scale: str, pattern: tuple[str, ...], measured_gib: float
) -> None:
    """An earlier loop: one device, one sequence, not compiled, a loss in pieces of 2,048 (docs/performance.md)."""
    setting = MemorySetting(ranks=1, sequences=1, microbatches=1, recompute="none", piece=2048)
    memory = rank_memory(count_layers(pattern), model_size(scale, space_of(pattern)), 8192, setting)
    assert memory.total / GIB == pytest.approx(measured_gib, rel=0.05)


@pytest.mark.parametrize(
    ("pattern", "sequences", "recompute", "measured_gib", "within"),
    [
        ("16(A-M)", 2, "none", 55.8, 0.04), ("6A-3M-6A-3M-6A-3M-6A-3M-6A-3M-3A", 2, "none", 64.0, 0.04),
        ("4Mb-2M-2Mb-3(2M-2Mb-2M-2A)", 2, "none", 61.0, 0.04), ("16(A-M)", 2, "selective", 50.6, 0.06),
        ("16(A-M)", 4, "full", 33.7, 0.15),
    ],
)  # fmt: skip
def test_memory_of_the_trainers_own_steps(
    pattern: str,
    sequences: int,
    recompute: Recompute,
    measured_gib: float,
    within: float,
) -> None:
    """The trainer at 1B on one H200, not compiled, eight sequences a step (docs/performance.md)."""
    layers = read_pattern(pattern)
    setting = MemorySetting(1, sequences, 8 // sequences, recompute)
    memory = rank_memory(count_layers(layers), model_size("1B", space_of(layers)), 8192, setting)
    assert memory.total / GIB == pytest.approx(measured_gib, rel=within)


def test_memory_by_hand() -> None:
    """One attention layer and one MLP of the toy: d 64, k 32, h 192; 10 ids; 2 ranks; 3 sequences of 50."""
    size = model_size("toy", "2-primitive")
    counts = count_layers(read_pattern("A-M"))
    whole = (2 * 64**2 + 2 * 64 * 32 + 64) + (3 * 64 * 192 + 64) + 64 + 10 * 64
    memory = rank_memory(counts, size, 50, MemorySetting(2, 3, 4, "none", piece=7), vocabulary=10)
    assert (memory.weights, memory.optimizer) == (4 * whole // 2, 8 * whole // 2)
    assert memory.gradients == 4 * whole // 2, "of earlier microbatches"
    assert memory.activations == 150 * ((12 * 64 + 6 * 32) + (6 * 64 + 8 * 192))
    assert memory.head == 6 * 10 * 64 + 12 * 10 * 7
    assert memory.gathered == 2 * whole, "two blocks are all there are"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["mA", "M", "Mb"]), min_size=1, max_size=40), st.sampled_from(["350M", "1B", "3B"]),
    st.sampled_from([1, 2, 8, 64]), st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_memory_falls_with_ranks_and_recomputation_and_grows_with_sequences(
    pattern: list[str], scale: str, ranks: int, sequences: int
) -> None:
    size, counts = model_size(scale, space_of(pattern)), count_layers(pattern)

    def total(ranks: int, sequences: int, recompute: Any) -> int:  # noqa: ANN401
        return rank_memory(counts, size, 8192, MemorySetting(ranks, sequences, 2, recompute)).total

    assert total(2 * ranks, sequences, "none") <= total(ranks, sequences, "none")
    assert total(ranks, 2 * sequences, "none") > total(ranks, sequences, "none")
    if len(pattern) > 2:  # of one or two layers, the one that is computed again is most of it
        assert total(ranks, sequences, "full") < total(ranks, sequences, "none")


def test_time_money_and_disk_by_hand() -> None:
    plan = planned("16(A-M)", "1B", "isotoken-1b", seeds=3, gpus=8, dollars_per_gpu_hour=2.0)
    tokens = 71_565 * 524_288
    assert plan.tokens == tokens
    assert plan.throughput.measured
    assert plan.gpu_hours == pytest.approx(3 * tokens / 53_801 / 3600)
    assert plan.hours == pytest.approx(tokens / 53_801 / 3600 / 8)
    assert plan.dollars == pytest.approx(2 * plan.gpu_hours)
    whole = 16 * (2 * 2048**2 + 2 * 2048 * 512 + 2048 + 3 * 2048 * 8192 + 2048) + 2048 + 128_256 * 2048
    assert plan.checkpoint_bytes == 12 * whole * 2 * 3
    assert plan.data_bytes == 4 * tokens


def test_without_a_measurement_time_follows_from_a_stated_utilization() -> None:
    plan = planned("16(A-M)", "1B", "isotoken-1b", gpu=gpu_type("h100"), mfu=0.25)
    flops = 16 * (3 * (4 * 2048**2 + 4 * 2048 * 512 + 4 * 8192 * 2048) + 18 * 2048 * 8192) + 6 * 2048 * 128_256
    assert not plan.throughput.measured
    assert plan.throughput.tokens_per_s == pytest.approx(989e12 * 0.25 / flops)
    assert plan.dollars is None


def test_measurements_shipped_agree_with_the_stated_range_of_utilization() -> None:
    """docs/performance.md prints 0.45 to 0.60 of 989 TFLOP/s beside these tokens a second."""
    shares = []
    for each in read_measurements():
        at_all = throughput(
            each.pattern, model_size(each.scale, space_of(each.pattern)), 8192, 128_256, gpu_type("h200"), 1, ()
        )
        shares.append(round(each.tokens_per_s / at_all.tokens_per_s, 2))
    assert shares == [0.56, 0.58, 0.45, 0.58, 0.60, 0.48]


def test_measurements_of_the_user_come_first(tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("architecture,scale,gpu,tokens_per_s,memory_gib,how\nllama-3.2:1B,1B,H200,50000,40,compiled\n")
    known = read_measurements() + read_measurements(mine)
    plan = planned("Llama 3.2", "1B", "isotoken-1b", measurements=known)
    assert (plan.throughput.tokens_per_s, plan.throughput.basis) == (50_000, "measured on h200: compiled")


def test_a_measurement_holds_for_its_length_and_vocabulary_alone(tmp_path: Path) -> None:
    text = (FOLDER / "isotoken-1b.toml").read_text()
    for old, new in (
        ("sequence_tokens = 8192", "sequence_tokens = 2048"),
        ("vocabulary = 128256", "vocabulary = 50000"),
    ):
        (tmp_path / "other.toml").write_text(text.replace(old, new))
        assert planned("llama-3.2", "1B", "isotoken-1b").throughput.measured
        assert not planned("llama-3.2", "1B", str(tmp_path / "other.toml")).throughput.measured


def test_a_layout_is_the_first_that_fits() -> None:
    roomy, tight = (
        planned("Llama 3.2", "3B", "isotoken-3b"),
        planned("Llama 3.2", "3B", "isotoken-3b", gpu=gpu_type("h100"), gpus=4),
    )
    assert (roomy.layout.recompute, roomy.layout.sequences, roomy.fits) == ("none", 2, True)
    assert tight.fits
    assert tight.layout.sequences < 4 or tight.layout.recompute != "none"
    small = planned("Llama 3.2", "3B", "isotoken-3b", gpu=gpu_type("a100-40gb"), gpus=1)
    assert not small.fits
    asked = planned("Llama 3.2", "1B", "isotoken-1b", sequences=1, recompute="full")
    assert (asked.layout.sequences, asked.layout.recompute) == (1, "full")


def test_a_searched_name_is_planned_as_what_was_grown_from_it() -> None:
    recipe = find_recipe("isotoken-1b")
    model = planned_model("AIRAformer-D", "1B", recipe)
    assert model.name == "AIRAformer-D (Stretched)"
    assert model.said == (
        "AIRAformer-D is what was searched; planned as AIRAformer-D (Stretched), not airaformer-d-stacked",
    )
    assert planned_model("airaformer-b", "1B", recipe).name == "AIRAformer-B (Stacked)"
    assert planned_steps(model, recipe).steps == 71_565


def test_a_pattern_of_full_size_is_kept_and_a_searched_one_grown() -> None:
    recipe = find_recipe("isotoken-1b")
    assert planned_model("16(A-M)", "1B", recipe).pattern == read_pattern("16(A-M)")
    grown = planned_model("5(2A-M)-A", "1B", recipe)
    assert grown.parameters == pytest.approx(1e9, rel=0.06)
    assert "stretched to" in grown.said[0]


def test_the_toy_can_be_planned() -> None:
    plan = planned("AIRAhybrid-D", "toy", "toy", gpus=1)
    assert plan.tokens == 200 * 2048
    assert plan.data_bytes == 2 * plan.tokens
    assert plan.memory.total < GIB


def test_the_plan_of_the_issue(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["scale", "plan", "AIRAformer-D", "--scale", "1B", "--recipe", "isotoken-1b"]
    assert run_command_line([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    (training,) = record["trainings"]
    assert (training["steps"], training["tokens"], training["layers"]["layers"]) == (71_565, 71_565 * 524_288, 48)
    assert training["dollars"] is None
    assert any("no price was given" in said for said in record["assumptions"])
    assert run_command_line(command) == 0
    shown = capsys.readouterr().out
    assert "71,565" in shown
    assert "measured on h200" in shown


def test_the_plan_of_the_paper_has_a_total_with_assumptions(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["scale", "plan", "paper", "--dollars-per-gpu-hour", "2", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    total, trainings = record["total"], record["trainings"]
    assert total["runs"] == 63 + 285
    assert total["gpu_hours"] == pytest.approx(sum(each["gpu_hours"] for each in trainings))
    assert total["dollars"] == pytest.approx(2 * total["gpu_hours"])
    assert total["tokens"] == sum(each["seeds"] * each["tokens"] for each in trainings)
    assert total["data_bytes"] == 4 * 353_207 * 524_288, "AIRAhybrid-A at 350M with 4e20 FLOPs"
    assert {"throughput", "memory", "dollars", "disk", "steps", "not counted", "note"} <= {
        said.partition(":")[0] for said in record["assumptions"]
    }
    assert run_command_line(["scale", "plan", "paper", "--scale", "350M", "--recipe", "isoflop-2e19"]) == 0
    assert "total: 19 runs" in capsys.readouterr().out


def test_a_suite_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "Mine"\n[[experiment]]\nname = "small"\narchitectures = ["2Mb-M-3A", "llama-3.2"]\n'
        'scales = ["350M", "1B"]\nrecipes = ["isotoken-350m", "isotoken-1b"]\nseeds = 2\nnote = "just so"\n'
    )
    assert run_command_line(["scale", "plan", str(path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert [(each["scale"], each["recipe"]) for each in record["trainings"]] == [
        ("350M", "isotoken-350m"), ("350M", "isotoken-350m"), ("1B", "isotoken-1b"), ("1B", "isotoken-1b"),
    ]  # fmt: skip
    assert record["total"]["runs"] == 8
    assert "note: small: just so" in record["assumptions"]


def test_totals_are_of_all_trainings() -> None:
    options = PlanSettings(gpu_type("h200"), 16, dollars_per_gpu_hour=3.0)
    recipe = find_recipe("isotoken-1b")
    plan = plan_all("", [PlannedCell("", name, "1B", recipe, 2) for name in ("llama-3.2", "mamba")], options)
    assert plan.dollars == pytest.approx(3 * sum(each.gpu_hours for each in plan.trainings))
    assert plan.data_bytes == plan.trainings[0].data_bytes, "runs read the same"
    with pytest.raises(UsageError, match="Nothing of the suite is left"):
        plan_all("", [], options)


def test_published_steps_are_those_of_the_papers_tokens(tmp_path: Path) -> None:
    twice = (FOLDER / "isoflop-2e19.toml").read_text().replace("step_tokens = 524288", "step_tokens = 1048576")
    (tmp_path / "twice.toml").write_text(twice)
    usual, larger = (
        planned_steps(planned_model("airaformer-a-stretched", "350M", recipe), recipe)
        for recipe in (named_recipe("isoflop-2e19"), named_recipe(str(tmp_path / "twice.toml")))
    )
    assert (usual.published, larger.published) == (True, False)
    assert usual.steps == 9907
    pattern = planned_model("airaformer-a-stretched", "350M", named_recipe("isoflop-2e19")).pattern
    assert abs(2 * larger.steps - named_recipe("isoflop-2e19").steps_of(pattern, "350M")) <= 1


@pytest.mark.parametrize("named", ["", "A" * 3000, "A-" * 200, "(", "\x00"])
def test_what_is_no_architecture_is_one_line(named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["scale", "plan", named, "--scale", "1B", "--recipe", "isotoken-1b"]) == 2
    assert "neither a suite nor an architecture" in capsys.readouterr().err


def test_more_architectures_than_a_suite_has_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["scale", "plan", *["A"] * 1001, "--scale", "1B", "--recipe", "isotoken-1b"]) == 2
    assert "at most 1000 items" in capsys.readouterr().err


def test_a_long_pattern_is_planned() -> None:
    assert (
        run_command_line(["scale", "plan", "A-M-" * 60 + "A", "--scale", "toy", "--recipe", "toy", "--gpus", "1"]) == 0
    )
