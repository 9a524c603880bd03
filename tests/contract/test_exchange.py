"""What is written on one side is what is read on the other."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_contract.claims import MAX_CLAIM_BYTES, claim_text
from aira_contract.framing import LENGTH, framed
from aira_contract.judge_settings import JudgeSettings
from aira_contract.reports import RESULT_MARKER, score_block
from aira_contract.training_record import TrainingRecord

finite = st.floats(allow_nan=False, allow_infinity=False)
records = st.builds(
    TrainingRecord,
    handover_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    claimed=st.none() | finite,
    serving_s=finite,
    seconds=st.dictionaries(st.sampled_from(("start_up", "training", "until_handed_over", "fit")), st.none() | finite),
    sockets=st.lists(st.text("0123456789abcdef", min_size=1, max_size=32), max_size=4),
    draw_secret=st.text("0123456789abcdef", max_size=64),
)


@given(records)
def test_a_training_record_is_read_as_it_was_written(record: TrainingRecord) -> None:
    assert TrainingRecord.from_json(record.to_json()) == record


RECORD = TrainingRecord("ab", None, 60.0, {"fit": 1.0}, ("s",), "")


@pytest.mark.parametrize("change", [{"more": 1}, {"sockets": None}])
def test_a_training_record_with_other_keys_is_refused(change: dict[str, object]) -> None:
    values = json.loads(RECORD.to_json()) | change
    values = {key: value for key, value in values.items() if value is not None or key == "claimed"}
    with pytest.raises(ValueError, match="expected an object with the keys handover_sha256, claimed"):
        TrainingRecord.from_json(json.dumps(values).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b'{"a": }', b"\xff"])
def test_what_is_no_record_and_no_settings_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json words some of them itself
        TrainingRecord.from_json(data)
    with pytest.raises(ValueError):  # noqa: PT011
        JudgeSettings.from_json(data)


def test_a_number_that_json_has_not_is_refused_where_it_is_written() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        TrainingRecord("ab", math.nan, 60.0, {}, (), "").to_json()
    with pytest.raises(ValueError, match="not JSON compliant"):
        score_block("BPB", math.inf)


@given(
    st.builds(JudgeSettings, st.none() | finite, st.none() | st.integers(1, 10**6), st.text("0123456789abcdef"), finite)
)
def test_judge_settings_are_read_as_they_were_written(settings: JudgeSettings) -> None:
    assert JudgeSettings.from_json(settings.to_json()) == settings


def test_judge_settings_that_are_left_out_limit_nothing_and_unknown_ones_are_refused() -> None:
    assert JudgeSettings.from_json(b"{}") == JudgeSettings(None, None, "")
    with pytest.raises(ValueError, match="no other keys than timeout_s, memory_mib, draw_secret, training_deviation"):
        JudgeSettings.from_json(b'{"timeout": 3}')


@given(st.binary(max_size=300))
def test_a_message_says_how_long_it_is(payload: bytes) -> None:
    message = framed(payload)
    assert LENGTH.unpack_from(message) == (len(payload),)
    assert message[LENGTH.size :] == payload


@given(finite)
def test_a_score_block_is_what_upstream_scripts_print(value: float) -> None:
    marker, _, text = score_block("Accuracy", value).partition("\n")
    assert marker == RESULT_MARKER == "--- EVALUATION RESULT ---"
    assert json.loads(text) == {"Accuracy": value}


@given(finite)
def test_a_claim_is_one_short_line(value: float) -> None:
    text = claim_text("Accuracy", value)
    assert json.loads(text) == {"metric": "Accuracy", "value": value}
    assert text.endswith("\n")
    assert len(text.encode()) <= MAX_CLAIM_BYTES
    assert text.count("\n") == 1
