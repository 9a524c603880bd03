"""Requests and lines of measured latencies: what is written is read back, and anything else is refused by name."""

import json
from dataclasses import replace

import pytest

from aira_contract.latency import (
    AskedModel,
    Case,
    LatencyError,
    LatencyRequest,
    LatencyRow,
    Machine,
    NotMeasured,
    read_line,
)

ROW = LatencyRow(
    part="mA", scale="1B", space="2-primitive", name="", pattern="", phase="decode", batch=16, length=1, context=8192,
    dtype="bfloat16", cache="cold", copies=2, captured=True, median_s=2e-5, low_s=1e-5, high_s=3e-5, rounds=20,
)  # fmt: skip
REQUEST = LatencyRequest(
    (AskedModel("Llama 3.2", "1B", "16(A-M)"),), phases=("forward", "decode"), decode_batches=(1, 16)
)


@pytest.mark.parametrize("line", [ROW, NotMeasured("mA at 1B", "no memory"), Machine({"device": "H100"})])
def test_a_line_is_read_as_it_was_written(line: LatencyRow | NotMeasured | Machine) -> None:
    assert read_line(line.to_line()) == line


def test_a_request_is_read_as_it_was_written_and_has_a_case_for_each_batch() -> None:
    assert LatencyRequest.from_json(REQUEST.to_json()) == REQUEST
    assert REQUEST.cases == (
        Case("forward", 1, 8192, 0), Case("decode", 1, 1, 8192), Case("decode", 16, 1, 8192),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"part": "conv"}, "unknown part"),
        ({"median_s": 0.0}, "0.0"),
        ({"median_s": float("nan")}, "nan"),
        ({"low_s": 9.0}, "9.0"),
        ({"rounds": 0}, "0 rounds"),
        ({"rounds": True}, "rounds is True"),
        ({"copies": "2"}, "copies is '2'"),
        ({"captured": 1}, "captured is 1"),
        ({"colour": "red"}, "not of this version"),
    ],
)
def test_a_row_that_cannot_be_is_refused(changed: dict[str, object], said: str) -> None:
    found = json.loads(ROW.to_line())["latency"] | changed
    with pytest.raises(LatencyError, match=said):
        read_line(json.dumps({"latency": found}))


@pytest.mark.parametrize(
    "text", ["", "text", "[]", "3", "{}", '{"latency": 1}', '{"latency": {}}', '{"a": {}, "b": {}}',
             '{"machine": {"device": 1}}', '{"not_measured": {"what": "x"}}', "x" * 200_000],
)  # fmt: skip
def test_a_text_that_is_no_line_is_refused(text: str) -> None:
    with pytest.raises(LatencyError):
        read_line(text)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"models": 3}', REQUEST.to_json().replace("rounds", "tries")])
def test_a_text_that_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(LatencyError, match="no request"):
        LatencyRequest.from_json(text)


def test_what_cannot_be_measured_is_no_request() -> None:
    with pytest.raises(LatencyError, match="length is 0"):
        replace(REQUEST, length=0)
    with pytest.raises(LatencyError, match="decode batch 0 is 0"):
        replace(REQUEST, decode_batches=(1, 0))
    with pytest.raises(LatencyError, match="unknown device 'tpu', expected one of cuda, cpu"):
        replace(REQUEST, device="tpu")
