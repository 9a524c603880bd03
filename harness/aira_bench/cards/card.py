"""The schema of an agent card: how one model is reached, what it accepts, what it costs.

A fact that is not known is absent, and shown as unknown; in particular an absent price is never 0. Unknown keys
are errors, so that a misspelt setting cannot be ignored.

Which URL a card's calls go to, first match wins:
1. the environment variable `AIRA_BASE_URL_<NAME>`: the card's name in capitals, other characters as `_`;
2. the environment variable named by `base_url_variable`, usually the one the provider's own SDK reads;
3. the card's `base_url`;
4. the provider's public address; an `openai-compatible` server has none.

A server that asks for a key although its card names no variable for one gets what `AIRA_API_KEY_<NAME>` holds.

Not covered: whether the provider knows the model; the first call finds that out.
"""

import re
from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from aira_bench.cards.provider_keys import CardProblem, is_this_machine, key_problem
from aira_bench.errors import UsageError
from aira_bench.excerpts import VALUE_CHARS
from aira_bench.extensions import find_extension, is_reference

PROVIDER_NAMES = ("anthropic", "google", "openai", "openai-compatible")
"""The providers of this package; a card may also name an installed one."""
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Positive = Annotated[int, Field(gt=0)]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]

PUBLIC_BASE_URLS: Mapping[str, str] = {
    "anthropic": "https://api.anthropic.com",
    "google": "https://generativelanguage.googleapis.com",
    "openai": "https://api.openai.com/v1",
}
_EFFORTS: Mapping[str, tuple[Effort, ...]] = {
    "anthropic": ("low", "medium", "high", "xhigh", "max"),
    "google": ("minimal", "low", "medium", "high", "xhigh"),
    "openai": get_args(Effort),
    "openai-compatible": get_args(Effort),
}


_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sampling(_Schema):
    """How tokens are drawn. Absent values leave the provider's default."""

    adjustable: bool = True
    """False for models that refuse sampling parameters; a request's temperature is then not sent."""
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None

    @model_validator(mode="after")
    def _values_need_a_model_that_takes_them(self) -> Self:
        if not self.adjustable and (self.temperature, self.top_p) != (None, None):
            raise ValueError("temperature and top_p cannot be set where adjustable = false")
        return self


class Reasoning(_Schema):
    """How much a model thinks before it answers. Absent values leave the provider's default."""

    effort: Effort | None = None
    """OpenAI: reasoning effort. Google: thinking level. Anthropic: output effort."""
    adaptive: bool = False
    """Anthropic only: the model decides how long it thinks."""
    budget_tokens: Positive | None = None
    """Anthropic and Google only: the most tokens spent on thinking."""


class Rates(_Schema):
    """US dollars per million tokens."""

    usd_per_mtok_input: Price | None = None
    usd_per_mtok_cached_input: Price | None = None
    usd_per_mtok_cache_write: Price | None = None
    """Where writing a prompt to the cache costs more than reading it plainly; absent: it costs the same."""
    usd_per_mtok_output: Price | None = None
    """Reasoning tokens are billed as output by all four providers."""


class LongPromptRates(Rates):
    """Rates of a whole call whose prompt has more tokens than the threshold."""

    above_input_tokens: Positive


class Prices(Rates):
    """Public list prices on a date."""

    as_of: date
    source: str
    long_prompt: LongPromptRates | None = None


def _provider(name: str) -> str:
    if is_reference(name):
        raise ValueError("a card names no code of the host; name an installed provider, or give it with --provider")
    try:
        find_extension("provider", name, PROVIDER_NAMES)
    except UsageError as error:
        raise ValueError(error.message) from None
    return name


