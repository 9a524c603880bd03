"""Options of an SDK's HTTP client under which nothing is sent to any host but the endpoint's.

The SDKs follow redirects, and carry a key in a header that their HTTP library does not take for one; over plain http
they would go through a proxy that then reads it. They also add what other environment variables say (an organization,
headers of a gateway, another token). The provider's own hosts get that; any other gets the key that the card names.

Not covered: what a host that was confirmed does with the key.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from aira_bench.cards.keys import is_providers_own
from aira_bench.llm.providers.protocol import Endpoint

NO_KEY = "no-key-needed"
"""The OpenAI SDK insists on a key; a server that asks for none ignores it."""
_SENT = {
    "accept", "accept-encoding", "anthropic-version", "connection", "content-length", "content-type", "host",
    "user-agent", "x-goog-api-client",
}  # fmt: skip
_PORTS = {"http": 80, "https": 443}


def client_options(endpoint: Endpoint) -> dict[str, Any]:
    """Keyword arguments of an `httpx` client for the endpoint."""
    secure = endpoint.base_url.lower().startswith("https:")
    options: dict[str, Any] = {"follow_redirects": False, "event_hooks": {"request": [_check(endpoint)]}}
    if (
        not secure
    ):  # an https request passes through a proxy unread; one SDK looks for proxies whatever `trust_env` says
        options |= {"trust_env": False, "mounts": {"http://": None, "all://": None}}
    return options


def _check(endpoint: Endpoint) -> Callable[[Any], None]:
    """What looks at each request before it is sent."""
    wanted = urlsplit(endpoint.base_url)
    target = (wanted.scheme, wanted.hostname, wanted.port or _PORTS[wanted.scheme])
    own = is_providers_own(endpoint.card.key_variable or "", wanted.hostname or "")
    key = endpoint.key or NO_KEY
    name, value = {"anthropic": ("x-api-key", key), "google": ("x-goog-api-key", key)}.get(
        endpoint.card.provider, ("authorization", f"Bearer {key}")
    )

    def check(request: Any) -> None:  # noqa: ANN401
        url = request.url
        if (url.scheme, url.host.lower(), url.port or _PORTS.get(url.scheme)) != target:
            raise ValueError(f"a request to {url.host} was stopped: this model is at {wanted.hostname}")
        if own:
            return
        for other in list(request.headers):
            if other.lower() not in _SENT and not other.lower().startswith("x-stainless-"):
                del request.headers[other]
        request.headers[name] = value

    return check
