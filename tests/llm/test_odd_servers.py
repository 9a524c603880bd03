"""What a user is told where a server is none, is elsewhere, or says its trouble in a way of its own."""

import json
import random
import ssl
from collections.abc import Callable, Iterator
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aira_bench.cards.card import Card
from aira_bench.errors import ModelError, PrerequisiteError
from aira_bench.llm.failures import failure_of_connection
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.llm.model import CompletionRequest, Message
from aira_bench.llm.model_of_card import connect
from aira_bench.llm.provider_model import ProviderModel, RetryPolicy
from aira_bench.llm.providers.answer_bodies import ANSWERED_WITH, failure_of_body
from llm.wire_server import Brain, Fault, Misbehaviour, Wire, WireServer

ASK = CompletionRequest("Be brief.", (Message("user", "one"),))
KEY = "sk-odd-0123456789abcdef"
WIRES: tuple[Wire, ...] = get_args(Wire)
HTML = b"<!doctype html><html><head><title>Sign in</title><style>b{}</style></head><body>Welcome to Gate</body></html>"
STREAM = b'data: {"error": {"message": "streams only"}}\n\ndata: [DONE]\n\n'


def card_of(wire: Wire, **changes: object) -> Card:
    values = {"name": "odd", "title": "Odd", "provider": wire, "model": "some-model", "key_variable": "ODD_KEY",
              "max_output_tokens": 100}  # fmt: skip
    return Card.model_validate({**values, **changes})


def model_of(card: Card, url: str, key: str = KEY) -> ProviderModel:
    environ = {card.url_override_variable: url, card.own_key_variable: key, "AIRA_ALLOW_KEY": "ODD_KEY=127.0.0.1"}
    policy = RetryPolicy(max_failures=2, base_s=0.01, cap_s=0.01)
    return connect(card, environ, limiter=AdaptiveLimiter(), rng=random.Random(0), policy=policy)


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> Wire:
    value: Wire = request.param
    return value


@pytest.fixture
def told() -> Iterator[Callable[..., str]]:
    """What is said of a server that always answers so."""
    servers: list[WireServer] = []

    def ask(answer: Fault | Misbehaviour, card: Card, path: str | None = None, key: str = KEY) -> str:
        brain: Brain = lambda request: answer  # noqa: E731
        servers.append(WireServer(brain).__enter__())
        url = servers[-1].base_url(card.provider) if path is None else servers[-1].url + path  # type: ignore[arg-type]
        with pytest.raises(ModelError) as caught:
            model_of(card, url, key).complete(ASK, deadline_s=20)
        return str(caught.value)

    yield ask
    for server in servers:
        server.__exit__()


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b'{"error": {"message": "the model is still loading"}}', "application/json", "the model is still loading"),
        (b'{"error": "no GPU left"}', "application/json", "no GPU left"),
        (b'{"detail": "workers are busy"}', "application/json", "workers are busy"),
        (b'{"object": "error", "message": "too hot", "code": 50001}', "application/json", "too hot"),
        (b'{"error": {"message": "upstream is down", "code": 502}}', "application/json", "upstream is down"),
        (b'{"choices": null}', "application/json", "no"),
        (b'{"some": "object"}', "application/json", "object"),
        (HTML, "text/html", "Welcome to Gate"),
        (HTML, "application/json", "Sign in"),
        (STREAM, "text/event-stream", "streams only"),
        (STREAM, "application/json", "streams only"),
        (b"upstream connect error", "text/plain", "upstream connect error"),
        (b"", "application/json", "nothing"),
    ],
)
def test_a_success_that_is_no_answer_is_told_in_the_servers_own_words(
    wire: Wire, body: bytes, content_type: str, words: str, told: Callable[..., str]
) -> None:
    said = told(Misbehaviour("raw", body, content_type=content_type), card_of(wire))
    assert words in said
    assert "subscriptable" not in said
    assert "attribute" not in said
    assert "<" not in said
    assert len(said) < 700


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"choices": "yes \x1b[31m" + "x" * 9999}, 'no \'choices\' of the right shape: {"choices": "yes \\u001b'),
        ({"choices": {"text": "hello"}}, "hello"),
        ({"choices": [None], "detail": "no worker took it"}, "no worker took it"),
        ({"choices": [[]]}, '{"choices": [[]]}'),
        ({"choices": [{"index": 0}]}, '"index": 0'),
        ({"choices": [{"message": "hello"}]}, '"message": "hello"'),
        ({"choices": [{"message": None, "text": None}]}, '"message": null'),
        ({"choices": [{"message": None, "error": {"message": "the worker died", "code": 502}}]}, "the worker died"),
        ({"choices": [{"message": {}}], "error": {"message": "overloaded"}}, "empty"),
        ({"choices": [{"message": {"content": [{"text": [3]}]}}]}, "a part of its content is a int"),
    ],
)
def test_choices_of_another_shape_are_told_in_the_servers_own_words(
    body: dict[str, object], words: str, told: Callable[..., str]
) -> None:
    said = told(Misbehaviour("raw", json.dumps(body).encode()), card_of("openai-compatible"))
    assert words in said
    assert "attribute" not in said
    assert "\x1b" not in said
    assert len(said) < 700


