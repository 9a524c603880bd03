"""Models composed of measured parts, fronts of latency and loss, and the files of both."""

from pathlib import Path

import pytest

from aira_bench.errors import UsageError
from aira_bench.scaling.latency import LatencyTable, MissingLatency, pareto_front
from aira_bench.scaling.latency_pareto import (
    ISOTOKEN,
    Loss,
    names_at,
    panels_of,
    pattern_at,
    published_losses,
    read_losses,
)
from aira_bench.scaling.latency_process import read_latencies
from aira_contract.latency import Case, LatencyRow, Machine, NotMeasured
from aira_contract.presets import find_preset

CASE = Case("decode", 1, 1, 8192)


def row(part: str, ms: float, *, scale: str = "1B", space: str = "2-primitive", **more: object) -> LatencyRow:
    whole: dict[str, object] = {
        "part": part, "scale": scale, "space": space, "name": "", "pattern": "", "phase": "decode", "batch": 1,
        "length": 1, "context": 8192, "dtype": "bfloat16", "cache": "cold", "copies": 2, "captured": True,
        "median_s": ms / 1e3, "low_s": ms / 1e3 - 1e-4, "high_s": ms / 1e3 + 2e-4, "rounds": 20,
    }  # fmt: skip
    return LatencyRow(**{**whole, **more})  # type: ignore[arg-type]


PARTS = (
    row("mA", 3.0), row("M", 2.0), row("Mb", 5.0, space="3-primitive"), row("embedding", 0.5), row("head", 7.0),
)  # fmt: skip
TABLE = LatencyTable.of([Machine({"device": "H100"}), *PARTS])


def test_a_model_is_its_blocks_by_number_with_embedding_and_head() -> None:
    found = TABLE.compose("Llama 3.2", pattern_at("Llama 3.2", "1B"), "1B", CASE)
    assert found.blocks_s == pytest.approx(16 * 5e-3)  # 16 attention of 3 ms and 16 MLPs of 2
    assert found.total_s == pytest.approx(16 * 5e-3 + 7.5e-3)
    assert found.low_s == pytest.approx(found.total_s - 34 * 1e-4)  # 32 blocks, embedding and head
    assert found.high_s == pytest.approx(found.total_s + 34 * 2e-4)
    assert (found.difference, found.rounds, found.cold) == (None, 20, True)


def test_the_whole_stands_beside_the_sum() -> None:
    whole = row("model", 50.0, name="x", pattern="AM")
    found = LatencyTable.of([*PARTS, whole]).compose("x", pattern_at("A-M", "1B"), "1B", CASE)
    assert found.measured == whole
    assert found.difference == pytest.approx(12.5 / 50 - 1)
    assert LatencyTable.of([*PARTS, whole]).compose("y", ("M", "mA"), "1B", CASE).measured is None


def test_a_cold_figure_goes_before_a_hot_one_and_a_longer_chain_before_a_shorter() -> None:
    hot = [row("mA", 1.0, cache="hot", copies=1), row("mA", 2.0, cache="hot", copies=16)]
    cold = [*hot, row("mA", 3.0)]
    assert LatencyTable.of([*hot, *PARTS[1:]]).part("mA", _sizes("1B"), CASE).median_s == 2e-3
    assert LatencyTable.of([*cold, *PARTS[1:]]).part("mA", _sizes("1B"), CASE).median_s == 3e-3


def test_spaces_share_what_is_equally_large_in_both() -> None:
    hybrid = ("Mb", "mA", "M")
    # At 1B the MLPs of both spaces are 8,192 wide; at 350M one is 4,096 and one 6,144.
    assert TABLE.compose("h", hybrid, "1B", CASE).blocks_s == pytest.approx(10e-3)
    small = [row(each.part, 1.0, scale="350M", space=each.space) for each in PARTS]
    with pytest.raises(MissingLatency, match="MLP at 350M was not measured in decode of 1 x 1 tokens"):
        LatencyTable.of(small).compose("h", hybrid, "350M", CASE)
    both = [*small, row("M", 9.0, scale="350M", space="3-primitive")]
    assert LatencyTable.of(both).compose("h", hybrid, "350M", CASE).blocks_s == pytest.approx(11e-3)
    assert LatencyTable.of(both).compose("f", ("mA", "M"), "350M", CASE).blocks_s == pytest.approx(2e-3)


@pytest.mark.parametrize("part", ["mA", "M", "embedding", "head"])
def test_a_part_that_was_not_measured_is_named(part: str) -> None:
    table = LatencyTable.of([each for each in PARTS if each.part != part])
    with pytest.raises(MissingLatency, match="was not measured in decode"):
        table.compose("x", ("mA", "M"), "1B", CASE)
    with pytest.raises(MissingLatency):
        TABLE.compose("x", ("mA", "M"), "1B", Case("forward", 1, 8192, 0))


