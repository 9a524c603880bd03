"""Which key may go to which host.

A card is a file from anybody. It names an environment variable and an address, so it could name any secret and any
server. A key goes to the hosts of its own provider, over https, and anywhere else only after the user has said so:

    AIRA_ALLOW_KEY=OPENAI_API_KEY=gateway.example.org       (several: separated by commas; a port: HOST:PORT)

The rule is the same whether the address comes from the card or from a variable of the user's, since a card says which
variable that is. Over plain http a key goes to this machine alone, and never through a proxy.

Not covered: what the server at the host does with the key.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

ALLOW_VARIABLE = "AIRA_ALLOW_KEY"
PROVIDERS_HOSTS: Mapping[str, tuple[str, ...]] = {
    "ANTHROPIC_API_KEY": ("api.anthropic.com",),
    "GEMINI_API_KEY": ("generativelanguage.googleapis.com",),
    "GOOGLE_API_KEY": ("generativelanguage.googleapis.com",),
    "OPENAI_API_KEY": ("api.openai.com", "eu.api.openai.com", "us.api.openai.com"),
}
"""Hosts of the provider that a key is of."""


def is_this_machine(host: str) -> bool:
    """Whether the host of an address is this machine itself: `localhost` or a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_providers_own(key_variable: str, host: str) -> bool:
    """Whether a host belongs to the provider whose key a variable holds."""
    return host in PROVIDERS_HOSTS.get(key_variable, ())


@dataclass(frozen=True)
class Missing:
    """Something the user still has to do before a card works."""

    todo: str
    """An imperative."""
    command: str


def key_problem(key_variable: str, url: str, url_variable: str, environ: Mapping[str, str]) -> Missing | None:
    """Return what keeps a key from an address; None if it may go there. `url_variable` is where another
    address goes.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme != "https" and not is_this_machine(host):
        return Missing(
            f"use https for {host}: {key_variable} could be read on its way", f"export {url_variable}=https://{host}"
        )
    if is_providers_own(key_variable, host) and parts.port in (None, 443):
        return None
    named = host if parts.port is None else f"{host}:{parts.port}"
    allowed = {entry.strip() for entry in environ.get(ALLOW_VARIABLE, "").split(",")}
    if allowed & {f"{key_variable}={host}", f"{key_variable}={named}"}:
        return None
    mend = ",".join(sorted(filter(None, {*allowed, f"{key_variable}={host}"})))
    return Missing(f"confirm that {key_variable} may go to {host}", f"export {ALLOW_VARIABLE}={mend}")
