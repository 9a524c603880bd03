"""Chat completions as OpenAI-compatible servers speak them: vLLM, SGLang, Ollama, TGI and others.

Only fields all of them know are sent: `max_tokens`, `response_format` with a JSON schema, and `reasoning_effort`
when the card sets it. Servers cache prompt prefixes on their own.

Not covered: servers without a `json_schema` response format, and prompts that a server cuts short without saying so
(Ollama does, beyond its `num_ctx`).
"""

from typing import TYPE_CHECKING, Any

from aira_bench.llm.model import CompletionRequest, FinishReason, Usage
from aira_bench.llm.pricing import output_limit
from aira_bench.llm.providers.connections import Connections
from aira_bench.llm.providers.one_host import NO_KEY, client_options
from aira_bench.llm.providers.provider_session import (
    SCHEMA_NAME,
    Endpoint,
    ProviderAnswer,
    finish_reason_of,
    reading_body,
)
from aira_bench.llm.providers.sdk_errors import failure_of
from aira_bench.llm.schemas import closed_schema, is_strict

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion
    from openai.types.completion_usage import CompletionUsage

_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "content_filter": "content_filter",
}


class OpenAIChatSession:
    """A client of an OpenAI-compatible server for one attempt, over the `openai` SDK."""

    def __init__(self, endpoint: Endpoint) -> None:
        import openai

        self._endpoint, self._connections = endpoint, Connections()
        self._client = openai.OpenAI(
            api_key=endpoint.key or NO_KEY, base_url=endpoint.base_url, max_retries=0,
            http_client=openai.DefaultHttpxClient(**client_options(endpoint, self._connections)),
        )  # fmt: skip

    def ask(self, request: CompletionRequest, *, timeout_s: float) -> ProviderAnswer:
        """Send `request` once and return what came back."""
        import openai

        body = _body(self._endpoint, request)
        try:
            completion = self._client.chat.completions.create(**body, timeout=timeout_s)
        except Exception as error:
            raise failure_of(error, openai, self._endpoint.now()) from error
        with reading_body():
            return _read(completion)

    def close(self) -> None:
        """Drop the connection, which ends an attempt under way."""
        self._connections.cut()
        self._client.close()


def _body(endpoint: Endpoint, request: CompletionRequest) -> dict[str, Any]:
    card, sampling = endpoint.card, endpoint.sampling(request)
    messages = [{"role": message.role, "content": message.text} for message in request.messages]
    if request.system:
        messages.insert(0, {"role": "system", "content": request.system})
    body: dict[str, Any] = {"model": card.model, "messages": messages, "max_tokens": output_limit(card, request)}
    if card.reasoning.effort is not None:
        body["reasoning_effort"] = card.reasoning.effort
    if sampling.temperature is not None:
        body["temperature"] = sampling.temperature
    if sampling.top_p is not None:
        body["top_p"] = sampling.top_p
    if request.schema is not None:
        schema = closed_schema(request.schema)
        wanted = {"name": SCHEMA_NAME, "schema": schema, "strict": is_strict(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": wanted}
    return body


def _read(completion: "ChatCompletion") -> ProviderAnswer:
    choice = completion.choices[0]
    refused = bool(choice.message.refusal)
    return ProviderAnswer(
        text=choice.message.content or "",
        finish_reason="content_filter" if refused else finish_reason_of(choice.finish_reason, _FINISH),
        model_id=completion.model,
        usage=_usage(completion.usage),
        request_id=completion._request_id or completion.id,
    )


def _usage(usage: "CompletionUsage | None") -> Usage:
    if usage is None:
        return Usage()
    prompt, answer = usage.prompt_tokens_details, usage.completion_tokens_details
    return Usage(
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cached_tokens=prompt.cached_tokens if prompt else None,
        reasoning_tokens=answer.reasoning_tokens if answer else None,
    )