def test_a_front_has_whom_nobody_beats_and_equals_share_it() -> None:
    assert pareto_front([(1, 3), (2, 2), (3, 1), (2, 3), (3, 3)]) == [True, True, True, False, False]
    assert pareto_front([(1, 1), (1, 1), (1, 2)]) == [True, True, False]
    assert pareto_front([]) == []


def test_the_published_losses_are_of_architectures_with_a_name() -> None:
    losses = published_losses()
    assert len(losses) == 21
    for loss in losses:
        preset = find_preset(loss.architecture)
        assert preset is not None, loss
        assert "1B" in preset.full_size
    by_name = {loss.architecture: loss.loss for loss in losses}
    assert len(by_name) == 21
    assert by_name["AIRAhybrid-D (Stretched)"] == 2.719
    assert by_name["Composite (Stretched)"] == 2.759
    assert by_name["Nemotron-2"] == 2.732
    assert by_name["Composer"] == 2.724


def test_a_panel_has_every_architecture_that_can_be_composed_and_a_line_for_the_others() -> None:
    losses = [*published_losses(), Loss(ISOTOKEN, "unheard of", 2.0, None)]
    (panel,), missing = panels_of(TABLE, losses, "1B")
    assert len(panel.points) == 21
    assert len(missing) == 1
    assert missing[0].startswith("unheard of: Unreadable pattern")
    # 32 layers of AIRAhybrid-D, stretched, are 6 A, 14 M, 12 Mb: 18 + 28 + 60 ms; Composite (Stretched) has 10 A and 19 M.
    front = {point.model.name: point.model.blocks_s for point in panel.points if point.on_front}
    assert front["AIRAhybrid-D (Stretched)"] == pytest.approx(0.106)
    # AIRAformer-A would beat it with the 20 layers of its printed pattern; beside that 32 are printed.
    unsure = {point.model.name: point.layers_printed for point in panel.points if point.layers_printed is not None}
    assert unsure == {
        "AIRAformer-A (Stretched)": 32, "Nemotron-H": 28, "Nemotron-2": 29, "AIRAhybrid-D (Stacked)": 32,
    }  # fmt: skip
    assert not set(unsure) & set(front)
    assert front["Composite (Stretched)"] == pytest.approx(0.068)
    assert "Mamba" not in front


def test_losses_of_runs_are_of_the_scale_and_averaged_over_seeds(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(
        "architecture,parameters,budget_flops,loss,seed\n"
        "Llama 3.2,970000000,2e19,3.0,0\nLlama 3.2,970000000,2e19,3.2,1\n"
        "Llama 3.2,350000000,2e19,9.0,0\n16(A-M),970000000,4e19,2.5,0\n"
    )
    losses = read_losses(path, "1B")
    assert [(each.protocol, each.architecture, each.loss) for each in losses] == [
        ("2e+19 FLOPs", "Llama 3.2", pytest.approx(3.1)), ("4e+19 FLOPs", "16(A-M)", 2.5),
    ]  # fmt: skip
    assert losses[0].sd == pytest.approx(0.1 * 2**0.5)
    panels, missing = panels_of(TABLE, losses, "1B")
    assert ([panel.protocol for panel in panels], missing) == (["2e+19 FLOPs", "4e+19 FLOPs"], [])
    with pytest.raises(UsageError, match="no losses at 3B"):
        read_losses(path, "3B")


def test_a_file_of_lines_is_read_with_what_is_printed_for_people_left_out(tmp_path: Path) -> None:
    path = tmp_path / "latency.jsonl"
    lines = [Machine({"device": "H100"}), PARTS[0], NotMeasured("head", "no memory")]
    path.write_text("\n".join([*(line.to_line() for line in lines), '{"composed": {"total_s": 1}}', ""]))
    table = read_latencies(path)
    assert (table.facts, table.rows, table.not_measured) == ({"device": "H100"}, (PARTS[0],), (lines[2],))
    path.write_text(path.read_text()[:-80])  # cut off within a line
    with pytest.raises(UsageError, match="line 3"):
        read_latencies(path)
    path.write_text(lines[0].to_line())
    with pytest.raises(UsageError, match="holds no latencies"):
        read_latencies(path)


def test_a_name_stands_for_what_is_printed_or_else_for_what_was_searched() -> None:
    assert len(pattern_at("airaformer-d-stretched", "1B")) == 48
    assert len(pattern_at("airaformer-d-stretched", "toy")) == 16
    assert len(pattern_at("Llama 3.2", "toy")) == 28
    assert "Llama 3.2" in names_at("1B")
    assert names_at("toy") == []


def _sizes(scale: str) -> object:
    from aira_contract.model_sizes import model_size

    return model_size(scale, "2-primitive")
