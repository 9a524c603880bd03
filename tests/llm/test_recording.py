"""Values survive their JSON form, records replay in order, and a changed request never gets an old answer."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.errors import ModelError, RunStateError
from aira_bench.files import write_json
from aira_bench.llm.model import Completion, CompletionRequest, Message, Usage
from aira_bench.llm.recording import (
    Exchange,
    RecordingModel,
    ScriptedModel,
    read_exchange,
    read_exchanges,
)
from aira_bench.llm.schemas import parse_object
from aira_bench.testing.world import PlayedWorld

counts = st.none() | st.integers(0, 10**7)
schemas = st.none() | st.dictionaries(st.text(), st.recursive(st.text() | st.booleans(), st.lists, max_leaves=4))
requests = st.builds(
    CompletionRequest,
    system=st.text(),
    messages=st.lists(st.builds(Message, st.sampled_from(["user", "assistant"]), st.text())).map(tuple),
    max_output_tokens=st.none() | st.integers(1, 10**6),
    schema=schemas,
    temperature=st.none() | st.floats(0, 2),
)
completions = st.builds(
    Completion,
    text=st.text(),
    finish_reason=st.sampled_from(["stop", "length", "content_filter", "context_overflow"]),
    model_id=st.text(),
    structured=schemas,
    usage=st.builds(Usage, counts, counts, counts, counts, counts),
    cost_usd=st.none() | st.floats(0, 1e6),
    latency_s=st.floats(0, 1e6),
    request_id=st.none() | st.text(),
    attempts=st.integers(1, 99),
    asked_at=st.none() | st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat),
    reasoning=st.none() | st.text(),
)


def ask(text: str) -> CompletionRequest:
    return CompletionRequest("system", (Message("user", text),))


def counting() -> tuple[ScriptedModel, list[str]]:
    seen: list[str] = []

    def answer(request: CompletionRequest) -> str:
        seen.append(request.messages[-1].text)
        return f"answer {len(seen)}"

    return ScriptedModel("scripted", answer), seen


@given(requests, completions)
def test_an_exchange_survives_its_json_form(request: CompletionRequest, completion: Completion) -> None:
    exchange = Exchange(request, completion)
    back = Exchange.from_json(json.loads(json.dumps(exchange.to_json())))
    assert back == exchange
    assert back.request.digest() == request.digest()


@given(requests, requests)
def test_digests_are_equal_exactly_for_equal_requests(one: CompletionRequest, other: CompletionRequest) -> None:
    assert (one.digest() == other.digest()) == (one.to_json() == other.to_json())


def test_recorded_answers_are_read_in_the_order_of_the_calls(tmp_path: Path) -> None:
    model, seen = counting()
    recording = RecordingModel(model, tmp_path)
    first = [recording.complete(ask(text), deadline_s=1) for text in ("a", "b", "c")]
    assert [exchange.completion for exchange in read_exchanges(tmp_path)] == first
    assert seen == ["a", "b", "c"]


def test_after_a_crash_answers_that_exist_are_not_asked_for_again(tmp_path: Path) -> None:
    model, seen = counting()
    RecordingModel(model, tmp_path).complete(ask("a"), deadline_s=1)
    resumed = RecordingModel(model, tmp_path)
    assert [resumed.complete(ask(text), deadline_s=1).text for text in ("a", "b")] == ["answer 1", "answer 2"]
    assert seen == ["a", "b"]


def test_a_call_that_failed_leaves_no_record_and_can_be_made_again(tmp_path: Path) -> None:
    calls: list[int] = []

    def answer(request: CompletionRequest) -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ModelError("the first call fails")
        return "ok"

    recording = RecordingModel(ScriptedModel("s", answer), tmp_path)
    with pytest.raises(ModelError):
        recording.complete(ask("a"), deadline_s=1)
    assert list(tmp_path.iterdir()) == []
    assert recording.complete(ask("a"), deadline_s=1).text == "ok"


def test_another_request_is_refused_and_the_difference_named(tmp_path: Path) -> None:
    model, _ = counting()
    RecordingModel(model, tmp_path).complete(ask("a"), deadline_s=1)
    with pytest.raises(RunStateError, match="differs from the recorded one in messages"):
        RecordingModel(model, tmp_path).complete(ask("b"), deadline_s=1)
    with pytest.raises(RunStateError, match="in system"):
        RecordingModel(model, tmp_path).complete(CompletionRequest("other", ask("a").messages), deadline_s=1)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"schema": 2', '"schema": 99'),
        lambda text: text.replace('"text": "a"', '"text": "z"'),
        lambda text: text.replace('"attempts"', '"tries"'),
        lambda text: text.replace('"stop"', '"halt"'),
        lambda text: text.replace('"user"', '"root"'),
        lambda text: text.replace('"usage": {', '"usage": 3, "x": {'),
    ],
)
def test_a_damaged_record_is_named(damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    model, _ = counting()
    RecordingModel(model, tmp_path).complete(ask("a"), deadline_s=1)
    path = tmp_path / "call_000.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(RunStateError, match=r"call_000\.json"):
        read_exchange(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"text": 5}, {"model_id": None}, {"structured": "x"}, {"cost_usd": "1"}, {"cost_usd": -1.0}, {"latency_s": -1},
        {"asked_at": "yesterday"}, {"asked_at": "2026-01-01T00:00:00"}, {"asked_at": 5}, {"reasoning": 5},
        {"reasoning": ["x"]}, {"attempts": "1"}, {"request_id": []}, {"usage": {**asdict(Usage()), "input_tokens": -5}},
    ],
    ids=str,
)  # fmt: skip
def test_a_strangers_record_of_other_kinds_is_named(tmp_path: Path, changes: dict[str, object]) -> None:
    value = Exchange(ask("x"), Completion("y", "stop", "m")).to_json()
    write_json(tmp_path / "call_000.json", value | {"completion": value["completion"] | changes})
    with pytest.raises(RunStateError, match=r"call_000\.json: A recorded completion"):
        read_exchange(tmp_path / "call_000.json")


def test_a_scripted_model_answers_with_text_objects_or_whole_completions() -> None:
    request = CompletionRequest("", (Message("user", "x"),), schema={"type": "object"})
    done = ScriptedModel("s", lambda _: '{"a": 1}').complete(request, deadline_s=1)
    assert (done.structured, done.cost_usd, done.usage) == ({"a": 1}, None, Usage())
    cut = Completion("x", "length", "s")
    assert ScriptedModel("s", lambda _: cut).complete(request, deadline_s=1) is cut


@pytest.mark.parametrize("depth", [100, 400, 900, 10**5])
def test_an_object_nested_without_end_is_none(depth: int) -> None:
    """It would be too deep to be recorded."""
    assert parse_object('{"a": ' + "[" * depth + "]" * depth + "}") is None


NOON = "2026-01-01T12:00:00+00:00"


def at_noon() -> PlayedWorld:
    return PlayedWorld(datetime.fromisoformat(NOON).timestamp())


def test_a_record_says_when_its_call_was_made(tmp_path: Path) -> None:
    model = ScriptedModel("s", lambda request: "x")
    done = RecordingModel(model, tmp_path, at_noon()).complete(ask("a"), deadline_s=1)
    assert done.asked_at == read_exchange(tmp_path / "call_000.json").completion.asked_at == NOON
    again = RecordingModel(model, tmp_path).complete(ask("a"), deadline_s=1)
    assert again == done, "a call that is replayed was made when it was made"


def test_a_model_that_says_when_it_was_asked_is_believed(tmp_path: Path) -> None:
    said = Completion("x", "stop", "s", asked_at="2025-05-05T05:05:05+00:00")
    done = RecordingModel(ScriptedModel("s", lambda request: said), tmp_path, at_noon()).complete(
        ask("a"), deadline_s=1
    )
    assert done == said


def test_a_record_of_schema_1_is_read_as_having_neither_time_nor_reasoning(tmp_path: Path) -> None:
    value = Exchange(ask("x"), Completion("y", "stop", "m", latency_s=2.5)).to_json()
    older = {key: kept for key, kept in value["completion"].items() if key not in ("asked_at", "reasoning")}
    write_json(tmp_path / "call_000.json", value | {"schema": 1, "completion": older})
    assert read_exchange(tmp_path / "call_000.json").completion == Completion("y", "stop", "m", latency_s=2.5)


@pytest.mark.parametrize("schema", [0, 3, "2", 2.0, True, None])
def test_a_record_of_no_schema_of_ours_is_refused(schema: object, tmp_path: Path) -> None:
    value = Exchange(ask("x"), Completion("y", "stop", "m")).to_json()
    write_json(tmp_path / "call_000.json", value | {"schema": schema})
    with pytest.raises(RunStateError, match="this version reads 1 to 2"):
        read_exchange(tmp_path / "call_000.json")


@pytest.mark.parametrize("missing", [["asked_at"], ["reasoning"], ["asked_at", "reasoning"]])
def test_a_record_of_schema_2_has_both(missing: list[str], tmp_path: Path) -> None:
    value = Exchange(ask("x"), Completion("y", "stop", "m")).to_json()
    for name in missing:
        del value["completion"][name]
    write_json(tmp_path / "call_000.json", value)
    with pytest.raises(RunStateError, match="A recorded Completion has the keys"):
        read_exchange(tmp_path / "call_000.json")
