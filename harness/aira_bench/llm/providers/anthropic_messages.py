"""Anthropic's Messages API.

The system prompt is marked for the prompt cache, since all calls of an operator share it. Structured output is the
API's own output format. Not covered: streaming; an attempt is held open until the whole answer is there.
"""

from typing import TYPE_CHECKING, Any

from aira_bench.llm.model import CompletionRequest, Usage
from aira_bench.llm.pricing import output_limit
from aira_bench.llm.providers.connections import Connections
from aira_bench.llm.providers.one_host import client_options
from aira_bench.llm.providers.provider_session import Endpoint, ProviderAnswer, reading_body
from aira_bench.llm.providers.reading import (
    field_of,
    read_end,
    read_name,
    read_reasoning,
    read_text,
    read_usage,
    sum_counts,
)
from aira_bench.llm.providers.sdk_errors import failure_of
from aira_bench.llm.schemas import closed_schema

if TYPE_CHECKING:
    import anthropic


class AnthropicSession:
    """A client of Anthropic's Messages API for one attempt, over the `anthropic` SDK."""

    def __init__(self, endpoint: Endpoint) -> None:
        import anthropic

        self._endpoint, self._connections = endpoint, Connections()
        self._client: anthropic.Anthropic = anthropic.Anthropic(
            api_key=endpoint.key, base_url=endpoint.base_url, max_retries=0,
            http_client=anthropic.DefaultHttpxClient(**client_options(endpoint, self._connections)),
        )  # fmt: skip

    def ask(self, request: CompletionRequest, *, timeout_s: float) -> ProviderAnswer:
        """Send `request` once and return what came back."""
        import anthropic

        body = _body(self._endpoint, request)
        try:
            message = self._client.messages.create(**body, timeout=timeout_s)
        except Exception as error:
            raise failure_of(error, anthropic, self._endpoint.now()) from error
        with reading_body():
            return _read(message, self._endpoint.card.model)

    def close(self) -> None:
        """Drop the connection, which ends an attempt under way."""
        self._connections.cut()
        self._client.close()


def _body(endpoint: Endpoint, request: CompletionRequest) -> dict[str, Any]:
    card, request = endpoint.card, endpoint.asked(request)
    body: dict[str, Any] = {
        "model": card.model,
        "max_tokens": output_limit(card, request),
        "messages": [{"role": message.role, "content": message.text} for message in request.messages],
    }
    if request.system:
        body["system"] = [{"type": "text", "text": request.system, "cache_control": {"type": "ephemeral"}}]
    sampling = endpoint.sampling(request)
    chosen = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    # Newer SDKs have no such parameters, because newer models take none; the API still has both.
    body["extra_body"] = {name: value for name, value in chosen.items() if value is not None}
    if card.reasoning.adaptive:
        body["thinking"] = {"type": "adaptive"}
    elif card.reasoning.budget_tokens is not None:
        body["thinking"] = {"type": "enabled", "budget_tokens": card.reasoning.budget_tokens}
    output: dict[str, Any] = {}
    if card.reasoning.effort is not None:
        output["effort"] = card.reasoning.effort
    if request.schema is not None:
        output["format"] = {"type": "json_schema", "schema": closed_schema(request.schema)}
    if output:
        body["output_config"] = output
    return body


def _read(message: "anthropic.types.Message", asked_model: str) -> ProviderAnswer:
    text = read_text([block.text for block in message.content if block.type == "text"])
    return ProviderAnswer(
        text=text,
        finish_reason=read_end(message.stop_reason, text),
        model_id=read_name(message.model) or asked_model,
        usage=_usage(message.usage),
        request_id=read_name(message._request_id),
        reasoning=read_reasoning(*(field_of(block, "thinking") for block in message.content)),
    )


def _usage(usage: object) -> Usage:
    counted, read, written = (
        field_of(usage, name) for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    )
    return read_usage(
        prompt=None if counted is None else sum_counts(counted, read, written),
        answer=field_of(usage, "output_tokens"),
        cached=read,
        reasoning=field_of(usage, "output_tokens_details", "thinking_tokens"),
        written=written,
    )
