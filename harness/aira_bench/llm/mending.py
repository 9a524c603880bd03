"""What a user is told of a call that failed for good: whose doing it is, and what to type.

Not covered: failures that pass, which are waited for (`provider_model`).
"""

import os
import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from aira_bench.errors import ModelError
from aira_bench.llm.environment import proxy_of, read_by_clients
from aira_bench.llm.failures import Culprit, ProviderFailure
from aira_bench.llm.providers.provider_session import Endpoint

Told = tuple[str, str]
"""What is wrong, as the rest of a sentence that begins with the model; and the next command."""
_VERSIONED = re.compile(r"/v[0-9]+[a-z0-9]*/?$")
_DOCTOR = "aira-bench doctor"


def model_error(endpoint: Endpoint, failure: ProviderFailure, attempts: int, spent_s: float) -> ModelError:
    """Return the error of a call that was given up.

    Args:
        endpoint: where it went.
        failure: of the last attempt.
        attempts: how many there were.
        spent_s: in how many seconds.
    """
    who = f"The model of agent {endpoint.card.name!r} at {endpoint.base_url}"
    said = endpoint.redact(failure.message).rstrip(".")
    if _asks_where_no_version_is(endpoint, failure):
        reason, hint = _no_version(endpoint)
        return ModelError(f"{who} {reason} ({said}).", hint=hint)
    if failure.kind != "refused":
        proxy = proxy_of(endpoint.base_url, os.environ) if "connection failed" in said else None
        by = f" (through the proxy that {proxy} names)" if proxy else ""
        asked = f"; it asks for a wait of {failure.retry_after_s:.0f} s" if failure.retry_after_s else ""
        message = f"{who} gave no answer in {attempts} attempts and {spent_s:.0f} s; the last one: {said}{by}{asked}."
        return ModelError(message, hint=f"unset {proxy}, or {_DOCTOR}" if proxy else _DOCTOR)
    reason, hint = _TOLD[failure.culprit](endpoint)
    return ModelError(f"{who} {reason} ({said}).", hint=hint)


def _asks_where_no_version_is(endpoint: Endpoint, failure: ProviderFailure) -> bool:
    """Whether the address lacks the `/v1` that OpenAI's clients expect in it, and the failure looks like that."""
    lacks = endpoint.card.provider.startswith("openai") and not _VERSIONED.search(urlsplit(endpoint.base_url).path)
    return lacks and (failure.culprit in ("path", "model") or "HTTP 404" in failure.message)


def _no_version(endpoint: Endpoint) -> Told:
    url = endpoint.base_url.rstrip("/")
    return "answers no calls there; addresses of such servers end in /v1", f"export {_url_variable(endpoint)}={url}/v1"


def _url_variable(endpoint: Endpoint) -> str:
    return endpoint.card.url_override_variable


def _key(endpoint: Endpoint) -> Told:
    variable = endpoint.card.own_key_variable
    if endpoint.key is None:
        return "asks for a key, and none is set", f"export {variable}=..."
    return f"rejected the key in {variable}", f"export {variable}=..."


def _permission(endpoint: Endpoint) -> Told:
    variable, model = endpoint.card.own_key_variable, endpoint.card.model
    if endpoint.key is None:
        return f"lets nobody use {model!r} without a key", f"export {variable}=..."
    return f"does not let the key in {variable} use {model!r}", f"export {variable}=... with a key that may"


def _billing(endpoint: Endpoint) -> Told:
    return f"bills no more calls to the key in {endpoint.card.own_key_variable}", "top up the account, then resume"


def _model(endpoint: Endpoint) -> Told:
    listed = f"curl {endpoint.base_url.rstrip('/')}/models, or " if endpoint.key is None else ""
    return f"does not know {endpoint.card.model!r}, the card's field 'model'", f"{listed}aira-bench agents"


def _address(endpoint: Endpoint) -> Told:
    return (
        "redirects elsewhere, and no key follows a redirect",
        f"export {_url_variable(endpoint)}=... with the final address",
    )


def _path(endpoint: Endpoint) -> Told:
    return "answers no calls at this address", f"export {_url_variable(endpoint)}=... with the address of its API"


def _certificate(endpoint: Endpoint) -> Told:
    return (
        "shows a certificate that no known authority vouches for",
        "export SSL_CERT_FILE=... with a file of the authorities to trust",
    )


def _organization(endpoint: Endpoint) -> Told:
    names = [name for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID") if os.environ.get(name)]
    if not names:
        return _permission(endpoint)
    return f"does not accept what {' or '.join(names)} names for this key", f"unset {' '.join(names)}"


def _environment(endpoint: Endpoint) -> Told:
    names = read_by_clients(endpoint.card.provider, os.environ)
    looked_at = ", ".join(names) or "none that is known here"
    return f"cannot be called: its client fails on an environment variable (set: {looked_at})", "unset " + " ".join(
        names
    )


def _request(endpoint: Endpoint) -> Told:
    return "rejected the request; see the card's [sampling] and [reasoning]", "aira-bench agents"


_TOLD: Mapping[Culprit, Callable[[Endpoint], Told]] = {
    "key": _key,
    "permission": _permission,
    "billing": _billing,
    "model": _model,
    "address": _address,
    "path": _path,
    "certificate": _certificate,
    "organization": _organization,
    "environment": _environment,
    "request": _request,
}
