"""OpenAI's Responses API.

Answers are not stored at the provider. Prompt caching is automatic there; calls that share a system prompt name a
common cache key, so that they meet the same cache.
"""

import hashlib
from typing import TYPE_CHECKING, Any

from aira_bench.llm.failures import ProviderFailure
from aira_bench.llm.model import CompletionRequest, FinishReason, Usage
from aira_bench.llm.pricing import output_limit
from aira_bench.llm.providers.connections import Connections
from aira_bench.llm.providers.one_host import client_options
from aira_bench.llm.providers.provider_session import (
    SCHEMA_NAME,
    Endpoint,
    ProviderAnswer,
    reading_body,
)
from aira_bench.llm.providers.reading import field_of, read_end, read_name, read_reasoning, read_text, read_usage
from aira_bench.llm.providers.sdk_errors import failure_of
from aira_bench.llm.schemas import closed_schema, is_strict

if TYPE_CHECKING:
    from openai.types.responses import Response, ResponseOutputRefusal, ResponseOutputText

_FAILED_BY_FILTER = ("invalid_prompt", "policy", "content_filter")


class OpenAIResponsesSession:
    """A client of OpenAI's Responses API for one attempt, over the `openai` SDK."""

    def __init__(self, endpoint: Endpoint) -> None:
        import openai

        self._endpoint, self._connections = endpoint, Connections()
        self._client = openai.OpenAI(
            api_key=endpoint.key, base_url=endpoint.base_url, max_retries=0,
            http_client=openai.DefaultHttpxClient(**client_options(endpoint, self._connections)),
        )  # fmt: skip

    def ask(self, request: CompletionRequest, *, timeout_s: float) -> ProviderAnswer:
        """Send `request` once and return what came back."""
        import openai

        body = _body(self._endpoint, request)
        try:
            response = self._client.responses.create(**body, timeout=timeout_s)
        except Exception as error:
            raise failure_of(error, openai, self._endpoint.now()) from error
        with reading_body():
            return _read(response, self._endpoint.card.model)

    def close(self) -> None:
        """Drop the connection, which ends an attempt under way."""
        self._connections.cut()
        self._client.close()


def _body(endpoint: Endpoint, request: CompletionRequest) -> dict[str, Any]:
    card, sampling, wants_json = endpoint.card, endpoint.sampling(request), request.schema is not None
    request = endpoint.asked(request)
    body: dict[str, Any] = {
        "model": card.model,
        "input": [{"role": message.role, "content": message.text} for message in request.messages],
        "max_output_tokens": output_limit(card, request),
        "store": False,
    }
    if request.system:
        body["instructions"] = request.system
        body["prompt_cache_key"] = hashlib.sha256(request.system.encode()).hexdigest()[:32]
    if card.reasoning.effort is not None:
        body["reasoning"] = {"effort": card.reasoning.effort}
    if sampling.temperature is not None:
        body["temperature"] = sampling.temperature
    if sampling.top_p is not None:
        body["top_p"] = sampling.top_p
    if request.schema is not None:
        schema = closed_schema(request.schema)
        wanted = {"type": "json_schema", "name": SCHEMA_NAME, "schema": schema, "strict": is_strict(schema)}
        body["text"] = {"format": wanted}
    elif wants_json and endpoint.structured == "json_object":
        body["text"] = {"format": {"type": "json_object"}}
    return body


def _read(response: "Response", asked_model: str) -> ProviderAnswer:
    if response.status == "failed":
        raise _failure_inside(response)
    text = read_text([part.text for part in _contents(response) if part.type == "output_text"])
    return ProviderAnswer(
        text=text,
        finish_reason=_finish(response, text),
        model_id=read_name(response.model) or asked_model,
        usage=_usage(response.usage),
        request_id=read_name(response._request_id) or read_name(response.id),
        reasoning=read_reasoning(*(_reasoning(item) for item in response.output if item.type == "reasoning")),
    )


def _reasoning(item: object) -> str | None:
    """The summary of a reasoning item, or where a server gives the reasoning itself, that."""
    texts = [
        read_reasoning([field_of(part, "text") for part in _listed(item, name)]) for name in ("content", "summary")
    ]
    return next((text for text in texts if text), None)


def _listed(item: object, name: str) -> list[object]:
    found = field_of(item, name)
    return found if isinstance(found, list) else []


def _usage(usage: object) -> Usage:
    return read_usage(
        prompt=field_of(usage, "input_tokens"),
        answer=field_of(usage, "output_tokens"),
        cached=field_of(usage, "input_tokens_details", "cached_tokens"),
        reasoning=field_of(usage, "output_tokens_details", "reasoning_tokens"),
    )


def _contents(response: "Response") -> "list[ResponseOutputText | ResponseOutputRefusal]":
    return [part for item in response.output if item.type == "message" for part in item.content]


def _finish(response: "Response", text: str) -> FinishReason:
    if response.status == "incomplete":
        details = response.incomplete_details
        return read_end(details.reason if details else None, text)
    if any(part.type == "refusal" for part in _contents(response)):
        return "content_filter"
    return read_end(response.status, text)


def _failure_inside(response: "Response") -> ProviderFailure:
    """Return the failure that the body of a successful HTTP answer reports."""
    error = response.error
    code: str = error.code if error else "unknown"
    message = f"{code}: {error.message if error else 'no reason given'}"
    if code == "rate_limit_exceeded":
        return ProviderFailure("rate_limited", message, request_id=response._request_id)
    if any(word in code for word in _FAILED_BY_FILTER):
        return ProviderFailure("unanswerable", message, finish_reason="content_filter", request_id=response._request_id)
    return ProviderFailure("transient", message, request_id=response._request_id)