@pytest.mark.parametrize("odd", ["yes", [None], {"a": 1}, ["hello"], 42, True], ids=str)
def test_what_every_provider_answers_with_is_a_list_of_objects(
    wire: Wire, odd: object, told: Callable[..., str]
) -> None:
    name = ANSWERED_WITH[wire][0]
    said = told(Misbehaviour("raw", json.dumps({name: odd}).encode()), card_of(wire))
    assert f"no {name!r} of the right shape" in said


@pytest.mark.parametrize(
    "choice",
    [
        {"message": None, "text": "hello"},
        {"text": "hello", "finish_reason": "stop"},
        {"message": {"content": [{"type": "text", "text": ["he", {"type": "text", "text": "llo"}]}]}},
        {"message": {"content": [{"text": [{"text": [{"text": "hello"}]}]}]}},
    ],
)
def test_a_text_is_an_answer_wherever_a_choice_has_it(choice: dict[str, object]) -> None:
    body = json.dumps({"choices": [choice], "model": "m"}).encode()
    card = card_of("openai-compatible")
    with WireServer(lambda request: Misbehaviour("raw", body)) as server:
        done = model_of(card, server.base_url("openai-compatible")).complete(ASK, deadline_s=20)
    assert (done.text, done.finish_reason, done.attempts) == ("hello", "stop", 1)


def test_parts_within_parts_without_end_are_no_answer(told: Callable[..., str]) -> None:
    content = '[{"text": ' * 400 + '"x"' + "}]" * 400
    body = f'{{"choices": [{{"message": {{"content": {content}}}}}]}}'.encode()
    assert "parts of its content are nested" in told(Misbehaviour("raw", body), card_of("openai-compatible"))


def test_an_error_inside_a_success_is_classified_like_one_outside(wire: Wire, told: Callable[..., str]) -> None:
    body = json.dumps({"error": {"message": f"bad key {KEY}", "code": 401}}).encode()
    said = told(Misbehaviour("raw", body), card_of(wire))
    assert "rejected the key in ODD_KEY" in said
    assert KEY not in said
    body = json.dumps({"error": {"message": "slow down", "code": "503"}}).encode()
    assert "gave no answer in 2 attempts" in told(Misbehaviour("raw", body), card_of(wire))


def test_what_a_server_says_is_cut_and_never_raw(told: Callable[..., str]) -> None:
    body = json.dumps({"error": {"message": "x" * 10**6}}).encode()
    assert len(told(Misbehaviour("raw", body), card_of("openai-compatible"))) < 700


@pytest.mark.parametrize("code", ["openai", "openai-compatible"])
@pytest.mark.parametrize(
    "answer",
    [
        Fault(404, "Not Found"),
        Fault(405, "Method Not Allowed"),
        Misbehaviour("raw", HTML, content_type="text/html"),
        Misbehaviour("raw", b'{"error": "Unexpected endpoint or method. (POST /chat/completions)"}'),
    ],
    ids=["404", "405", "page", "LM Studio"],
)
def test_an_address_without_v1_is_said_with_the_right_one(
    code: Wire, answer: Fault | Misbehaviour, told: Callable[..., str]
) -> None:
    """The server of these tests answers at any path that ends so."""
    card = card_of(code)
    with WireServer(lambda request: answer) as server:
        server.tolerates_paths = True
        with pytest.raises(ModelError) as caught:
            model_of(card, server.url).complete(ASK, deadline_s=20)
    assert f"export AIRA_BASE_URL_ODD={server.url}/v1" in str(caught.value)
    said = told(answer, card)
    assert "/v1/v1" not in said
    assert "end in /v1" not in said


def test_a_key_that_nobody_has_set_is_asked_for_by_name(told: Callable[..., str]) -> None:
    card = card_of("openai-compatible", key_variable=None)
    said = told(Fault(401, "Unauthorized"), card, key="")
    assert "asks for a key" in said
    assert said.endswith("Try: export AIRA_API_KEY_ODD=...")
    said = told(Fault(403, "Forbidden"), card, key="")
    assert "export AIRA_API_KEY_ODD=" in said
    said = told(Fault(401, "Unauthorized"), card, key="wrong")
    assert "rejected the key in AIRA_API_KEY_ODD" in said
    assert "None" not in said


