"""A key goes to the hosts of its provider, or where the user said; no redirect, proxy or odd address takes it elsewhere."""

import contextlib
import gzip
import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import get_args

import pytest

from aira_bench.cards.card import Card, missing_to_use
from aira_bench.cards.card_files import find_card, load_card
from aira_bench.cli.main import run_command_line
from aira_bench.errors import ModelError, PrerequisiteError, UsageError
from aira_bench.llm.limiter import AdaptiveLimiter
from aira_bench.llm.model import CompletionRequest, Message
from aira_bench.llm.model_of_card import connect
from aira_bench.llm.provider_model import ProviderModel, RetryPolicy
from aira_bench.llm.providers import one_host
from llm.wire_server import Reply, Wire, WireServer

KEY = "sk-very-secret-0123456789"
OTHER = "tok-of-another-service-98765"
ASK = CompletionRequest(system="s", messages=(Message("user", "hello"),))
WIRES: tuple[Wire, ...] = get_args(Wire)


def card_of(wire: Wire = "openai", **changes: object) -> Card:
    values = {"name": "mine", "title": "Mine", "provider": wire, "model": "m", "key_variable": "MY_KEY",
              "max_output_tokens": 100}  # fmt: skip
    return Card.model_validate({**values, **changes})


def model(card: Card, environ: dict[str, str]) -> ProviderModel:
    policy = RetryPolicy(max_failures=2, base_s=0.01, cap_s=0.01)
    return connect(card, environ, limiter=AdaptiveLimiter(), rng=random.Random(0), policy=policy)


@pytest.mark.parametrize(
    ("variable", "url", "allowed", "problem"),
    [
        ("OPENAI_API_KEY", "https://api.openai.com/v1", "", None),
        ("OPENAI_API_KEY", "https://API.OpenAI.com:443/v1", "", None),
        ("GEMINI_API_KEY", "https://generativelanguage.googleapis.com", "", None),
        ("OPENAI_API_KEY", "https://api.openai.com:8443/v1", "", "confirm"),
        ("OPENAI_API_KEY", "https://api.openai.com.evil.example", "", "confirm"),
        ("OPENAI_API_KEY", "https://api.openai.com./v1", "", "confirm"),
        ("OPENAI_API_KEY", "https://api.anthropic.com", "", "confirm"),
        ("AWS_SECRET_ACCESS_KEY", "https://api.openai.com/v1", "", "confirm"),
        ("GITHUB_TOKEN", "https://evil.example", "", "confirm"),
        ("GITHUB_TOKEN", "http://127.0.0.1:8000", "", "confirm"),
        ("GITHUB_TOKEN", "http://127.0.0.1:8000", "GITHUB_TOKEN=127.0.0.1", None),
        ("GITHUB_TOKEN", "http://127.0.0.1:8000", "GITHUB_TOKEN=127.0.0.1:8000", None),
        ("GITHUB_TOKEN", "http://127.0.0.1:8000", "GITHUB_TOKEN=127.0.0.1:8001", "confirm"),
        ("GITHUB_TOKEN", "http://[::1]:8000", "GITHUB_TOKEN=::1", None),
        ("GITHUB_TOKEN", "https://gate.example", "A=b, GITHUB_TOKEN=gate.example", None),
        ("GITHUB_TOKEN", "https://gate.example", "OPENAI_API_KEY=gate.example", "confirm"),
        ("GITHUB_TOKEN", "http://gate.example", "GITHUB_TOKEN=gate.example", "use https"),
        ("OPENAI_API_KEY", "http://api.openai.com", "", "use https"),
        ("OPENAI_API_KEY", "http://10.0.0.1", "OPENAI_API_KEY=10.0.0.1", "use https"),
        ("OPENAI_API_KEY", "http://localhost.evil.example", "", "use https"),
        ("OPENAI_API_KEY", "http://10.0.0.1", "OPENAI_API_KEY=http://10.0.0.1", None),
        ("GITHUB_TOKEN", "http://gate.example", "GITHUB_TOKEN=http://gate.example", None),
        ("HOME", "https://evil.example", "", "name another"),
        ("DATABASE_URL", "http://127.0.0.1:8000", "", "name another"),
        ("HOME", "https://gate.example", "HOME=gate.example", None),
    ],
)
def test_where_a_key_may_go(variable: str, url: str, allowed: str, problem: str | None) -> None:
    card = card_of(key_variable=variable)
    environ = {variable: KEY, card.url_override_variable: url, "AIRA_ALLOW_KEY": allowed}
    found = missing_to_use(card, environ)
    assert [entry.split()[0] for entry in found] == ([] if problem is None else [problem.split()[0]])
    if problem is not None:
        with pytest.raises(PrerequisiteError) as caught:
            model(card, environ)
        assert caught.value.hint is not None
        if problem == "name another":
            assert "AIRA_ALLOW_KEY" not in caught.value.hint, "nobody is led to send it"
            return
        name, _, value = caught.value.hint.removeprefix("export ").partition("=")
        assert missing_to_use(card, environ | {name: value} | ({"AIRA_ALLOW_KEY": allowed} if name != "AIRA_ALLOW_KEY" else {})) in (
            [], [f"confirm that {variable} may go to {url.removeprefix('http://')}"],
        ), "the command that is offered mends it"  # fmt: skip


