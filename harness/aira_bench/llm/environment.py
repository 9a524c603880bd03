"""Environment variables that the SDKs and their HTTP library read by themselves, and what can be wrong with them.

A proxy of a kind that is not installed, a file of authorities that is not there, an identifier no header can hold: the
libraries fail on these with errors that name no variable. So they are looked at before the first call.

Not covered: whether the proxy answers, and whether the provider knows the organization; the first call finds that out.
"""

import importlib.util
import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from aira_bench.cards.provider_keys import CardProblem
from aira_bench.excerpts import VALUE_CHARS

_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_AUTHORITIES = "SSL_CERT_FILE"
_HEADERS: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"),
    "openai": ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"),
    "openai-compatible": ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"),
}
"""What each SDK sends in headers, by provider."""
_OTHERS = ("NO_PROXY", "SSL_CERT_DIR", "SSLKEYLOGFILE")


def environment_problem(provider: str, base_url: str, environ: Mapping[str, str]) -> CardProblem | None:
    """Return the first variable that the HTTP library or the provider's SDK would fail on; None where all are usable.

    Over plain http no proxy is used and no authority asked, so that only headers are looked at.
    """
    if base_url.lower().startswith("https:"):
        for name, value in _set(_PROXIES, environ):
            if problem := _problem_of_proxy(value):
                return CardProblem(f"mend or unset the environment variable {name}, {problem}", f"unset {name}")
        for name, value in _set((_AUTHORITIES,), environ):
            if problem := _problem_of_authorities(value):
                todo = f"mend or unset the environment variable {name}, {problem}"
                return CardProblem(todo, f"export {name}=/path/to/authorities.pem")
    for name, value in _set(_HEADERS.get(provider, ()), environ):
        if not all(line.isascii() and line.isprintable() for line in _lines(name, value)):
            todo = f"mend or unset the environment variable {name}, which has characters that no HTTP header holds"
            return CardProblem(todo, f"unset {name}")
    return None


def proxy_of(base_url: str, environ: Mapping[str, str]) -> str | None:
    """Return the variable that names the proxy through which calls to an address go; None where there is none."""
    parts = urlsplit(base_url)
    if parts.scheme != "https" or proxy_bypass_environment(parts.netloc, getproxies_environment()):
        return None
    return next((name for name, _ in _set(("HTTPS_PROXY", "ALL_PROXY"), environ)), None)


def read_by_clients(provider: str, environ: Mapping[str, str]) -> list[str]:
    """Return the variables that are set and that an HTTP client or the provider's SDK reads by itself."""
    names = (*_PROXIES, *_OTHERS, _AUTHORITIES, *_HEADERS.get(provider, ()))
    return [name for name, _ in _set(names, environ)]


def _set(names: tuple[str, ...], environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Those of the variables that are set, spelt as they are: of proxies, small letters go before capital ones."""
    for name in names:
        spellings = (name.lower(), name) if name.endswith("_PROXY") else (name,)
        found = next((each for each in spellings if environ.get(each)), None)
        if found is not None:
            yield found, environ[found]


def _problem_of_proxy(value: str) -> str | None:
    shown = repr(value[:VALUE_CHARS]) if "@" not in value else "its value"  # which may hold a password
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return f"which names a proxy: {shown} is no address"
    if parts.scheme not in _PROXY_SCHEMES:
        return f"which names a proxy: {shown} begins with none of {', '.join(_PROXY_SCHEMES)}"
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        return f"which names a SOCKS proxy ({shown}); that needs the package socksio (pip install socksio)"
    return None if usable else f"which names a proxy: {shown} is no address"


def _problem_of_authorities(path: str) -> str | None:
    try:
        ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        return f"the file of certificate authorities: {path[:VALUE_CHARS]!r}: {said}"
    return None


def _lines(name: str, value: str) -> list[str]:
    """The parts of a variable that become headers: of one that lists several, each line."""
    return value.splitlines() if name.endswith("_HEADERS") else [value]