class Card(_Schema):
    """One model an agent can be built on."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
    """What `--agent` takes."""
    title: str
    provider: Annotated[str, AfterValidator(_provider)]
    """One of `PROVIDER_NAMES`, or the name of an installed one, whose class alone says what `reasoning` means."""
    model: Annotated[str, Field(min_length=1, max_length=1000)]
    """The provider's identifier of the model."""
    key_variable: Variable | None = None
    """The environment variable that holds the API key; absent for servers that ask for none. `keys` says where the
    key may go."""
    base_url: str | None = None
    base_url_variable: Variable | None = None
    context_tokens: Positive | None = None
    """Prompt and answer together."""
    max_output_tokens: Positive
    """Asked for in every call, reasoning included; a cap on cost, at most what the model can produce."""
    source: str | None = None
    """Where the limits come from."""
    sampling: Sampling = Sampling()
    reasoning: Reasoning = Reasoning()
    prices: Prices | None = None

    @model_validator(mode="after")
    def _settings_fit_the_provider(self) -> Self:
        if self.key_variable is None and self.provider in PUBLIC_BASE_URLS:
            raise ValueError(f"provider {self.provider!r} needs key_variable")
        if self.provider in PROVIDER_NAMES:
            self._check_reasoning()
        if self.base_url is not None:
            check_url(self.base_url)
        return self

    def _check_reasoning(self) -> None:
        effort, known = self.reasoning.effort, _EFFORTS[self.provider]
        if effort is not None and effort not in known:
            raise ValueError(f"reasoning.effort {effort!r} is none that provider {self.provider!r} has: {known}")
        if self.reasoning.adaptive and self.provider != "anthropic":
            raise ValueError("reasoning.adaptive exists for provider 'anthropic' only")
        if self.reasoning.budget_tokens is not None and self.provider not in ("anthropic", "google"):
            raise ValueError("reasoning.budget_tokens exists for providers 'anthropic' and 'google' only")
        budget = self.reasoning.budget_tokens
        if budget is not None and (self.reasoning.adaptive or (effort is not None and self.provider == "google")):
            raise ValueError("reasoning.budget_tokens excludes reasoning.adaptive, and with Google reasoning.effort")
        if budget is not None and budget >= self.max_output_tokens:
            raise ValueError("reasoning.budget_tokens must be below max_output_tokens")

    @property
    def url_override_variable(self) -> str:
        """The environment variable that overrides this card's URL."""
        return "AIRA_BASE_URL_" + self._spelt_name

    @property
    def own_key_variable(self) -> str:
        """The environment variable that holds this card's key, whatever other cards use."""
        return self.key_variable or "AIRA_API_KEY_" + self._spelt_name

    @property
    def _spelt_name(self) -> str:
        return re.sub(r"[^A-Z0-9]", "_", self.name.upper())


def check_url(url: str) -> str:
    """Return `url` if it is an http or https address.

    Raises:
        ValueError: it is not.
    """
    try:
        parts = urlsplit(url)
        # A host that two parsers could read differently (`a\\@b`, `a@b`, other scripts) is no host here.
        plain = _HOST.fullmatch(parts.netloc) is not None and url.isascii() and url.isprintable() and " " not in url
        usable = plain and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"not an http or https URL: {url[:VALUE_CHARS]!r}")
    return url


def resolve_base_url(card: Card, environ: Mapping[str, str]) -> str | None:
    """Return the address `card`'s calls go to, or None when nothing names one.

    Raises:
        ValueError: an environment variable holds something that is no URL.
    """
    for variable in (card.url_override_variable, card.base_url_variable):
        if variable and environ.get(variable):
            try:
                return check_url(environ[variable])
            except ValueError as error:
                # The card names the second variable, so it may hold any secret of the user's.
                said = error if variable == card.url_override_variable else "not an http or https URL"
                raise ValueError(f"the environment variable {variable} is {said}") from None
    return card.base_url or PUBLIC_BASE_URLS.get(card.provider)


def resolve_key(card: Card, environ: Mapping[str, str]) -> str | None:
    """Return the key `card`'s calls go with; None if it needs none and the user has set none."""
    return environ.get(card.own_key_variable, "").strip() or None


def missing_to_use(card: Card, environ: Mapping[str, str]) -> list[str]:
    """Return what the user still has to do before this card works, as imperatives; empty when nothing is missing."""
    return [one.todo for one in all_missing(card, environ)]


def all_missing(card: Card, environ: Mapping[str, str]) -> list[CardProblem]:
    """Return what the user still has to do before this card works, with the command for each."""
    missing: list[CardProblem] = []
    key, of_key = resolve_key(card, environ), card.own_key_variable
    if key is None and card.key_variable:
        missing.append(CardProblem(f"set {of_key}", f"export {of_key}=..."))
    elif key is not None and not (key.isascii() and key.isprintable()):
        missing.append(CardProblem(f"set {of_key} to a key of printable ASCII characters", f"export {of_key}=..."))
    variable = card.base_url_variable or card.url_override_variable
    try:
        url = resolve_base_url(card, environ)
    except ValueError as error:
        return [*missing, CardProblem(f"mend the URL: {error}", f"export {variable}=...")]
    if url is None:
        todo = f"set {variable} to the URL of an OpenAI-compatible server that serves {card.model}"
        missing.append(CardProblem(todo, f"export {variable}=..."))
    elif key is not None and not missing:
        host = (urlsplit(url).hostname or "").lower()
        typed = is_this_machine(host) or bool(environ.get(card.url_override_variable))
        named = card.key_variable is None and typed
        problem = key_problem(of_key, url, variable, environ, is_named_for_it=named)
        missing += [problem] if problem else []
    return missing
