"""What is said of how the cpu profile of MAD ranks: its figures by hand, and that documents and metadata say what was measured."""

import sys
from pathlib import Path

import numpy as np
import pytest

from aira_bench.tasks.measured_noise import RANKS_WELL
from aira_bench.tasks.task import find_task
from aira_contract.architectures import LAYERS, parse_architecture

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import cpu_profile  # noqa: E402

STORED = ROOT / "bench" / "tables" / "mad_cpu_profile.csv"
LEAST_WITHIN = 0.50


def scores(primitives: str, *, begin_with_a_mixer: bool = False) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    return cpu_profile.scores_of(cpu_profile.read(STORED), primitives, begin_with_a_mixer=begin_with_a_mixer)


def test_stacks_have_6_to_16_mixers_evenly_and_are_those_of_the_table() -> None:
    rows = cpu_profile.read(STORED)
    for primitives, mixers in cpu_profile.PRIMITIVE_SETS.items():
        measured = list(dict.fromkeys(row.stack for row in rows if row.primitives == primitives))
        assert len(measured) >= 40
        assert measured == cpu_profile.stacks(primitives, 44, cpu_profile.STACK_SEEDS[primitives])
        assert cpu_profile.STACK_SEEDS[primitives] != cpu_profile.DESIGN_SEEDS[primitives]
        symbols = [parse_architecture(stack) for stack in measured]
        assert {symbol for stack in symbols for symbol in stack} == {"M", *mixers}
        numbers = [LAYERS - stack.count("M") for stack in symbols]
        assert {numbers.count(number) for number in range(6, 16)} == {4}
        assert numbers.count(16) == (1 if primitives == "2" else 4), "16 of one kind are one stack"


def test_figures_by_hand() -> None:
    # Ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * 2 / (4 * 15).
    table = np.array([[0.1, 0.2], [0.2, 0.5], [0.3, 0.4], [0.4, 0.6]])
    assert cpu_profile.one_against_another(table) == pytest.approx(0.8)
    # The mean of two trainings that correlate with 0.5 correlates with another such mean by 2 * 0.5 / 1.5.
    assert cpu_profile.trainings_for(0.5, wanted=2 / 3) == 2
    assert cpu_profile.trainings_for(0.8, wanted=0.8) == 1
    assert cpu_profile.spearman(np.array([1.0, 1.0]), np.array([1.0, 2.0])) == 0.0
    # Within: (0.02 / 2) each, so noise 0.1; between: means 0 and 1, variance 0.5, less half the noise's variance.
    signal, noise = cpu_profile.signal_and_noise(np.array([[-0.1, 0.1], [0.9, 1.1]]))
    assert noise == pytest.approx(0.02**0.5)
    assert signal == pytest.approx((0.5 - 0.01) ** 0.5)
    assert cpu_profile.signal_and_noise(np.array([[0.0, 1.0], [1.0, 0.0]]))[0] == 0.0


def test_what_one_training_ranks_and_what_takes_three() -> None:
    """Of two primitives one training does not reach the bar, and documents say how many would."""
    assert cpu_profile.one_against_another(scores("3")) >= cpu_profile.WANTED
    assert 1 < cpu_profile.trainings_for(cpu_profile.one_against_another(scores("2"))) <= 3


@pytest.mark.parametrize("primitives", ["2", "3"])
def test_among_stacks_that_begin_with_a_mixer_signal_exceeds_noise(primitives: str) -> None:
    within = scores(primitives, begin_with_a_mixer=True)
    assert cpu_profile.one_against_another(within) >= LEAST_WITHIN
    signal, noise = cpu_profile.signal_and_noise(within)
    assert signal > noise


def test_documents_have_the_figures_of_the_table() -> None:
    documented = (ROOT / "docs" / "mad.md").read_text()
    for line in cpu_profile.report(cpu_profile.read(STORED)):
        assert line in documented, line


@pytest.mark.parametrize("primitives", ["2", "3"])
def test_metadata_say_what_one_training_ranks(primitives: str) -> None:
    noise = find_task(f"mad-{primitives}p").metadata.aira.noise["cpu"]
    assert noise.ranks is not None
    ranks, measured = noise.ranks, scores(primitives)
    assert ranks.spearman == pytest.approx(cpu_profile.one_against_another(measured), abs=0.005)
    assert ranks.trainings == cpu_profile.trainings_for(cpu_profile.one_against_another(measured), wanted=RANKS_WELL)
    (line,) = (
        line
        for line in cpu_profile.report(cpu_profile.read(STORED))
        if line.startswith(f"| {primitives} | {len(measured)} |")
    )
    assert f"| {ranks.spearman:.2f} ({ranks.low:.2f} to {ranks.high:.2f}) |" in line
    assert f"| {ranks.training_s} |" in line
    described = " ".join((find_task(f"mad-{primitives}p").folder / "project_description.md").read_text().split())
    assert f"Spearman {ranks.spearman:.2f} ({ranks.low:.2f} to {ranks.high:.2f})" in described, "agents are told too"


def test_a_table_that_was_cut_short_goes_on_with_whole_lines(tmp_path: Path) -> None:
    rows = cpu_profile.read(STORED)[:3]
    table = tmp_path / "table.csv"
    cpu_profile.write(table, rows)
    assert cpu_profile.read(table) == rows
    table.write_text(table.read_text() + "2,AMAM")
    assert cpu_profile.read(table) == rows