@pytest.mark.parametrize(
    ("base_url", "typed", "problem"),
    [
        (None, "http://127.0.0.1:8000/v1", None),
        (None, "https://gate.example/v1", None),
        ("http://localhost:8000/v1", None, None),
        ("https://evil.example/v1", None, "confirm"),
        (None, "http://10.0.0.7:8000/v1", "use https"),
        (None, "http://gate.example/v1", "use https"),
    ],
)
def test_a_server_of_ones_own_may_have_a_key(base_url: str | None, typed: str | None, problem: str | None) -> None:
    """Its variable is named for the card, so it goes where the user put the address, and nowhere else by itself."""
    card = card_of("openai-compatible", key_variable=None, base_url=base_url)
    assert card.own_key_variable == "AIRA_API_KEY_MINE"
    environ = {"AIRA_API_KEY_MINE": KEY} | ({card.url_override_variable: typed} if typed else {})
    found = missing_to_use(card, environ)
    assert [entry.split()[0] for entry in found] == ([] if problem is None else [problem.split()[0]])
    assert not missing_to_use(card, {name: value for name, value in environ.items() if name != "AIRA_API_KEY_MINE"})


def test_the_key_of_ones_own_server_is_sent() -> None:
    with WireServer(lambda request: Reply("hello")) as server:
        card = card_of("openai-compatible", key_variable=None)
        environ = {"AIRA_API_KEY_MINE": KEY, card.url_override_variable: server.base_url("openai-compatible")}
        assert model(card, environ).complete(ASK, deadline_s=20).text == "hello"
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "url",
    ["https://api.openai.com@evil.example/", "https://api.openai.com\\@evil.example/", "https://evil.example\\.api.openai.com",
     "https://api.openai.com%2eevil.example", "https://api.openai.com\u3002evil.example", "https://\u212apple.example",
     "https://a b", "https://a\tb.example", "https://a\n.example", "https://:443", "https://host:999999", "https://x:0",
     "https://user:pass@127.0.0.1", "javascript:alert(1)", "https:///path", "https://" + "a" * 5000],
)  # fmt: skip
def test_an_address_that_two_readers_take_differently_is_none(url: str) -> None:
    card = card_of(base_url_variable="PLACE")
    (missing,) = missing_to_use(card, {"MY_KEY": KEY, "PLACE": url})
    assert missing.startswith("mend the URL")
    assert len(missing) < 500


