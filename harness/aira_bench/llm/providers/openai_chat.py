"""Chat completions as OpenAI-compatible servers speak them: vLLM, SGLang, Ollama, TGI and others.

Only fields all of them know are sent: `max_tokens`, `response_format` with as much as the server takes, and
`reasoning_effort` when the card sets it. Servers cache prompt prefixes on their own.

Not covered: prompts that a server cuts short without saying so (Ollama does, beyond its `num_ctx`).
"""

from typing import TYPE_CHECKING, Any

from aira_bench.llm.model import CompletionRequest, Usage
from aira_bench.llm.pricing import output_limit
from aira_bench.llm.providers.connections import Connections
from aira_bench.llm.providers.one_host import NO_KEY, client_options
from aira_bench.llm.providers.provider_session import (
    SCHEMA_NAME,
    Endpoint,
    ProviderAnswer,
    reading_body,
)
from aira_bench.llm.providers.reading import (
    field_of,
    is_refusal,
    read_end,
    read_name,
    read_reasoning,
    read_text,
    read_usage,
    reasoning_parts,
)
from aira_bench.llm.providers.sdk_errors import failure_of
from aira_bench.llm.schemas import closed_schema, is_strict

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion


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
            return _read(completion, self._endpoint.card.model)

    def close(self) -> None:
        """Drop the connection, which ends an attempt under way."""
        self._connections.cut()
        self._client.close()


def _body(endpoint: Endpoint, request: CompletionRequest) -> dict[str, Any]:
    card, sampling, wants_json = endpoint.card, endpoint.sampling(request), request.schema is not None
    request = endpoint.asked(request)
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
    elif wants_json and endpoint.structured == "json_object":
        body["response_format"] = {"type": "json_object"}
    return body


def _read(completion: "ChatCompletion", asked_model: str) -> ProviderAnswer:
    choice = completion.choices[0]
    content = field_of(choice, "message", "content")
    text = read_text(field_of(choice, "text") if content is None else content)
    refused = bool(field_of(choice, "message", "refusal")) or is_refusal(content)
    return ProviderAnswer(
        text=text,
        finish_reason="content_filter" if refused else read_end(choice.finish_reason, text),
        model_id=read_name(completion.model) or asked_model,
        usage=_usage(completion.usage),
        request_id=read_name(completion._request_id) or read_name(completion.id),
        reasoning=_reasoning(choice, content),
    )


def _reasoning(choice: object, content: object) -> str | None:
    """What servers say beside the content, each under a name of its own; some say the same under two."""
    beside = [field_of(choice, "message", name) for name in ("reasoning_content", "reasoning")]
    told = [read_reasoning(each) for each in (*beside, reasoning_parts(content))]
    return next((each for each in told if each), None)


def _usage(usage: object) -> Usage:
    return read_usage(
        prompt=field_of(usage, "prompt_tokens"),
        answer=field_of(usage, "completion_tokens"),
        cached=field_of(usage, "prompt_tokens_details", "cached_tokens"),
        reasoning=field_of(usage, "completion_tokens_details", "reasoning_tokens"),
    )
