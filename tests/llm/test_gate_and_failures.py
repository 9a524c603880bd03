"""The gate as a machine of states, and what the words of providers are taken for."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import ModuleType, SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.llm.failures import ProviderFailure, failure_of_status, parse_retry_after, shorten
from aira_bench.llm.gate import LimiterSettings
from aira_bench.llm.limiter import AdaptiveLimiter, GateTimeout
from aira_bench.llm.model import Message
from aira_bench.llm.providers.sdk_errors import failure_of
from aira_bench.llm.schemas import closed_schema, is_strict, parse_object, schema_text
from aira_bench.testing import PlayedWorld

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Gate:
    """What the gate should do, written as the rules say it."""

    settings: LimiterSettings
    limit: float = field(init=False)
    calm_at_s: float = -1.0
    open_at_s: float = -1.0

    def __post_init__(self) -> None:
        self.limit = self.settings.start

    def refused(self, now_s: float, asked_s: float | None) -> None:
        if now_s >= self.calm_at_s:
            self.limit = max(1.0, self.limit * self.settings.decrease)
            self.calm_at_s = now_s + self.settings.cooldown_s
        if asked_s is not None:
            self.open_at_s = max(self.open_at_s, now_s + asked_s)


settings = st.integers(1, 64).flatmap(
    lambda most: st.builds(
        LimiterSettings, st.integers(1, most), st.just(most), st.sampled_from([0.25, 0.5, 0.9]), st.integers(0, 30)
    )
)
happenings = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), st.just(0.0)),
        st.tuples(st.just("refusal"), st.none() | st.integers(0, 60).map(float)),
        st.tuples(st.just("wait"), st.integers(0, 20).map(float)),
    ),
    max_size=60,
)


@given(settings, happenings)
def test_the_gate_follows_its_rules_through_any_history(
    chosen: LimiterSettings, history: list[tuple[str, float | None]]
) -> None:
    world, expected = PlayedWorld(), Gate(chosen)
    limiter = AdaptiveLimiter(chosen, world=world)
    for what, amount in history:
        if what == "answer":
            limiter.succeeded()
            expected.limit = min(float(chosen.most), expected.limit + 1 / expected.limit)
        elif what == "refusal":
            limiter.rate_limited(amount)
            expected.refused(world.now_s, amount)
        else:
            world.now_s += amount or 0.0
        assert limiter.limit == int(expected.limit)
        assert 1 <= limiter.limit <= chosen.most
        if expected.open_at_s > world.now_s:
            with pytest.raises(GateTimeout), limiter.place(world.now_s):
                pass
        else:
            with limiter.place(world.now_s):
                assert limiter.in_flight == 1
        assert limiter.in_flight == 0


@given(st.integers(1, 8))
def test_no_more_places_than_the_limit_are_given_at_once(start: int) -> None:
    limiter = AdaptiveLimiter(LimiterSettings(start=start, most=8), world=PlayedWorld())
    held = [limiter.place(0.0) for _ in range(start)]
    for place in held:
        place.__enter__()
    assert limiter.in_flight == start
    with pytest.raises(GateTimeout), limiter.place(0.0):
        pass
    held[0].__exit__(None, None, None)
    with limiter.place(0.0):
        assert limiter.in_flight == start


@given(st.text(), st.integers(4, 50))
def test_a_shortened_text_is_one_line_of_its_words(text: str, limit: int) -> None:
    line = shorten(text, limit)
    assert len(line) <= limit
    assert len(line.splitlines()) <= 1
    whole = " ".join(text.split())
    assert line == whole if len(whole) <= limit else line == whole[: limit - 3] + "..."


@given(st.integers(0, 10**6), st.sampled_from([True, False]))
def test_a_date_to_come_back_at_is_seconds_from_now(seconds: int, past: bool) -> None:
    moment = NOW + timedelta(seconds=-seconds if past else seconds)
    headers = {"retry-after": format_datetime(moment, usegmt=True)}
    assert parse_retry_after(headers, NOW) == (0.0 if past else float(seconds))


@given(st.floats(0, 1e6), st.booleans())
def test_milliseconds_are_taken_before_seconds(amount: float, both: bool) -> None:
    headers = {"retry-after-ms": f"{amount:.3f}"} | ({"retry-after": "7"} if both else {})
    assert parse_retry_after(headers, NOW) == pytest.approx(float(f"{amount:.3f}") / 1000)


@pytest.mark.parametrize(
    ("status", "message", "kind", "culprit", "finish"),
    [
        (429, "insufficient_quota", "refused", "billing", None),
        (429, "billing is fine, slow down", "rate_limited", "request", None),
        (402, "pay", "refused", "billing", None),
        (400, "your credit balance is too low", "refused", "billing", None),
        (401, "who are you", "refused", "key", None),
        (403, "API key not valid", "refused", "key", None),
        (403, "not for you", "refused", "permission", None),
        (404, "no such model", "refused", "model", None),
        (308, "moved", "refused", "address", None),
        (400, "temperature must be below 2", "refused", "request", None),
        (413, "anything", "unanswerable", "request", "context_overflow"),
        (400, "prompt is too long: 300 tokens", "unanswerable", "request", "context_overflow"),
        (400, "maximum context length is 8", "unanswerable", "request", "context_overflow"),
        (422, "inputs tokens + `max_new_tokens` must be <= 9", "unanswerable", "request", "context_overflow"),
        (400, "violates our usage policies", "unanswerable", "request", "content_filter"),
        (404, "prompt is too long", "refused", "model", None),
        (500, "prompt is too long", "transient", "request", None),
        (408, "", "transient", "request", None),
        (409, "", "transient", "request", None),
        (425, "", "transient", "request", None),
        (529, "overloaded", "transient", "request", None),
    ],
)
def test_what_a_status_and_its_words_mean(
    status: int, message: str, kind: str, culprit: str, finish: str | None
) -> None:
    failure = failure_of_status(status, message, retry_after_s=3.0, request_id="r")
    assert (failure.kind, failure.culprit, failure.finish_reason) == (kind, culprit, finish)
    assert failure.message.startswith(f"HTTP {status}: ")
    assert failure.request_id == "r"
    assert failure.retry_after_s == (3.0 if kind in ("rate_limited", "transient") else None)


REQUEST: Any = SimpleNamespace(method="POST", url="https://example.org/v1/messages")
"""As much of a request as the errors of SDKs look at; their HTTP library is one or another by version."""


def status_error(sdk: ModuleType, status: int, body: dict[str, Any]) -> Exception:
    headers = {"retry-after": "4", "x-request-id": "r1", "request-id": "r1"}
    response = SimpleNamespace(status_code=status, request=REQUEST, headers=headers)
    error: Exception = sdk.APIStatusError(json.dumps(body), response=response, body=body)
    return error


@pytest.mark.parametrize("sdk", [anthropic, openai], ids=lambda sdk: sdk.__name__)
@pytest.mark.parametrize(
    ("make", "kind", "part"),
    [
        (lambda sdk: status_error(sdk, 429, {"error": "slow"}), "rate_limited", "HTTP 429"),
        (lambda sdk: status_error(sdk, 503, {"error": "busy"}), "transient", "HTTP 503"),
        (lambda sdk: sdk.APITimeoutError(request=REQUEST), "transient", "timed out"),
        (lambda sdk: sdk.APIConnectionError(request=REQUEST), "transient", "connection failed"),
        (lambda sdk: OSError("a request to elsewhere was stopped"), "transient", "was stopped"),
        (lambda sdk: sdk.APIError("odd", REQUEST, body=None), "transient", "malformed"),
        (lambda sdk: json.JSONDecodeError("no", "x", 0), "transient", "malformed"),
        (lambda sdk: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"), "transient", "malformed"),
        (lambda sdk: RecursionError("too deep"), "transient", "malformed"),
    ],
)
def test_errors_of_sdks_are_told_apart(
    sdk: ModuleType, make: Callable[[ModuleType], Exception], kind: str, part: str
) -> None:
    failure = failure_of(make(sdk), sdk, NOW)
    assert failure.kind == kind
    assert part in failure.message
    assert failure.retry_after_s == (4.0 if "HTTP" in part else None)


def test_a_defect_of_ours_is_none_of_the_providers() -> None:
    defect = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError) as caught:
        failure_of(defect, openai, NOW)
    assert caught.value is defect
    with pytest.raises(KeyError):
        failure_of(KeyError("ours"), SimpleNamespace(**vars(openai)), NOW)  # type: ignore[arg-type]


schemas = st.recursive(
    st.sampled_from([{"type": "string"}, {"type": "integer"}, {}]),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("abc"), inner, max_size=3).flatmap(
            lambda properties: st.lists(st.sampled_from(sorted(properties) or ["a"]), unique=True, max_size=3).map(
                lambda required: {"type": "object", "properties": properties, "required": required}
            )
        ),
        inner.map(lambda item: {"type": "array", "items": item}),
        st.lists(inner, min_size=1, max_size=2).map(lambda options: {"anyOf": options}),
    ),
    max_leaves=6,
)


def objects(schema: object) -> list[dict[str, Any]]:
    """Every part of a schema that lists properties."""
    if isinstance(schema, list):
        return [found for entry in schema for found in objects(entry)]
    if not isinstance(schema, dict):
        return []
    inner = [found for entry in schema.values() for found in objects(entry)]
    return [*inner, schema] if isinstance(schema.get("properties"), dict) else inner


@given(schemas)
def test_a_closed_schema_closes_every_object_and_changes_nothing_else(schema: dict[str, Any]) -> None:
    before = json.dumps(schema)
    closed = closed_schema(schema)
    assert json.dumps(schema) == before, "the caller's own is left as it is"
    assert all(each["additionalProperties"] is False for each in objects(closed))

    def opened(value: object) -> object:
        if isinstance(value, list):
            return [opened(entry) for entry in value]
        if isinstance(value, dict):
            return {key: opened(entry) for key, entry in value.items() if key != "additionalProperties"}
        return value

    assert opened(closed) == schema
    assert closed_schema(closed) == closed


@given(schemas)
def test_a_schema_is_strict_if_every_object_requires_all_it_has(schema: dict[str, Any]) -> None:
    assert is_strict(schema) == all(set(each["properties"]) == set(each["required"]) for each in objects(schema))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(-1e99, 1e99) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_an_object_is_read_and_nothing_else_is(value: object) -> None:
    text = json.dumps(value)
    read = parse_object(text)
    assert (read is not None) == isinstance(value, dict)
    if isinstance(value, dict):
        assert json.loads(schema_text(value)) == value
        assert read is not None
        assert read.keys() == json.loads(text).keys()


@given(st.text(max_size=40))
def test_no_text_breaks_the_reader_of_objects(text: str) -> None:
    found = parse_object(text)
    assert found is None or isinstance(found, dict)


def test_a_failure_says_no_more_than_its_message() -> None:
    failure = ProviderFailure("refused", "no", culprit="key")
    assert (str(failure), failure.finish_reason, failure.retry_after_s, failure.request_id) == ("no", None, None, None)
    assert Message("user", "x") == Message("user", "x")