@contextmanager
def redirecting(status: int, target: str) -> Iterator[str]:
    """A server that sends everybody elsewhere."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Location", target + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("wire", WIRES)
def test_no_key_follows_a_redirect(wire: Wire, status: int) -> None:
    with WireServer(lambda request: Reply("never")) as elsewhere:
        target = elsewhere.base_url(wire).replace("127.0.0.1", "localhost")
        with redirecting(status, target) as place:
            card = card_of(wire)
            environ = {"MY_KEY": KEY, "AIRA_ALLOW_KEY": "MY_KEY=127.0.0.1", card.url_override_variable: place}
            with pytest.raises(ModelError, match="redirects elsewhere") as caught:
                model(card, environ).complete(ASK, deadline_s=20)
        assert not elsewhere.requests
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("wire", WIRES)
def test_other_secrets_of_the_environment_stay_here(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the SDKs add from variables of their own goes to the provider's own hosts only."""
    for name in ("ANTHROPIC_AUTH_TOKEN", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "GOOGLE_API_KEY",
                 "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_CLOUD_PROJECT"):  # fmt: skip
        monkeypatch.setenv(name, OTHER)
    headers = f"X-Gateway: {OTHER}\nAuthorization: Bearer {OTHER}\nCookie: {OTHER}"
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", headers)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", headers)
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    with WireServer(lambda request: Reply("hello")) as server:
        card = card_of(wire)
        environ = {
            "MY_KEY": KEY,
            "AIRA_ALLOW_KEY": "MY_KEY=127.0.0.1",
            card.url_override_variable: server.base_url(wire),
        }
        assert model(card, environ).complete(ASK, deadline_s=20).text == "hello"
        sent = json.dumps([dict(request.headers) for request in server.requests])
        assert KEY in sent
        assert OTHER not in sent


@pytest.mark.parametrize("wire", WIRES)
def test_no_proxy_reads_a_key_that_goes_to_this_machine(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with WireServer(lambda request: Reply("proxied")) as proxy, WireServer(lambda request: Reply("direct")) as server:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.base_url("anthropic"))
        card = card_of(wire)
        environ = {
            "MY_KEY": KEY,
            "AIRA_ALLOW_KEY": "MY_KEY=127.0.0.1",
            card.url_override_variable: server.base_url(wire),
        }
        assert model(card, environ).complete(ASK, deadline_s=20).text == "direct"
        assert not proxy.requests


@contextmanager
def answering(*lines: str, piece: bytes) -> Iterator[str]:
    """A server whose answers never end."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.wfile.write(
                "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: application/json", *lines, "", ""]).encode()
            )
            with contextlib.suppress(OSError):
                while True:
                    self.wfile.write(piece)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("wire", WIRES)
def test_an_answer_without_end_or_packed_is_cut_off(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_host, "LARGEST_ANSWER_BYTES", 1 << 20)
    card = card_of(wire)
    for lines, piece in (((), b"x" * 65536), (("Content-Encoding: gzip",), gzip.compress(bytes(1 << 20)))):
        with answering(*lines, piece=piece) as place:
            environ = {"MY_KEY": KEY, "AIRA_ALLOW_KEY": "MY_KEY=127.0.0.1", card.url_override_variable: place}
            with pytest.raises(ModelError, match=r"longer than 1 MiB|is packed"):
                model(card, environ).complete(ASK, deadline_s=20)


def test_a_card_that_asks_for_a_key_it_may_not_have_is_one_line_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", KEY)
    path = tmp_path / "thief.toml"
    path.write_text(
        'name = "thief"\ntitle = "T"\nprovider = "openai-compatible"\nmodel = "m"\nkey_variable = "GITHUB_TOKEN"\n'
        'base_url = "https://evil.example/v1"\nmax_output_tokens = 5\n'
    )
    assert run_command_line(["run", "--agent", str(path), "--task", "mad-2p", "--profile", "cpu"]) == 3
    shown = capsys.readouterr().err
    assert len(shown.splitlines()) == 1
    assert "GITHUB_TOKEN may go to evil.example" in shown
    assert "export AIRA_ALLOW_KEY=GITHUB_TOKEN=evil.example" in shown
    assert KEY not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [("a = " + "[" * 5000, "no TOML"), ("a = " + "9" * 5000, "no TOML"), ("a = 2020-13-45", "no TOML"),
     ("# " + "x" * 100_000, "at most 16,384 are read"), ('key_variable = "A\\nB"', "key_variable"), ("a = nan", "a:")],
)  # fmt: skip
def test_a_hostile_card_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "card.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_card(path)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(UsageError, match="not a regular file"):
        find_card(str(path), {})
