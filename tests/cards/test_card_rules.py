"""What holds of every agent card: which settings fit together, where its calls go, what they cost at most."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from aira_bench.cards.card import (
    PROVIDER_NAMES,
    PUBLIC_BASE_URLS,
    Card,
    Prices,
    all_missing,
    check_url,
    missing_to_use,
    resolve_base_url,
)
from aira_bench.cards.card_files import find_card, shipped_names, user_folder
from aira_bench.cards.provider_keys import (
    ALLOW_VARIABLE,
    PROVIDERS_HOSTS,
    is_providers_own,
    is_this_machine,
    key_problem,
)
from aira_bench.llm.model import CompletionRequest, Message, Usage
from aira_bench.llm.pricing import call_cost_usd, output_limit, prompt_tokens_upper_bound, upper_bound_usd

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
names = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,20}", fullmatch=True)
rates = st.none() | st.floats(0, 1000)


def card(**values: object) -> Card:
    base = {
        "name": "c",
        "title": "C",
        "provider": "openai",
        "model": "m",
        "key_variable": "K",
        "max_output_tokens": 1000,
    }
    return Card.model_validate(base | values)


reasonings = st.fixed_dictionaries(
    {},
    optional={
        "effort": st.sampled_from(EFFORTS),
        "adaptive": st.booleans(),
        "budget_tokens": st.integers(1, 2000),
    },
)


@given(st.sampled_from(PROVIDER_NAMES), reasonings)
def test_reasoning_settings_are_taken_exactly_where_the_provider_has_them(
    provider: str, chosen: dict[str, Any]
) -> None:
    known = {
        "anthropic": {"low", "medium", "high", "xhigh", "max"},
        "google": {"minimal", "low", "medium", "high", "xhigh"},
    }.get(provider, set(EFFORTS))
    effort, budget, adaptive = chosen.get("effort"), chosen.get("budget_tokens"), chosen.get("adaptive", False)
    fits = (
        (effort is None or effort in known)
        and (not adaptive or provider == "anthropic")
        and (budget is None or (provider in ("anthropic", "google") and not adaptive and budget < 1000))
        and not (budget is not None and effort is not None and provider == "google")
    )
    try:
        made = card(provider=provider, reasoning=chosen)
    except ValidationError:
        assert not fits
    else:
        assert fits
        assert made.reasoning.model_dump(exclude_defaults=True) == {k: v for k, v in chosen.items() if v is not False}


@given(st.booleans(), st.none() | st.floats(-1, 3), st.none() | st.floats(-1, 2))
def test_sampling_settings_need_a_model_that_takes_them(
    adjustable: bool, temperature: float | None, top_p: float | None
) -> None:
    fits = (
        (temperature is None or 0 <= temperature <= 2)
        and (top_p is None or 0 < top_p <= 1)
        and (adjustable or (temperature, top_p) == (None, None))
    )
    chosen = {"adjustable": adjustable, "temperature": temperature, "top_p": top_p}
    try:
        card(sampling=chosen)
    except ValidationError:
        assert not fits
    else:
        assert fits


@given(names)
def test_the_variable_that_overrides_an_address_can_be_exported(name: str) -> None:
    variable = card(name=name).url_override_variable
    assert re.fullmatch(r"AIRA_BASE_URL_[A-Z0-9_]+", variable)
    assert len(variable) == len("AIRA_BASE_URL_") + len(name)


hosts = st.from_regex(r"[a-z][a-z0-9-]{0,10}(\.[a-z]{2,5}){1,2}", fullmatch=True)
urls = st.builds(
    lambda scheme, host, port, path: f"{scheme}://{host}{port}{path}",
    st.sampled_from(["http", "https"]),
    hosts,
    st.sampled_from(["", ":8000", ":443"]),
    st.sampled_from(["", "/", "/v1", "/v1?x=1"]),
)


@given(urls)
def test_plain_addresses_are_taken_as_they_are(url: str) -> None:
    assert check_url(url) == url
    assert card(base_url=url).base_url == url


@given(st.text(max_size=40))
def test_whatever_is_taken_for_an_address_names_one_host(text: str) -> None:
    try:
        url = check_url(text)
    except ValueError:
        return
    parts = urlsplit(url)
    assert parts.scheme in ("http", "https")
    assert parts.hostname
    assert "@" not in parts.netloc
    assert url.isascii()


@given(urls, urls, urls, st.sets(st.sampled_from(["override", "variable", "card"])))
@settings(max_examples=40)
def test_the_first_address_that_is_named_counts(one: str, two: str, three: str, named: set[str]) -> None:
    made = card(base_url_variable="MY_URL", base_url=three if "card" in named else None)
    environ = ({"AIRA_BASE_URL_C": one} if "override" in named else {}) | (
        {"MY_URL": two} if "variable" in named else {}
    )
    expected = (
        one if "override" in named
        else two if "variable" in named
        else three if "card" in named
        else PUBLIC_BASE_URLS["openai"]
    )  # fmt: skip
    assert resolve_base_url(made, environ) == expected
    assert resolve_base_url(made, environ | {"UNRELATED": "x"}) == expected


def test_an_empty_variable_names_no_address() -> None:
    made = card(base_url_variable="MY_URL")
    assert resolve_base_url(made, {"MY_URL": "", "AIRA_BASE_URL_C": ""}) == PUBLIC_BASE_URLS["openai"]
    server = card(provider="openai-compatible", key_variable=None)
    assert resolve_base_url(server, {}) is None
    assert missing_to_use(server, {}) == ["set AIRA_BASE_URL_C to the URL of an OpenAI-compatible server that serves m"]


@given(hosts, st.sampled_from([None, 443, 8443]), st.sampled_from(["http", "https"]), st.booleans())
def test_a_key_goes_to_its_provider_or_where_the_user_said(
    host: str, port: int | None, scheme: str, allowed: bool
) -> None:
    assume(host not in PROVIDERS_HOSTS["OPENAI_API_KEY"])
    url = f"{scheme}://{host}" + ("" if port is None else f":{port}")
    environ = {ALLOW_VARIABLE: f"OTHER=elsewhere.org, OPENAI_API_KEY={host}"} if allowed else {}
    problem = key_problem("OPENAI_API_KEY", url, "MY_URL", environ)
    assert (problem is None) == (allowed and scheme == "https")
    if problem is not None:
        assert host in problem.todo
        assert problem.command.startswith("export ")


def test_the_command_that_is_proposed_is_the_one_that_helps() -> None:
    environ = {ALLOW_VARIABLE: "OTHER=elsewhere.org"}
    problem = key_problem("OPENAI_API_KEY", "https://gateway.example.org/v1", "MY_URL", environ)
    assert problem is not None
    name, _, value = problem.command.removeprefix("export ").partition("=")
    assert name == ALLOW_VARIABLE
    assert key_problem("OPENAI_API_KEY", "https://gateway.example.org/v1", "MY_URL", {name: value}) is None
    assert "OTHER=elsewhere.org" in value, "what was allowed before still is"


@pytest.mark.parametrize("variable", sorted(PROVIDERS_HOSTS))
def test_every_providers_own_host_takes_its_key_over_https_alone(variable: str) -> None:
    for host in PROVIDERS_HOSTS[variable]:
        assert is_providers_own(variable, host)
        assert not is_providers_own("ANOTHER_KEY", host)
        assert key_problem(variable, f"https://{host}/v1", "U", {}) is None
        assert key_problem(variable, f"http://{host}/v1", "U", {}) is not None
        assert key_problem(variable, f"https://{host}:8443/v1", "U", {}) is not None
        assert key_problem(variable, f"https://{host}.evil.org/v1", "U", {}) is not None


@pytest.mark.parametrize(
    ("host", "own"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False),
     ("0.0.0.0", False), ("localhost.example.org", False), ("", False), ("1.1.1", False)],
)  # fmt: skip
def test_only_loopback_is_this_machine(host: str, own: bool) -> None:
    assert is_this_machine(host) == own


def test_a_shipped_card_lacks_its_key_and_nothing_else(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert not user_folder(environ).exists()
    for name in shipped_names():
        found = find_card(name, environ)
        lacking = all_missing(found, environ)
        assert [one.command for one in lacking][:1] == (
            [f"export {found.key_variable}=..."]
            if found.key_variable
            else [f"export {found.url_override_variable}=..."]
        )


tiers = st.builds(
    lambda one, two, three, four: {
        "usd_per_mtok_input": one, "usd_per_mtok_cached_input": two, "usd_per_mtok_cache_write": three,
        "usd_per_mtok_output": four,
    },
    rates, rates, rates, rates,
)  # fmt: skip


@given(tiers, st.none() | tiers, st.integers(1, 5000), st.data())
def test_a_cost_is_known_exactly_if_every_price_it_needs_is(
    plain: dict[str, float | None], long: dict[str, float | None] | None, above: int, data: st.DataObject
) -> None:
    prices = Prices.model_validate(
        plain
        | {"as_of": "2026-01-01", "source": "test"}
        | ({"long_prompt": long | {"above_input_tokens": above}} if long is not None else {})
    )
    prompt = data.draw(st.integers(0, 6000))
    cached = data.draw(st.integers(0, prompt))
    written = data.draw(st.integers(0, prompt - cached))
    output = data.draw(st.integers(0, 100))
    cost = call_cost_usd(prices, Usage(prompt, output, cached, None, written))
    tier = long if long is not None and prompt > above else plain
    write = tier["usd_per_mtok_cache_write"]
    parts = [
        (prompt - cached - written, tier["usd_per_mtok_input"]),
        (cached, tier["usd_per_mtok_cached_input"]),
        (written, tier["usd_per_mtok_input"] if write is None else write),
        (output, tier["usd_per_mtok_output"]),
    ]
    if any(tokens and rate is None for tokens, rate in parts):
        assert cost is None
    else:
        assert cost == pytest.approx(sum(tokens * (rate or 0.0) for tokens, rate in parts) / 1e6)


@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=4), st.none() | st.integers(1, 3000), tiers)
@settings(max_examples=40)
def test_a_longer_prompt_or_answer_never_lowers_the_bound(
    system: str, texts: list[str], limit: int | None, tier: dict[str, float | None]
) -> None:
    made = card(prices=tier | {"as_of": "2026-01-01", "source": "test"})
    request = CompletionRequest(system, tuple(Message("user", text) for text in texts), max_output_tokens=limit)
    longer = CompletionRequest(system + "x", request.messages, max_output_tokens=limit)
    assert prompt_tokens_upper_bound(longer) == prompt_tokens_upper_bound(request) + 1
    assert output_limit(made, request) == min(limit or 1000, 1000)
    bounds = upper_bound_usd(made, request), upper_bound_usd(made, longer)
    known = tier["usd_per_mtok_input"] is not None and tier["usd_per_mtok_output"] is not None
    assert (bounds[0] is not None) == (bounds[1] is not None) == known
    if bounds[0] is not None and bounds[1] is not None:
        assert bounds[0] <= bounds[1]