def test_an_unknown_model_of_ones_own_server_says_how_to_list_those_it_has(told: Callable[..., str]) -> None:
    card = card_of("openai-compatible", key_variable=None)
    said = told(Fault(404, "The model `some-model` does not exist."), card, key="")
    assert "'some-model'" in said
    assert "/v1/models" in said


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ALL_PROXY", "socks5://127.0.0.1:1080", "SOCKS"),
        ("https_proxy", "socks5h://127.0.0.1:1080", "SOCKS"),
        ("HTTP_PROXY", "socks4://127.0.0.1:1080", "begins with none of"),
        ("HTTPS_PROXY", ":::", "is no address"),
        ("HTTPS_PROXY", "ftp://user:secretword@proxy", "begins with none of"),
        ("HTTPS_PROXY", "http://proxy:99999", "is no address"),
        ("HTTPS_PROXY", "http://", "is no address"),
        ("SSL_CERT_FILE", "/missing/ca.pem", "No such file"),
        ("SSL_CERT_FILE", "/etc/passwd", "certificate"),
        ("SSL_CERT_FILE", "/", "Is a directory"),
        ("OPENAI_ORG_ID", "org-é", "no HTTP header holds"),
        ("OPENAI_ORG_ID", "org\nx", "no HTTP header holds"),
        ("OPENAI_PROJECT_ID", "\x01", "no HTTP header holds"),
        ("OPENAI_CUSTOM_HEADERS", "X-A: é", "no HTTP header holds"),
    ],
)
def test_a_variable_that_clients_fail_on_is_named(name: str, value: str, words: str) -> None:
    environ = {"OPENAI_API_KEY": KEY, name: value}
    with pytest.raises(PrerequisiteError) as caught:
        connect(card_of("openai", key_variable="OPENAI_API_KEY"), environ, limiter=AdaptiveLimiter(),
                rng=random.Random(0))  # fmt: skip
    said = str(caught.value)
    assert f"the environment variable {name}" in said
    assert words in said
    assert name in (caught.value.hint or "")
    assert "secretword" not in said


def test_variables_that_play_no_part_keep_nobody_from_a_server_of_this_machine() -> None:
    environ = {"ALL_PROXY": "socks5://x:1", "SSL_CERT_FILE": "/missing", "AIRA_BASE_URL_ODD": "http://127.0.0.1:1/v1"}
    card = card_of("openai-compatible", key_variable=None)
    assert connect(card, environ, limiter=AdaptiveLimiter(), rng=random.Random(0)).name == "odd"


@pytest.mark.parametrize("provider", ["anthropic", "google", "openai", "openai-compatible"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSLKEYLOGFILE", "/missing/x"),
        ("NO_PROXY", "[::1]"),
        ("SSL_CERT_FILE", "/missing"),
        ("ALL_PROXY", "socks5://h:1"),
    ],
)
def test_what_a_client_meets_later_is_one_line_that_names_the_variable(
    provider: Wire, name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that changed since, or that only some SDK trips over."""
    card = card_of(provider, base_url="https://127.0.0.1:9")
    environ = {"ODD_KEY": KEY, "AIRA_ALLOW_KEY": "ODD_KEY=127.0.0.1:9"}
    policy = RetryPolicy(max_failures=1)
    model = connect(card, environ, limiter=AdaptiveLimiter(), rng=random.Random(0), policy=policy)
    monkeypatch.setenv(name, value)
    with pytest.raises(ModelError) as caught:
        model.complete(ASK, deadline_s=5)
    said = str(caught.value)
    assert name in said or "Connection refused" in said, "some SDKs do not mind"


def test_an_organization_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch, told: Callable[..., str]) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-another")
    said = told(Fault(401, "No such organization: org-of-another.", "invalid_organization"), card_of("openai"))
    assert "OPENAI_ORG_ID" in said
    assert "unset OPENAI_ORG_ID" in said


def test_a_proxy_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    card = card_of("openai", base_url="https://gate.invalid/v1")
    environ = {"ODD_KEY": KEY, "AIRA_ALLOW_KEY": "ODD_KEY=gate.invalid"}
    policy = RetryPolicy(max_failures=1)
    model = connect(card, environ, limiter=AdaptiveLimiter(), rng=random.Random(0), policy=policy)
    with pytest.raises(ModelError, match="through the proxy that HTTPS_PROXY names") as caught:
        model.complete(ASK, deadline_s=5)
    assert "unset HTTPS_PROXY" in (caught.value.hint or "")


def test_a_certificate_of_nobody_is_no_passing_trouble() -> None:
    outer = RuntimeError("Connection error.")
    outer.__cause__ = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate")
    failure = failure_of_connection(outer)
    assert (failure.kind, failure.culprit) == ("refused", "certificate")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "code", "detail", "choices", "output", "content", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(st.sampled_from(sorted(ANSWERED_WITH)), values, st.sampled_from(["application/json", "text/html", ""]))
def test_every_json_body_is_an_answer_or_a_failure_of_one_line(provider: str, value: object, content_type: str) -> None:
    failure = failure_of_body(provider, content_type, json.dumps(value).encode())
    answers = [value.get(name) for name in ANSWERED_WITH[provider]] if isinstance(value, dict) else []
    if not any(answers) and not (provider in ("anthropic", "openai") and answers == [[]]):
        assert failure is not None
    if answers and isinstance(answers[0], str | int | float):
        assert failure is not None
    if failure is not None:
        assert failure.kind in ("transient", "refused", "rate_limited", "unanswerable")
        assert len(failure.message) < 600
        assert len(failure.message.splitlines()) == 1


@given(st.sampled_from(sorted(ANSWERED_WITH)), st.binary(max_size=200), st.sampled_from(["text/event-stream", ""]))
def test_no_bytes_break_the_look_at_a_body(provider: str, body: bytes, content_type: str) -> None:
    failure = failure_of_body(provider, content_type, body)
    assert failure is not None or b"{" in body
