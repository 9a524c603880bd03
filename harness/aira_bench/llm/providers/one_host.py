"""Options of an SDK's HTTP client under which nothing is sent to any host but the endpoint's.

The SDKs follow redirects, and carry a key in a header that their HTTP library does not take for one; over plain http
they would go through a proxy that then reads it. They also add what other environment variables say (an organization,
headers of a gateway, another token). The provider's own hosts get that; any other gets the key that the card names, and
may answer with so many plain bytes and no more. What any host answers is looked at before an SDK reads it
(`answer_bodies`).

Not covered: what a host that was confirmed does with the key.
"""

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

from aira_bench.cards.provider_keys import is_providers_own
from aira_bench.llm.providers.answer_bodies import failure_of_body
from aira_bench.llm.providers.connections import Connections
from aira_bench.llm.providers.provider_session import Endpoint

NO_KEY = "no-key-needed"
"""The OpenAI SDK insists on a key; a server that asks for none ignores it."""
_SENT = {
    "accept", "accept-encoding", "anthropic-version", "connection", "content-length", "content-type", "host",
    "user-agent", "x-goog-api-client",
}  # fmt: skip
LARGEST_ANSWER_BYTES = 64 << 20
"""Of a host that is not the provider's own. The longest answer of a model is about 1 MB."""
_PORTS = {"http": 80, "https": 443}


def client_options(endpoint: Endpoint, connections: Connections) -> dict[str, Any]:
    """Return keyword arguments for an `httpx` client that sends to the endpoint alone; `connections` is told whatever
    it opens.
    """
    secure = endpoint.base_url.lower().startswith("https:")

    def trace(request: Any) -> None:  # noqa: ANN401
        request.extensions = {**request.extensions, "trace": connections.trace}

    hooks = {"request": [_check(endpoint), trace], "response": [_limit(endpoint), _read(endpoint)]}
    options: dict[str, Any] = {"follow_redirects": False, "event_hooks": hooks}
    if (
        not secure
    ):  # an https request passes through a proxy unread; one SDK looks for proxies whatever `trust_env` says
        options |= {"trust_env": False, "mounts": {"http://": None, "all://": None}}
    return options


def _check(endpoint: Endpoint) -> Callable[[Any], None]:
    """Return the hook that looks at each request before it is sent."""
    wanted = urlsplit(endpoint.base_url)
    target = (wanted.scheme, wanted.hostname, wanted.port or _PORTS[wanted.scheme])
    own = is_own(endpoint)
    key = endpoint.key or NO_KEY
    name, value = {"anthropic": ("x-api-key", key), "google": ("x-goog-api-key", key)}.get(
        endpoint.card.provider, ("authorization", f"Bearer {key}")
    )

    def check(request: Any) -> None:  # noqa: ANN401
        url = request.url
        if (url.scheme, url.host.lower(), url.port or _PORTS.get(url.scheme)) != target:
            raise OSError(f"a request to {url.host} was stopped: this model is at {wanted.hostname}")
        if own:
            return
        for other in list(request.headers):
            if other.lower() not in _SENT and not other.lower().startswith("x-stainless-"):
                del request.headers[other]
        request.headers[name] = value
        request.headers["accept-encoding"] = "identity"

    return check


def is_own(endpoint: Endpoint) -> bool:
    """Whether an endpoint is the host of the provider whose key goes there."""
    return is_providers_own(endpoint.card.key_variable or "", urlsplit(endpoint.base_url).hostname or "")


def _limit(endpoint: Endpoint) -> Callable[[Any], None]:
    """Return the hook that looks at each answer before its body is read."""
    own = is_own(endpoint)

    def limit(response: Any) -> None:  # noqa: ANN401
        if own:
            return
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise OSError("the answer is packed, which nobody asked for")
        response.stream = _bounded(response.stream)

    return limit


def _read(endpoint: Endpoint) -> Callable[[Any], None]:
    """Return the hook that reads a successful answer, and fails where it is none of the provider's."""

    def read(response: Any) -> None:  # noqa: ANN401
        if response.status_code != 200:
            return
        body = response.read()
        failure = failure_of_body(endpoint.card.provider, response.headers.get("content-type", ""), body)
        if failure is not None:
            raise failure

    return read


def _bounded(stream: Any) -> Any:  # noqa: ANN401
    """The stream of a body, ended by an error after `LARGEST_ANSWER_BYTES`.

    Its class must be one of the HTTP library's, which is `httpx` or `httpx2` by the SDK's version.
    """
    base = next(kind for kind in type(stream).__mro__ if kind.__name__ == "SyncByteStream")

    def pieces(self: object) -> Iterator[bytes]:
        size = 0
        for piece in stream:
            size += len(piece)
            if size > LARGEST_ANSWER_BYTES:
                raise OSError(f"the answer is longer than {LARGEST_ANSWER_BYTES >> 20} MiB")
            yield piece

    return type("BoundedStream", (base,), {"__iter__": pieces, "close": lambda self: stream.close()})()
