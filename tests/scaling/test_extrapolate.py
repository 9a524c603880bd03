"""Stretch and stack against published patterns, and the estimates' orders of magnitude."""

import argparse
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.cli import extrapolate as command
from aira_bench.cli.main import run_command_line
from aira_bench.errors import UsageError
from aira_bench.scaling.extrapolate import extrapolate, parse_target
from aira_bench.scaling.notation import SYMBOLS, read_pattern
from aira_bench.scaling.pictures import strip_svg
from aira_contract.model_sizes import model_size
from aira_contract.presets import Growth
from aira_contract.training_arithmetic import count_layers, layer_parameters

_BASES = st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=20).map(tuple)


@pytest.mark.parametrize(
    ("base", "scale", "published"),
    [
        ("2A5M2A3M1A3M", "350M", "3A-8M-3A-5M-2A-5M"),
        ("2A5M2A3M1A3M", "1B", "4A-9M-4A-5M-2A-5M"),
        ("2A5M2A3M1A3M", "3B", "7A-16M-7A-10M-4A-10M"),
        ("5(2A-M)-A", "1B", "6A-3M-6A-3M-6A-3M-6A-3M-6A-3M-3A"),
    ],
)
def test_ceil_gives_published_stretched_patterns(base: str, scale: str, published: str) -> None:
    model = extrapolate(read_pattern(base), parse_target(scale), "stretch", rounding="ceil")
    assert model.pattern == read_pattern(published)


@pytest.mark.parametrize(
    ("scale", "published"),
    [("1B", "4(2A-4M)-A-2M"), ("3B", "8(2A-4M)-A-2M")],
)
def test_stack_with_fit_gives_published_composites(scale: str, published: str) -> None:
    model = extrapolate(read_pattern("2A-4M"), parse_target(scale), "stack")
    assert model.pattern == read_pattern(published)


@given(_BASES, st.sampled_from(["stretch", "stack"]), st.integers(150_000_000, 5_000_000_000))
def test_fit_comes_within_one_layer(base: tuple[str, ...], method: Growth, target: int) -> None:
    model = extrapolate(base, target, method)
    largest = max(layer_parameters(symbol, model.size) for symbol in base)
    assert abs(model.parameters - target) <= largest
    assert model.counts == count_layers(model.pattern)
    assert set(model.pattern) <= set(base)


@given(_BASES, st.sampled_from(["stretch", "stack"]), st.integers(150_000_000, 5_000_000_000))
def test_ceil_never_falls_short(base: tuple[str, ...], method: Growth, target: int) -> None:
    assert extrapolate(base, target, method, rounding="ceil").parameters >= target


def test_a_base_of_the_target_size_stays_as_it_is() -> None:
    base = read_pattern("16(A-M)")
    size = model_size("1B", "2-primitive")
    whole = sum(layer_parameters(symbol, size) for symbol in base) + size.width
    assert extrapolate(base, whole, "stretch", size=size).pattern == base
    assert extrapolate(base, whole, "stack", size=size).pattern == base


@pytest.mark.parametrize(
    ("text", "count"), [("1B", 10**9), ("350M", 350_000_000), ("1.5b", 1_500_000_000), ("42", 42), ("7k", 7000)]
)
def test_reads_targets(text: str, count: int) -> None:
    assert parse_target(text) == count


@pytest.mark.parametrize("text", ["", "B", "1/2B", "-1B", "0", "nan", "infB", "1e999"])
def test_refuses_other_targets(text: str) -> None:
    with pytest.raises(UsageError, match="no scale"):
        parse_target(text)


@pytest.mark.parametrize("target", [1, 10**12])
def test_refuses_targets_out_of_reach(target: int) -> None:
    with pytest.raises(UsageError):
        extrapolate(read_pattern("5(2A-M)-A"), target, "stretch")


