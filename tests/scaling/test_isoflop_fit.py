"""Parabolas, frontiers and their intervals: by hand, by numpy's own fits, against planted exponents, and where data fail."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aira_bench.cli.main import run_command_line
from aira_bench.errors import UsageError
from aira_bench.scaling.frontier.comparisons import Law, compare
from aira_bench.scaling.frontier.fits import FitSettings, Programme, fit_programme
from aira_bench.scaling.frontier.observations import Observations, TrainedRun, read_observations
from aira_bench.scaling.frontier.published_claims import published_claims
from aira_bench.scaling.trained_folders import BEGUN, BegunTraining
from aira_bench.statistics.arrays import IntervalEstimate
from aira_bench.statistics.isoflop import IsoflopDesign, fit_parabolas
from scaling.planted_programmes import BUDGETS, MIDDLE, SIZES, loss, table, written
from scaling.pretrained import DATA, pretrained

PAIR = {"reference": -0.035, "steeper": -0.054}


def fitted(folder: Path, text: str, *, noise_sd: float | None = None) -> Programme:
    return fit_programme(read_observations([written(folder, text)]), FitSettings(noise_sd, resamples=400))


def value(estimate: IntervalEstimate | None) -> float:
    assert estimate is not None
    return estimate.value


def test_a_parabola_by_hand() -> None:
    """Through 3, 2 and 5 at ln N = 0, 1, 2: 3 - 3x + 2x^2, whose minimum is 3 - 9/8 at 3/4."""
    design = IsoflopDesign(np.exp([0.0, 1.0, 2.0]), np.full(3, 1e19), np.ones(3))
    found = fit_parabolas(design, np.array([3.0, 2.0, 5.0]))
    assert found.curvature[0] == pytest.approx(4)
    assert found.log_size[0] == pytest.approx(0.75)
    assert found.minimum[0] == pytest.approx(1.875)
    assert found.residuals == pytest.approx(np.zeros(3), abs=1e-12)


def test_weighted_parabolas_are_those_of_numpy() -> None:
    generator = np.random.default_rng(1)
    sizes, weights = np.exp(generator.uniform(19, 22, 9)), generator.uniform(0.1, 5, 9)
    losses = (np.log(sizes) - 20.5) ** 2 / 10 + generator.normal(0, 0.01, 9)
    found = fit_parabolas(IsoflopDesign(sizes, np.full(9, 1e20), weights), losses)
    a, b, c = np.polyfit(np.log(sizes), losses, 2, w=np.sqrt(weights))
    assert found.curvature[0] == pytest.approx(2 * a)
    assert found.log_size[0] == pytest.approx(-b / (2 * a))
    assert found.minimum[0] == pytest.approx(c - b**2 / (4 * a))
    assert found.residuals == pytest.approx(losses - np.polyval([a, b, c], np.log(sizes)))


def test_without_noise_planted_exponents_come_out_exactly(tmp_path: Path) -> None:
    programme = fitted(tmp_path, table(PAIR), noise_sd=1e-6)
    for name, slope in PAIR.items():
        frontier = programme.named(name).frontier
        assert frontier is not None
        assert frontier.slope.value == pytest.approx(slope, rel=1e-9)
        assert frontier.exponent.value == pytest.approx(0.5, rel=1e-9)
        assert frontier.loss.value == pytest.approx(2.9, rel=1e-9)
        assert frontier.flops == pytest.approx(MIDDLE)
    (comparison,) = compare(programme, "reference")
    assert comparison.faster_by_slope.value == pytest.approx(100 * (54 / 35 - 1))
    assert comparison.slope_difference.value == pytest.approx(-0.019)
    assert comparison.offset.value == pytest.approx(0, abs=1e-9)
    for one in comparison.faster_by_compute:
        # Equal loss: (C'/C0)^-0.054 = (C/C0)^-0.035.
        ratio = one.flops / (MIDDLE * (one.flops / MIDDLE) ** (35 / 54))
        assert one.percent.value == pytest.approx(100 * (ratio - 1), abs=1e-6)
    assert [one.flops for one in comparison.faster_by_compute] == [BUDGETS[0], BUDGETS[-1]]


def test_planted_exponents_are_recovered_and_covered_in_95_of_100(tmp_path: Path) -> None:
    """Three sizes, five budgets, one run each, noise of seeds 0.002: bench/scaling_fit.py has more worlds, 500 of each."""
    generator = np.random.default_rng(18)
    near = covered = compared = 0
    for _ in range(100):
        programme = fitted(tmp_path, table(PAIR, generator))
        frontier = programme.named("steeper").frontier
        assert frontier is not None
        near += abs(frontier.slope.value / -0.054 - 1) < 0.05 and abs(frontier.exponent.value / 0.5 - 1) < 0.1
        covered += frontier.slope.holds(-0.054)
        compared += compare(programme, "reference")[0].faster_by_slope.holds(100 * (54 / 35 - 1))
    assert near >= 95
    assert covered >= 91  # 95 is expected; fewer than 91 of 100 has a chance of 3 %
    assert compared >= 91


def test_equal_architectures_are_told_apart_in_5_of_100(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    told = 0
    for _ in range(100):
        programme = fitted(tmp_path, table({"one": -0.04, "other": -0.04}, generator))
        told += not compare(programme, "one")[0].verdict.startswith("cannot tell")
    assert told <= 10


@settings(max_examples=15, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3), st.randoms(use_true_random=False))
def test_units_and_order_change_nothing(sizes: float, flops: float, shuffled: random.Random) -> None:
    noise = np.random.default_rng(3)
    runs = [
        TrainedRun(name, size, budget, loss(slope, size, budget) + 0.002 * noise.standard_normal())
        for name, slope in PAIR.items()
        for budget in BUDGETS
        for size in SIZES
    ]
    key = lambda run: (run.architecture, run.budget_flops, run.parameters)  # noqa: E731  # as tables are sorted
    changed = [TrainedRun(run.architecture, run.parameters * sizes, run.budget_flops * flops, run.loss) for run in runs]
    shuffled.shuffle(changed)
    first, second = (
        fit_programme(Observations(tuple(sorted(each, key=key)), 0, ""), FitSettings(resamples=200))
        for each in (runs, changed)
    )
    for name in PAIR:
        one, other = first.named(name).frontier, second.named(name).frontier
        assert one is not None
        assert other is not None
        for mine, theirs in ((one.slope, other.slope), (one.exponent, other.exponent), (one.loss, other.loss)):
            assert (mine.value, mine.low, mine.high) == pytest.approx((theirs.value, theirs.low, theirs.high), rel=1e-6)
        assert other.flops == pytest.approx(one.flops * flops)


def test_lines_of_a_table_may_stand_in_any_order(tmp_path: Path) -> None:
    header, *lines = table(PAIR, np.random.default_rng(4)).splitlines()
    turned = fitted(tmp_path, "\n".join([header, *reversed(lines)]))
    assert turned.named("steeper").frontier is not None
    assert repr(turned.architectures) == repr(fitted(tmp_path, "\n".join([header, *lines])).architectures)


def test_another_architecture_leaves_an_interval_with_given_noise_alone(tmp_path: Path) -> None:
    alone = fitted(tmp_path, table({"steeper": -0.054}), noise_sd=0.002).named("steeper")
    beside = fitted(tmp_path, table(PAIR), noise_sd=0.002).named("steeper")
    assert alone.frontier is not None
    assert beside.frontier is not None
    assert alone.frontier.slope == beside.frontier.slope


def test_seeds_of_one_cell_show_the_noise(tmp_path: Path) -> None:
    programme = fitted(tmp_path, table(PAIR, np.random.default_rng(6), seeds=8, deviation=0.004))
    assert programme.noise is not None
    assert programme.noise.freedom == 2 * 5 * (8 * 3 - 3) + 2 * 3
    assert programme.noise.deviation == pytest.approx(0.004, rel=0.15)


def test_what_bends_all_frontiers_alike_is_no_noise_of_runs(tmp_path: Path) -> None:
    """With an irreducible loss no power law fits: four architectures that bend together show little noise, and say so."""
    slopes = {f"architecture {k}": -0.03 - 0.002 * k for k in range(4)}
    lines = table(slopes, np.random.default_rng(7)).splitlines()
    bent = [lines[0]]
    for line in lines[1:]:
        name, size, budget, found, seed = line.split(",")
        bend = 0.01 * math.log(float(budget) / MIDDLE) ** 2
        bent.append(f"{name},{size},{budget},{float(found) + bend:.6f},{seed}")
    programme = fitted(tmp_path, "\n".join(bent))
    assert programme.noise is not None
    assert programme.noise.deviation < 0.004
    assert any("leave a power law together" in remark for remark in programme.remarks)
    assert not fitted(tmp_path, "\n".join(lines)).remarks


def remarks(programme: Programme) -> str:
    found = [*programme.remarks]
    for fit in programme.architectures:
        found += [*fit.remarks, *(remark for budget in fit.budgets for remark in budget.remarks)]
    return "\n".join(found)


def test_what_data_cannot_tell_is_said(tmp_path: Path) -> None:
    two_sizes = fitted(tmp_path, table(PAIR, sizes=SIZES[:2]))
    assert "2 sizes: a parabola needs 3" in remarks(two_sizes)
    assert "no frontier: 0 of 5 budgets have a minimum" in remarks(two_sizes)
    assert two_sizes.named("steeper").frontier is None

    outside = fitted(tmp_path, table(PAIR, sizes=(5e9, 7e9, 1e10)), noise_sd=1e-6)
    assert "outside the sizes 5e+09 to 1e+10" in remarks(outside)
    assert "5 of 5 minima lie outside the sizes that were trained" in remarks(outside)

    flat = fitted(tmp_path, table(PAIR, sizes=(9e8, 1e9, 1.1e9)), noise_sd=0.002)
    assert "flat: noise may leave it without a minimum" in remarks(flat)
    frontier = flat.named("steeper").frontier
    assert frontier is not None
    assert frontier.exponent.low is None
    assert compare(flat, "reference")[0].verdict == "cannot tell: no interval"

    two_budgets = fitted(tmp_path, table(PAIR, budgets=BUDGETS[:2]))
    assert two_budgets.noise is None
    assert "no interval: nothing is left over that would show the noise of a run" in remarks(two_budgets)
    assert "goes through two minima" in remarks(two_budgets)

    upside_down = "architecture,parameters,budget_flops,loss\n" + "".join(
        f"odd,{size},{budget},{3 - (math.log(size / 1e9)) ** 2 / 10}\n" for budget in BUDGETS for size in SIZES
    )
    assert "no minimum: the parabola's curvature is -0.2" in remarks(fitted(tmp_path, upside_down, noise_sd=0.001))

    loud = fitted(tmp_path, table(PAIR, np.random.default_rng(8), deviation=0.01), noise_sd=0.001)
    assert "times as far off as the noise that was given says" in remarks(loud)


def test_a_parabola_that_is_nearly_a_line_has_no_minimum(tmp_path: Path) -> None:
    """Its minimum, 1e40 times the sizes, would be no number that anything can be computed with."""
    rows = [(size, 3 - math.log(size / 1e9) / 10 + 1e-4 * math.log(size / 1e9) ** 2) for size in SIZES]
    text = "architecture,parameters,budget_flops,loss\n" + "".join(
        f"line,{size},{budget},{found}\n" for budget in BUDGETS for size, found in rows
    )
    programme = fitted(tmp_path, text, noise_sd=0.002)
    assert "no minimum: the parabola's curvature is 0.0002" in remarks(programme)
    assert programme.named("line").frontier is None


def programme_of(folder: Path, columns: str, *lines: str) -> Programme:
    """Each line at every budget."""
    rows = (line.replace("C", str(budget)) for budget in BUDGETS for line in lines)
    return fitted(folder, "\n".join((f"architecture,parameters,budget_flops,{columns}", *rows, "")), noise_sd=None)


def test_sizes_that_are_nearly_one_have_no_parabola(tmp_path: Path) -> None:
    found = programme_of(tmp_path, "loss", "near,1e9,C,3", "near,1.0000000001e9,C,3.1", "near,3e9,C,3.3")
    assert "no parabola: sizes are too near each other" in remarks(found)
    weighed = programme_of(tmp_path, "loss,loss_sd", "odd,1e9,C,3,1e-30", "odd,2e9,C,3.1,1e30", "odd,3e9,C,3.3,1")
    assert "no parabola: sizes are too near each other, or weigh too little" in remarks(weighed)
    assert found.named("near").frontier is None


def test_losses_that_are_all_alike_have_no_minimum(tmp_path: Path) -> None:
    for same in ("3", "3.1", "2.7182818"):
        found = programme_of(tmp_path, "loss", *(f"flat,{size},C,{same}" for size in ("1e9", "2e9", "3.3e9")))
        assert "no minimum: the parabola's curvature is" in remarks(found)
        assert found.named("flat").frontier is None


@pytest.mark.parametrize("width", [1e-5, 1e-3, 1.0])
def test_a_minimum_is_found_however_near_the_sizes_are(width: float) -> None:
    logs = 20 + width * np.array([-1.0, 0.1, 1.2])
    losses = 3 + ((logs - 20) / width - 0.3) ** 2
    found = fit_parabolas(IsoflopDesign(np.exp(logs), np.full(3, 1e20), np.ones(3)), losses)
    assert (found.log_size[0] - 20) / width == pytest.approx(0.3, abs=1e-6 / min(1, width * 1e3))
    assert found.minimum[0] == pytest.approx(3, abs=1e-6)


def test_a_reference_without_a_frontier_compares_with_nothing(tmp_path: Path) -> None:
    first, second = table({"thin": -0.04}, sizes=SIZES[:2]), table({"whole": -0.04}, np.random.default_rng(1))
    programme = fitted(tmp_path, first + "".join(second.splitlines(keepends=True)[1:]))
    assert compare(programme, "thin") == ()
    with pytest.raises(UsageError, match="No run is of 'absent'; there are thin, whole"):
        compare(programme, "absent")


def test_a_reported_law_can_be_the_reference(tmp_path: Path) -> None:
    programme = fitted(tmp_path, table({"steeper": -0.054}), noise_sd=1e-6)
    (comparison,) = compare(programme, Law("reported", -0.036, MIDDLE, 2.9))
    assert comparison.faster_by_slope.value == pytest.approx(50)
    assert comparison.offset.value == pytest.approx(0, abs=1e-9)


def test_known_deviations_weigh_runs(tmp_path: Path) -> None:
    """A fourth run that is far off weighs nothing where it is known to be worth nothing."""
    lines = [line + ",0.002" for line in table({"one": -0.04}).splitlines()[1:]]
    off = [f"one,2e9,{budget},9.0,0,1e6" for budget in BUDGETS]
    text = "\n".join(["architecture,parameters,budget_flops,loss,seed,loss_sd", *lines, *off])
    programme = fitted(tmp_path, text)
    frontier = programme.named("one").frontier
    assert frontier is not None
    assert frontier.slope.value == pytest.approx(-0.04, rel=1e-6)
    assert programme.noise is not None
    assert (programme.noise.deviation, programme.noise.freedom) == (1.0, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "lacks the column 'architecture'"),
        ("architecture,parameters,loss\n", "lacks the column 'budget_flops'"),
        ("architecture,parameters,budget_flops,loss,notes\n", "unknown column 'notes'"),
        ("architecture,parameters,budget_flops,loss\n", "None of 0 runs has a loss"),
        ("architecture,parameters,budget_flops,loss\na,1e9,1e20,\n", "None of 1 runs has a loss"),
        ("architecture,parameters,budget_flops,loss\na,1e9,1e20\n", "line 2 has another number of columns"),
        ("architecture,parameters,budget_flops,loss\na,1e9,1e20,nan\n", "line 2: loss is 'nan', expected a number above"),
        ("architecture,parameters,budget_flops,loss\na,-1,1e20,3\n", "line 2: parameters is '-1'"),
        ("architecture,parameters,budget_flops,loss\na,1e9,1e400,3\n", "budget_flops is '1e400'"),
        ("architecture,parameters,budget_flops,loss\n,1e9,1e20,3\n", "needs a name"),
        ("architecture,parameters,budget_flops,loss\na,1e9,1e20,3\na,1e9,1e20,3\n", "stands 2 times"),
        ("architecture,parameters,budget_flops,loss,seed\na,1e9,1e20,3,x\n", "seed is 'x', expected a whole number"),
        ("architecture,parameters,budget_flops,loss,loss_sd\na,1e9,1e20,3,0.1\na,2e9,1e20,3,\n", "some have none"),
        ('architecture,parameters,budget_flops,loss\n"a,1e9\n', "is no CSV file"),
    ],
)  # fmt: skip
def test_a_bad_table_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    assert run_command_line(["scale", "fit", str(written(tmp_path, text))]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert "Try: " in printed.err
    assert not printed.out


def test_the_command_prints_an_interval_beside_every_claim(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, table(PAIR, np.random.default_rng(2)))
    assert run_command_line(["scale", "fit", str(path), "--resamples", "400", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    (comparison,) = record["comparisons"]
    assert (comparison["architecture"], comparison["reference"], comparison["verdict"]) == (
        "steeper",
        "reference",
        "faster",
    )
    claims = [comparison["faster_by_slope_percent"], *comparison["faster_by_compute_percent"]]
    claims += [fit["frontier"][key] for fit in record["architectures"] for key in ("slope", "loss", "size_exponent")]
    assert all(claim["low"] < claim["value"] < claim["high"] for claim in claims)
    assert run_command_line(["scale", "fit", str(path), "--resamples", "400"]) == 0
    shown = capsys.readouterr().out
    assert f"{comparison['faster_by_slope_percent']['value']:.0f} [" in shown


def test_the_papers_percentages_agree_as_ratios_of_slopes(capsys: pytest.CaptureFixture[str]) -> None:
    """1.54 / 1.71 and 1.23 / 1.37: both Composer models flatter by a tenth, as the text has it."""
    claims = {claim.architecture: claim for claim in published_claims()}
    assert [per_cent for _, per_cent in claims["AIRAformer-C"].faster] == [54, 71]
    assert [per_cent for _, per_cent in claims["AIRAhybrid-C"].faster] == [23, 37]
    assert claims["AIRAformer-C"].composer_share == pytest.approx(0.9006, abs=1e-4)
    assert claims["AIRAhybrid-C"].composer_share == pytest.approx(0.8978, abs=1e-4)
    assert (claims["AIRAformer-C"].missing_losses, claims["AIRAhybrid-C"].missing_losses) == (119, 165)
    assert run_command_line(["scale", "fit", "--published"]) == 0
    assert "119 losses and all slopes are not printed" in capsys.readouterr().out


def programme_of_folders(folder: Path, names: Sequence[str] = ("llama-3.2", "airaformer-c-stacked")) -> None:
    noise = np.random.default_rng(9)
    for name, slope in zip(names, (-0.035, -0.054), strict=True):
        for scale, size in zip(("350M", "1B", "3B"), SIZES, strict=True):
            for budget in ("2e19", "4e19", "8e19", "2e20", "4e20"):
                planted = loss(slope, size, float(budget)) + 0.001 * noise.standard_normal()
                pretrained(folder, name, scale, f"isoflop-{budget}", planted)


def test_folders_of_trainings_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    programme_of_folders(tmp_path / "runs")
    pretrained(tmp_path / "runs", "llama-3.2", "1B", "isoflop-2e19", 2.9, seed=1, finished=False)
    pretrained(tmp_path / "runs", "llama-3.2", "1B", "isotoken-1b", 2.8)
    command = ["scale", "fit", str(tmp_path / "runs"), "--reference", "Llama 3.2", "--resamples", "200", "--json"]
    assert run_command_line(command) == 0
    record = json.loads(capsys.readouterr().out)
    assert [fit["architecture"] for fit in record["architectures"]] == ["AIRAformer-C (Stacked)", "Llama 3.2"]
    assert [fit["runs"] for fit in record["architectures"]] == [15, 15]
    assert (record["runs_without_loss"], record["runs_without_budget"]) == (1, 1)
    sizes = [run["parameters"] for run in record["architectures"][1]["budgets"][0]["runs"]]
    assert [round(size / 1e9, 2) for size in sizes] == [0.35, 0.97, 2.82], "as Table 8 prints of Llama 3.2"
    assert record["comparisons"][0]["verdict"] == "faster"
    assert record["remarks"][0] == "losses are of synthetic text: they compare with none on other tokens"


def test_a_pattern_of_ones_own_is_one_architecture_by_what_it_was_begun_for(tmp_path: Path) -> None:
    for scale, pattern in (("350M", "10(A-M)"), ("1B", "12(A-M)"), ("3B", "20(A-M)")):
        place = pretrained(tmp_path, pattern, scale, "isoflop-2e19", 3.0)
        begun = BegunTraining(1, "mine", scale, "isoflop-2e19", 0, 100, 2e19)
        (place / BEGUN).write_text(json.dumps(asdict(begun)))
    assert {run.architecture for run in read_observations([tmp_path]).runs} == {"mine"}


def test_trainings_of_two_data_sets_do_not_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretrained(tmp_path, "llama-3.2", "1B", "isoflop-2e19", 3.0)
    pretrained(tmp_path, "llama-3.2", "3B", "isoflop-2e19", 3.0, data={**DATA, "sha256": "1" * 64})
    assert run_command_line(["scale", "fit", str(tmp_path)]) == 2
    assert "was trained on other data" in capsys.readouterr().err
    for scale in ("1B", "3B"):
        (tmp_path / f"{scale} alone").mkdir()
        (tmp_path / f"llama-3.2-{scale}-isoflop-2e19-0").rename(tmp_path / f"{scale} alone" / "training")
    apart = [str(tmp_path / f"{scale} alone") for scale in ("1B", "3B")]
    assert run_command_line(["scale", "fit", *apart]) == 2, "in folders of their own they are no nearer"
    assert "was trained on other data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [("{", "is no record of a training: the file: Invalid JSON"), ("{}", "identity: Field required"), ("[]", "no record")],
)  # fmt: skip
def test_a_damaged_record_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, said: str
) -> None:
    place = pretrained(tmp_path, "llama-3.2", "1B", "isoflop-2e19", 3.0)
    (place / "pretrain.json").write_text(content)
    assert run_command_line(["scale", "fit", str(tmp_path)]) == 6
    printed = capsys.readouterr().err
    assert said in printed
    assert printed.count("\n") == 1
