"""Lines of the live display: everything that is asked for, in any window, whoever wrote what."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from aira_bench.cli.live_view import LEAST_COLUMNS, duration, run_lines, short_count
from aira_bench.cli.watch import screen_lines
from aira_bench.looking.run_state import RunCaps, RunState, SeedState
from aira_bench.record.node import ModelUse, Node, Timings
from hostile_text import HOSTILE, WHOLE, is_raw


def node(step: int, fitness: float | None, reason: str = "") -> Node:
    times = Timings(10.0, 20.0, 30.0, 60.0, {"provider": 12.0} if step == 2 else {})
    return Node(
        step, "draft", (), "buggy" if fitness is None else "valid", reason, fitness, None, "c" * 64, None,
        timings=times, model_use=ModelUse(2, 9000, 1000, 0.25), attempts=2 if step == 1 else 1,
    )  # fmt: skip


FIRST = SeedState(0, 4, "scoring the submission", 12.0, None,
                  (node(1, 0.5), node(2, None, "NameError: x"), node(3, 0.75)))  # fmt: skip
SECOND = SeedState(1, 3, "429 from the server; next in 30 s", 4.0, "provider",
                   (node(1, 0.25), node(2, None, "NameError: jnp is not defined")))  # fmt: skip
OVER = SeedState(2, 1, "ended (budget)", None, None, (node(1, 0.5),), True, "ended after 1 steps, its budget used up")
RUN = RunState("r", RunCaps(20, 2.0, 50.0, 5.0), (FIRST, SECOND, OVER), "running", "9s, Ctrl-C stops")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_every_width_has_all_that_is_asked_for(width: int) -> None:
    """Of 2 h three minutes are used; 17 steps are left, each of 60 s and a third of the 12 s that were waited for."""
    shown = " ".join(run_lines(RUN, width, 60))
    for part in ("4/20", "12s scoring", "0.7500", "valid 0.7500", "$0.75 of 5", "17 steps, 1h57m", "in 18m8s",
                 "buggy: NameE", "4s 429 from", "3 retries after failures", "$1.50 of $50"):  # fmt: skip
        assert part in shown
    assert "provider 1 seed now" in " ".join(shown.split())
    assert "▁▁█" in shown or "▁█" in shown
    assert "ended after 1" in shown


def test_in_a_wide_window_a_seed_is_one_line_under_a_heading() -> None:
    lines = run_lines(RUN, 120, 60)
    assert lines[0].split() == ["seed", "step", "best", "trend", "now", "last", "step", "spent", "left", "ends"]
    assert [line.split()[0] for line in lines[1:4]] == ["0", "1", "2"]


def test_columns_stand_below_each_other() -> None:
    lines = run_lines(RUN, 120, 60)
    assert len({line.index(word) for line, word in zip(lines[:3], ("spent", "$0.75", "$0.50"), strict=True)}) == 1


def test_seeds_that_do_not_fit_are_counted_and_those_at_work_come_first() -> None:
    seeds = tuple(SeedState(seed, is_over=seed < 45) for seed in range(50))
    lines = run_lines(RunState("r", RunCaps(5), seeds), 80, 10)
    assert len(lines) <= 10
    assert any("more seeds" in line for line in lines)
    assert {"45", "46", "47", "48", "49"} <= {line.split()[0] for line in lines}


TEXTS = st.text(max_size=80) | st.sampled_from(HOSTILE)
STATES = st.builds(
    SeedState,
    seed=st.integers(0, 10**9),
    step=st.integers(0, 10**6),
    phase=TEXTS,
    phase_s=st.none() | st.floats(-10, 1e9),
    waits_for=st.sampled_from([None, "slot", "provider"]),
    nodes=st.lists(st.tuples(st.none() | st.floats(-1e100, 1e100), TEXTS), max_size=4).map(
        lambda found: tuple(node(step, *each) for step, each in enumerate(found, start=1))
    ),
    is_over=st.booleans(),
    said=TEXTS,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STATES, max_size=6), st.integers(0, 220), st.integers(0, 50), st.booleans(), TEXTS)
def test_no_line_is_wider_than_the_window_or_raw(
    seeds: list[SeedState], width: int, height: int, ascii_only: bool, name: str
) -> None:
    run = RunState(name, RunCaps(20, 2.0, 5.0, 1.0), tuple(seeds), "running", "footer")
    for lines in (run_lines(run, width, height, ascii_only=ascii_only), screen_lines([run, run], width, height)):
        assert all(cell_len(line) <= max(width, LEAST_COLUMNS) for line in lines)
        assert not any(map(is_raw, lines))
    assert len(run_lines(run, width, height)) <= max(height, 4)
    assert len(screen_lines([run] * 5, width, height)) <= max(height, 6)


def test_without_other_characters_there_are_only_ascii_ones() -> None:
    assert all(line.isascii() for line in run_lines(RUN, 120, 60, ascii_only=True))


def test_a_megabyte_of_reason_is_a_cut() -> None:
    state = SeedState(0, nodes=(node(1, None, WHOLE + "x" * 1_000_000),))
    assert max(map(len, run_lines(RunState("r", RunCaps(5), (state,)), 200, 60))) <= 200


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (59.4, "59s"), (59.6, "1m"), (200, "3m20s"), (3600, "1h"), (7800, "2h10m"), (360_000, "4d4h")],
)
def test_durations(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0"), (950, "950"), (1000, "1k"), (3400, "3.4k"), (12_345, "12k"), (3_400_000, "3.4M")]
)
def test_counts(count: int, expected: str) -> None:
    assert short_count(count) == expected