def test_strip_has_a_box_for_each_layer() -> None:
    pattern = read_pattern("40(A-M)-Mb")
    root = ET.fromstring(strip_svg(pattern, "a <caption>"))
    titles = [element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title")]
    assert sum(title.startswith("layer ") for title in titles) == 81
    assert titles[0].startswith("a <caption>")


def test_importing_the_commands_loads_nothing_heavy() -> None:
    code = (
        "import sys; from aira_bench.cli import aggregate, extrapolate, reproduce;"
        "print(sorted({'rich', 'pydantic', 'torch', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.register(parser.add_subparsers())
    args = parser.parse_args(["extrapolate", *arguments])
    return int(args.handle(args))


def test_command_prints_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    picture = tmp_path / "strip.svg"
    assert run_command("5(2A-M)-A", "--scale", "1B", "--flops", "4e20", "--json", "--picture", str(picture)) == 0
    document = json.loads(capsys.readouterr().out)
    assert tuple(document["pattern_layers"]) == read_pattern(document["pattern"])
    assert [row["budget_flops"] for row in document["steps"]] == [4 * 10**20]
    assert picture.read_text().startswith("<svg")


@pytest.mark.parametrize(("pattern", "layers"), [("15A", 15), ("5(2A-M)", 15), ("3(A-M)-A", 7)])
def test_command_refuses_a_pattern_that_lost_a_layer(pattern: str, layers: int) -> None:
    with pytest.raises(UsageError, match=f"has {layers} layers, expected 16 or 6"):
        run_command(pattern, "--scale", "1B")
    assert run_command(pattern, "--scale", "1B", "--base-layers", str(layers), "--json") == 0


def described(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert run_command(*arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_name_is_grown_as_the_paper_grew_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Composer's rule gives AIRAformer-D stretched at 1B; AIRAhybrid-D stretched at 1B has 12 Mb, 14 M and 6 A."""
    same = described(capsys, "airaformer-d-stretched", "--scale", "1B", "--rounding", "ceil")
    assert (same["method"], same["pattern"]) == ("stretch", "5(6A-3M)-3A")
    assert same["said"][-1] == "published: the same"
    stacked = described(capsys, "Composer", "--scale", "1B")
    assert (stacked["method"], stacked["base"]) == ("stack", "2Mb-M-3A")
    other = described(capsys, "airahybrid-d-stretched", "--scale", "1B")
    assert other["said"][-1].startswith("published: 4Mb-2M-2Mb-3(2M-2Mb-2M-2A) (32 layers, 1.078 B")
    assert described(capsys, "airahybrid-d-stretched", "--scale", "2B")["said"] == [
        "architecture: AIRAhybrid-D (Stretched): section 6.1.2, appendix D.1, Table 9"
    ]
    assert described(capsys, "AIRAformer-D", "--scale", "1B") | {"said": []} == described(
        capsys, "5(2A-M)-A", "--scale", "1B"
    )


def test_estimates_are_those_of_a_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a measured model and of one that was not, whatever the GPU."""
    for architecture, more in (("Llama 3.2", ()), ("composer", ("--gpu", "h100", "--gpus", "4", "--mfu", "0.3"))):
        grown = described(capsys, architecture, "--scale", "1B", "--method", "published", *more)
        told = ["scale", "plan", architecture, "--scale", "1B", "--recipe", "isotoken-1b", "--json", *more]
        assert run_command_line(told) == 0
        (planned,) = json.loads(capsys.readouterr().out)["trainings"]
        same = ("steps", "tokens", "hours_a_run", "memory_bytes_a_gpu", "layout", "throughput")
        assert [grown["training"][-1][key] for key in same] == [planned[key] for key in same]


def test_gpus_that_cannot_share_a_step_are_refused() -> None:
    with pytest.raises(UsageError, match="65 GPUs cannot share the 64 sequences"):
        run_command("5(2A-M)-A", "--scale", "1B", "--gpus", "65")


def test_what_nobody_searched_is_taken_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    llama = described(capsys, "Llama 3.2", "--scale", "1B")
    assert (llama["method"], llama["pattern"], llama["parameters"]) == ("published", "16(A-M)", 973_146_112)
    approximated = described(capsys, "nemotron-h", "--scale", "1B")
    assert "Approximated" in approximated["said"][1]
    assert "The paper prints 28 layers beside Mb-M-2(A-4(M-Mb)-M)-A-M-Mb-M, which has 26" in approximated["said"][2]
    hybrid = described(capsys, "airahybrid-b-stretched", "--scale", "1B", "--method", "published")
    assert [each["steps"] for each in hybrid["steps"]] == [5308, 10616, 21232, 53081, 106162], "Table 11"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("mamba", "--scale", "2B"), "mamba:350M, mamba:1B, mamba:3B"),
        (("mamba", "--scale", "1B", "--method", "stack"), "Nobody searched Mamba"),
        (("mamba", "--scale", "1B", "--rounding", "ceil"), "neither --rounding"),
        (("airaformer-d", "--scale", "1B", "--method", "published"), "airaformer-d-stacked, airaformer-d-stretched"),
        (("5(2A-M)-A", "--scale", "1B", "--method", "published"), "prints no architecture"),
        (("airaformer-q", "--scale", "1B"), "Unreadable architecture: character 1"),
        (("airaformer-d-stretched:1B", "--scale", "1B"), "48 layers"),
        (("airaformer-d:1B", "--scale", "1B"), "no full-size pattern of its own"),
    ],
)
def test_a_name_that_cannot_be_had_so_says_why(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        run_command(*arguments)


def test_the_list_of_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["architectures", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 30
    assert run_command_line(["architectures", "AIRAformer-A (Stretched)", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert one == next(each for each in listed if each["architecture"] == "airaformer-a-stretched")
    assert [(each["layers"], each["layers printed"]) for each in one["full size"]] == [(32, 26), (20, 32), (60, 56)]
    assert run_command_line(["architectures", "airaformer-a-stretched"]) == 0
    assert "airaformer-a-stretched:1B" in capsys.readouterr().out
    assert run_command_line(["architectures", "airaformer"]) == 2
    assert "aira-bench architectures" in capsys.readouterr().err
