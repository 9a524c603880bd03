"""Measuring at toy size: every part and model in every case, each row in its time, and what a chain computes."""

import time
from dataclasses import replace

import pytest
import torch

from aira_contract.latency import AskedModel, Case, LatencyRequest, LatencyRow, Machine, NotMeasured
from aira_contract.model_sizes import TOY_SCALE, model_size
from aira_evaluator.latency import session, stopwatch, workloads
from aira_evaluator.latency.session import Line, measure_all
from aira_evaluator.latency.workloads import Placement, Workload, block_chains, head, whole

TOY = model_size(TOY_SCALE, "3-primitive")
PLACE = Placement(torch.device("cpu"), torch.float32, 4 * 2**20, 31)
REQUEST = LatencyRequest(
    (AskedModel("hybrid", TOY_SCALE, "Mb-A-M"), AskedModel("former", TOY_SCALE, "2A-M")), length=16, context=16,
    decode_batches=(1, 3), vocabulary=31, dtype="float32", device="cpu", rounds=2,
)  # fmt: skip
CASES = REQUEST.cases


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "SETTLING_S", 0.0)
    monkeypatch.setattr(stopwatch, "_LEAST_ROUND_S", 0.0)
    monkeypatch.setattr(workloads, "_MOST_COPIES", 2)


def _lines(request: LatencyRequest) -> list[Line]:
    threads, found = torch.get_num_threads(), list[Line]()
    try:
        measure_all(request, found.append)
    finally:
        torch.set_num_threads(threads)
    return found


def test_every_part_and_model_has_a_row_in_every_case() -> None:
    lines = _lines(REQUEST)
    rows = [line for line in lines if isinstance(line, LatencyRow)]
    assert not [line for line in lines if isinstance(line, NotMeasured)]
    for case in CASES:
        parts = [row.part for row in rows if row.case == case and not row.pattern]
        once = ["M", "Mb", "embedding", "head", "mA"]
        # Decoding has a chain of one block as well.
        assert sorted(parts) == sorted(once + (["M", "Mb", "mA"] if case.phase == "decode" else []))
        assert [row.name for row in rows if row.case == case and row.part == "model"] == ["hybrid", "former"]
    assert all(row.rounds == 2 and row.scale == TOY_SCALE and not row.captured for row in rows)
    first, last = lines[0], lines[-1]
    assert isinstance(first, Machine)
    assert first.facts["clock"] == "processor time"
    assert isinstance(last, Machine)
    assert "scan (cpu, float32): reference" in last.facts["choices"]


def test_a_row_over_its_time_is_given_up_and_the_next_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    real = session.block_chains

    def slow(symbol: str, *more: object) -> object:
        if symbol == "Mb":
            time.sleep(60)
        return real(symbol, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(session, "block_chains", slow)
    started_s = time.monotonic()
    lines = _lines(replace(REQUEST, phases=("forward",), row_s=1.0))
    assert time.monotonic() - started_s < 30
    given_up = [line for line in lines if isinstance(line, NotMeasured)]
    assert [(line.what, line.why) for line in given_up] == [
        ("Mb at toy (3-primitive), forward, batch 1, 16 tokens behind 0", "given up after 1 s")
    ]
    assert {row.part for row in lines if isinstance(row, LatencyRow)} == {"M", "mA", "embedding", "head", "model"}


def test_a_row_that_fails_says_why_and_the_next_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> object:
        raise torch.OutOfMemoryError("no room\nfor it")

    monkeypatch.setattr(session, "head", broken)
    lines = _lines(replace(REQUEST, phases=("prefill",)))
    assert [line.why for line in lines if isinstance(line, NotMeasured)] == ["OutOfMemoryError: no room"]
    assert sum(isinstance(line, LatencyRow) for line in lines) == 6


def test_behind_the_limit_of_all_rows_none_is_begun() -> None:
    lines = _lines(replace(REQUEST, budget_s=0.5))
    assert {line.why for line in lines if isinstance(line, NotMeasured)} == {
        "not begun: the 0.5 s of all rows are over"
    }
    assert not [line for line in lines if isinstance(line, LatencyRow)]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"models": (AskedModel("x", "7B", "A"),)}, "unknown scale '7B'"),
        ({"models": (AskedModel("x", TOY_SCALE, "Ax"),)}, "'x' is no symbol"),
        ({"device": "cuda"}, "no CUDA device"),
    ],
)
def test_a_request_that_cannot_be_carried_out_writes_nothing(changed: dict[str, object], said: str) -> None:
    if changed.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a device")
    found: list[Line] = []
    with pytest.raises((ValueError, RuntimeError), match=said):
        measure_all(replace(REQUEST, **changed), found.append)  # type: ignore[arg-type]
    assert not found


