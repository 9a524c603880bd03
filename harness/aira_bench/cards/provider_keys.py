"""Which key may go to which host.

A card is a file from anybody. It names an environment variable and an address, so it could name any secret and any
server. A key goes to the hosts of its own provider, over https, and anywhere else only after the user has said so:

    AIRA_ALLOW_KEY=OPENAI_API_KEY=gateway.example.org       (several: separated by commas; a port: HOST:PORT)

The rule is the same whether the address comes from the card or from a variable of the user's, since a card says which
variable that is. Nothing proposes such a line for a variable whose name is none of a key's. Over plain http a key goes
to this machine, never through a proxy, and to another one only where the line spells it out:

    AIRA_ALLOW_KEY=OPENAI_API_KEY=http://10.0.0.7

Not covered: what the server at the host does with the key.
"""

import ipaddress
import re
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

_NAMES_A_KEY = re.compile(r"KEY|TOKEN|SECRET", re.IGNORECASE)


def is_this_machine(host: str) -> bool:
    """Whether the host of an address is this machine itself: `localhost` or a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_private(host: str) -> bool:
    """Whether the host of an address is an IP address of a private network, or of this machine."""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost"


def is_providers_own(key_variable: str, host: str) -> bool:
    """Whether a host belongs to the provider whose key a variable holds."""
    return host in PROVIDERS_HOSTS.get(key_variable, ())


@dataclass(frozen=True)
class CardProblem:
    """Something the user still has to do before a card works."""

    todo: str
    """An imperative."""
    command: str


def key_problem(
    key_variable: str, url: str, url_variable: str, environ: Mapping[str, str], *, is_named_for_it: bool = False
) -> CardProblem | None:
    """Return what keeps a key from an address; None if it may go there.

    Args:
        key_variable: the environment variable that holds the key.
        url: the address.
        url_variable: where another address goes.
        environ: holds what the user allows.
        is_named_for_it: whether the user set the variable for this address, so that nothing is left to confirm.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if is_providers_own(key_variable, host) and parts.scheme == "https" and parts.port in (None, 443):
        return None
    scheme = "http://" if parts.scheme != "https" and not is_this_machine(host) else ""
    allowed = {entry.strip() for entry in environ.get(ALLOW_VARIABLE, "").split(",")}
    names = (host,) if parts.port is None else (host, f"{host}:{parts.port}")
    if (is_named_for_it and not scheme) or allowed & {f"{key_variable}={scheme}{name}" for name in names}:
        return None
    if scheme and not is_private(host):
        todo = f"use https for {host}: {key_variable} could be read on its way"
        return CardProblem(todo, f"export {url_variable}=https://{host}")
    if not _NAMES_A_KEY.search(key_variable):
        todo = f"name another key_variable on the card: {key_variable} is not called like a key, and would go to {host}"
        return CardProblem(todo, "aira-bench agents --help")
    mend = ",".join(sorted(filter(None, {*allowed, f"{key_variable}={scheme}{host}"})))
    todo = f"confirm that {key_variable} may go to {host}"
    if scheme:
        todo = f"use https for {host}, or {todo} over plain http, where others can read it"
    return CardProblem(todo, f"export {ALLOW_VARIABLE}={mend}")
