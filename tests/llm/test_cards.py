"""Shipped cards are usable, and a card that says something impossible is refused with its reason."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from aira_bench.cards.card import Card, missing_to_use, resolve_base_url
from aira_bench.cards.card_files import card_names, find_card, load_card, user_folder
from aira_bench.errors import UsageError

PAPER = {
    "gpt5", "o3", "o3-mini", "gpt4o", "opus45", "opus46", "gemini3pro", "gemini31pro", "cwm", "gpt-oss-120b",
    "gpt-oss-20b", "devstral",
}  # fmt: skip
OWN = {"name": "mine", "title": "Mine", "provider": "openai-compatible", "model": "m", "max_output_tokens": 100}
CLOUD = {**OWN, "provider": "openai", "key_variable": "MY_KEY"}


def write_card(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.toml"
    path.write_text(text)
    return path


def test_the_papers_twelve_models_ship(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert set(card_names(environ)) == PAPER
    for name in PAPER:
        card = find_card(name, environ)
        assert card.source, name
        assert card.context_tokens is not None
        assert card.max_output_tokens < card.context_tokens


@pytest.mark.parametrize("name", sorted(PAPER))
def test_every_shipped_card_says_what_it_lacks_and_then_lacks_nothing(name: str, tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    card = find_card(name, environ)
    (missing,) = missing_to_use(card, environ)
    variable = missing.split()[1]
    environ[variable] = "http://localhost:8000/v1" if variable.startswith("AIRA_") else "a-key"
    assert missing_to_use(card, environ) == []


def test_self_hosted_models_have_no_price_and_the_others_a_dated_one(tmp_path: Path) -> None:
    for name in PAPER:
        card = find_card(name, {"XDG_CONFIG_HOME": str(tmp_path)})
        assert (card.prices is None) == (card.provider == "openai-compatible")
        assert card.prices is None or card.prices.as_of.year >= 2025


def test_a_users_card_hides_the_shipped_one(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    text = (
        'name = "gpt5"\ntitle = "Mine"\nprovider = "openai"\nmodel = "x"\nkey_variable = "K"\nmax_output_tokens = 9\n'
    )
    write_card(user_folder(environ), "gpt5", text)
    write_card(user_folder(environ), "extra", text.replace("gpt5", "extra"))
    assert find_card("gpt5", environ).title == "Mine"
    assert set(card_names(environ)) == {*PAPER, "extra"}


def test_a_card_by_path(tmp_path: Path) -> None:
    path = write_card(
        tmp_path, "a.b", 'name = "a.b"\ntitle = "A"\nprovider = "openai-compatible"\nmodel = "m"\nmax_output_tokens = 1'
    )
    assert find_card(str(path), {}).name == "a.b"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('name = "c"\nbogus = 1', "bogus"),
        ("name = ", "no TOML"),
        ('name = "c"\n[prices]\nusd_per_mtok_input = -1', "usd_per_mtok_input"),
        ('name = "c"', "max_output_tokens"),
    ],
)
def test_a_broken_card_is_one_clear_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        load_card(write_card(tmp_path, "c", text))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_card_named_unlike_its_file_and_an_absent_one(tmp_path: Path) -> None:
    body = 'title = "A"\nprovider = "openai-compatible"\nmodel = "m"\nmax_output_tokens = 1'
    with pytest.raises(UsageError, match="says name = 'x'"):
        load_card(write_card(tmp_path, "y", f'name = "x"\n{body}'))
    with pytest.raises(UsageError, match="Cannot read"):
        load_card(tmp_path / "nowhere.toml")


def test_a_misspelt_name_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Did you mean 'gemini3pro'"):
        find_card("gemini3-pro", {"XDG_CONFIG_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    "change",
    [
        {"key_variable": None},
        {"reasoning": {"adaptive": True}},
        {"reasoning": {"budget_tokens": 10}},
        {"provider": "anthropic", "reasoning": {"budget_tokens": 100}},
        {"provider": "anthropic", "reasoning": {"budget_tokens": 10, "adaptive": True}},
        {"provider": "anthropic", "reasoning": {"effort": "none"}},
        {"provider": "google", "reasoning": {"budget_tokens": 10, "effort": "low"}},
        {"sampling": {"adjustable": False, "temperature": 1.0}},
        {"base_url": "localhost:8000"},
        {"name": "Has Spaces"},
        {"max_output_tokens": 0},
    ],
    ids=str,
)
def test_impossible_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Card.model_validate({**CLOUD, **change})


def test_the_url_is_looked_for_in_the_documented_order() -> None:
    card = Card.model_validate({**CLOUD, "base_url": "http://card", "base_url_variable": "OTHER"})
    environ = {"AIRA_BASE_URL_MINE": "http://override", "OTHER": "http://variable"}
    assert resolve_base_url(card, environ) == "http://override"
    assert resolve_base_url(card, {"OTHER": "http://variable"}) == "http://variable"
    assert resolve_base_url(card, {}) == "http://card"
    assert resolve_base_url(Card.model_validate(CLOUD), {}) == "https://api.openai.com/v1"
    assert resolve_base_url(Card.model_validate(OWN), {}) is None


@pytest.mark.parametrize("url", ["localhost", "localhost:8000", "ftp://host", "http://", "http://h:port", "http://[x"])
def test_a_variable_that_holds_no_url_is_named(url: str) -> None:
    (missing,) = missing_to_use(Card.model_validate(OWN), {"AIRA_BASE_URL_MINE": url})
    assert "AIRA_BASE_URL_MINE" in missing
    assert repr(url) in missing


def test_a_key_that_no_header_can_carry_is_missing() -> None:
    (missing,) = missing_to_use(Card.model_validate(CLOUD), {"MY_KEY": "caf\u00e9"})
    assert "printable ASCII" in missing


def test_no_message_shows_what_a_variable_that_a_card_names_holds(tmp_path: Path) -> None:
    """It may be any secret of the user's; the card is a stranger's."""
    card = Card.model_validate({**OWN, "base_url_variable": "AWS_SECRET_ACCESS_KEY"})
    (missing,) = missing_to_use(card, {"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI"})
    assert "AWS_SECRET_ACCESS_KEY is not an http or https URL" in missing
    assert "wJalr" not in missing