def test_a_chain_is_cold_where_its_bytes_are_twice_the_cache_and_a_single_block_never(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workloads, "_MOST_COPIES", 16)
    case = Case("decode", 1, 1, 16)
    parameters = 3 * 64 * 192 + 64 + 64 + 64  # SwiGLU, its norm, the last norm, one embedding
    small = replace(PLACE, cache_bytes=4 * parameters)  # a block is a cache's worth: 4 of them are wanted
    chains = list(block_chains("M", TOY, case, small))
    assert [(chain.copies, chain.cold) for chain in chains] == [(4, True), (1, False)]
    large = replace(PLACE, cache_bytes=2**40)  # nothing is as large as that
    assert [(chain.copies, chain.cold) for chain in block_chains("M", TOY, case, large)] == [(16, False), (1, False)]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_call_computes_the_same_each_time(case: Case) -> None:
    model = PLACE.model(("Mb", "mA", "M"), TOY, 31)
    found = whole(model, case, PLACE)
    first, second = found.work(), found.work()
    assert isinstance(first, torch.Tensor)
    assert first.shape == (case.batch, case.length if case.phase == "forward" else 1, 31)
    assert torch.isfinite(first).all()
    if case.phase != "decode":  # a state that Mamba-2 carries on differs by one position
        assert torch.equal(first, second)


def test_a_prefill_has_the_logits_of_the_last_position() -> None:
    model = PLACE.model(("Mb", "mA", "M"), TOY, 31)
    forward, prefill = (whole(model, case, PLACE).work() for case in CASES[:2])
    torch.testing.assert_close(prefill, forward[:, -1:])  # type: ignore[index]


def test_the_head_of_a_forward_pass_is_of_all_positions() -> None:
    shapes = [next(head(TOY, case, PLACE)).work().shape for case in CASES]  # type: ignore[attr-defined]
    assert shapes == [(1, 16, 31), (1, 1, 31), (1, 1, 31), (3, 1, 31)]


def test_quartiles_are_of_the_rounds() -> None:
    summary = stopwatch._summary([4.0, 1.0, 3.0, 2.0, 5.0], captured=False)
    assert (summary.low_s, summary.median_s, summary.high_s, summary.rounds) == (2.0, 3.0, 4.0, 5)
    two = stopwatch._summary([4e-4, 1e-6], captured=False)
    assert 1e-6 < two.low_s < two.high_s < 4e-4, "no quartile lies outside of what was timed"
    assert stopwatch._summary([2.0], captured=True).low_s == 2.0


def test_a_figure_is_of_one_block_of_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stopwatch, "_cpu_s", lambda _call, calls: 8.0 * calls)
    monkeypatch.setattr(session, "block_chains", lambda *_arguments: iter((Workload(lambda: None, 4, cold=True),)))
    rows = [line for line in _lines(replace(REQUEST, phases=("forward",))) if isinstance(line, LatencyRow)]
    assert {row.median_s for row in rows if row.part == "mA"} == {2.0}
    assert {row.median_s for row in rows if row.part == "model"} == {8.0}
