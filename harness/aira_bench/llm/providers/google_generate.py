"""Google's generateContent API (Gemini).

Prompt caching is implicit there and shows in the token counts. Thinking tokens are counted apart from the answer's
by the provider and billed as output; here they are part of the output.

Not covered: Vertex AI, which signs in without an API key.
"""

import re
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aira_bench.llm.failures import (
    LONGEST_ASKED_S,
    ProviderFailure,
    failure_of_connection,
    failure_of_status,
    parse_retry_after,
    shorten,
)
from aira_bench.llm.model import CompletionRequest, FinishReason, Usage
from aira_bench.llm.pricing import output_limit
from aira_bench.llm.providers.connections import Connections
from aira_bench.llm.providers.one_host import client_options
from aira_bench.llm.providers.provider_session import Endpoint, ProviderAnswer, reading_body
from aira_bench.llm.providers.reading import read_end, read_name, read_reasoning, read_text, read_usage, sum_counts
from aira_bench.llm.schemas import closed_schema

if TYPE_CHECKING:
    from google.genai import types
    from google.genai.errors import APIError

_API_VERSION = "v1beta"


class GoogleSession:
    """A client of Google's generateContent API for one attempt, over the `google-genai` SDK."""

    def __init__(self, endpoint: Endpoint) -> None:
        from google import genai
        from google.genai import types

        self._endpoint, self._connections = endpoint, Connections()
        self._client = genai.Client(
            api_key=endpoint.key,
            vertexai=False,
            http_options=types.HttpOptions(
                base_url=endpoint.base_url,
                api_version=_API_VERSION,
                retry_options=types.HttpRetryOptions(attempts=1),
                client_args=client_options(endpoint, self._connections),
            ),
        )

    def ask(self, request: CompletionRequest, *, timeout_s: float) -> ProviderAnswer:
        """Send `request` once and return what came back."""
        from google.genai import errors, types

        contents = [
            types.Content(
                role="model" if message.role == "assistant" else "user", parts=[types.Part(text=message.text)]
            )
            for message in self._endpoint.asked(request).messages
        ]
        config = types.GenerateContentConfig(
            **_settings(self._endpoint, request),
            http_options=types.HttpOptions(timeout=max(1, int(timeout_s * 1000))),
        )
        try:
            response = self._client.models.generate_content(
                model=self._endpoint.card.model, contents=list(contents), config=config
            )
        except errors.APIError as error:
            raise _failure_of_status(error, self._endpoint.now()) from error
        except Exception as error:
            raise _failure_without_status(error) from error
        with reading_body():
            return _read(response, self._endpoint.card.model)

    def close(self) -> None:
        """Drop the connection, which ends an attempt under way."""
        self._connections.cut()
        self._client.close()


def _settings(endpoint: Endpoint, request: CompletionRequest) -> dict[str, Any]:
    from google.genai import types

    card, sampling = endpoint.card, endpoint.sampling(request)
    settings: dict[str, Any] = {
        "system_instruction": request.system or None,
        "max_output_tokens": output_limit(card, request),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
    }
    thinking: dict[str, Any] = {}
    if card.reasoning.effort is not None:
        thinking["thinking_level"] = card.reasoning.effort
    if card.reasoning.budget_tokens is not None:
        thinking["thinking_budget"] = card.reasoning.budget_tokens
    if thinking:
        settings["thinking_config"] = types.ThinkingConfig(**thinking)
    if request.schema is not None and endpoint.structured != "text":
        settings["response_mime_type"] = "application/json"
    if request.schema is not None and endpoint.structured == "json_schema":
        settings["response_json_schema"] = closed_schema(request.schema)
    return settings


def _read(response: "types.GenerateContentResponse", asked_model: str) -> ProviderAnswer:
    feedback = response.prompt_feedback
    finish: FinishReason
    if feedback is not None and feedback.block_reason is not None:
        text, reasoning, finish = "", None, "content_filter"
    elif not response.candidates:
        raise ProviderFailure("transient", "the answer has no candidates", request_id=response.response_id)
    else:
        candidate = response.candidates[0]
        parts = (candidate.content.parts if candidate.content else None) or []
        text = read_text([part.text for part in parts if part.text and not part.thought])
        reasoning = read_reasoning([part.text for part in parts if part.thought])
        finish = read_end(candidate.finish_reason.value if candidate.finish_reason else None, text)
    return ProviderAnswer(
        text=text,
        finish_reason=finish,
        model_id=read_name(response.model_version) or asked_model,
        usage=_usage(response.usage_metadata),
        request_id=read_name(response.response_id),
        reasoning=reasoning,
    )


def _usage(usage: "types.GenerateContentResponseUsageMetadata | None") -> Usage:
    if usage is None:
        return Usage()
    said, thought = usage.candidates_token_count, usage.thoughts_token_count
    return read_usage(
        prompt=usage.prompt_token_count,
        answer=None if said is None and thought is None else sum_counts(said, thought),
        cached=usage.cached_content_token_count,
        reasoning=thought,
    )


def _failure_of_status(error: "APIError", now: datetime) -> ProviderFailure:
    headers = getattr(error.response, "headers", {})
    asked_s = parse_retry_after(headers, now)
    if asked_s is None:
        asked_s = _retry_delay_s(error.details)
    return failure_of_status(error.code, str(error), retry_after_s=asked_s)


def _retry_delay_s(details: object) -> float | None:
    """The wait in a `google.rpc.RetryInfo`, which stands in for a `Retry-After` header."""
    error = details.get("error") if isinstance(details, dict) else None
    entries = error.get("details") if isinstance(error, dict) else None
    for entry in entries if isinstance(entries, list) else ():
        delay = entry.get("retryDelay") if isinstance(entry, dict) else None
        if isinstance(delay, str) and re.fullmatch(r"[0-9]+(\.[0-9]{1,9})?s", delay):
            return min(float(delay[:-1]), LONGEST_ASKED_S)
    return None


def _failure_without_status(error: Exception) -> ProviderFailure:
    """Classify what is no HTTP error.

    The SDK lets errors of its HTTP library through, which is `httpx` or `httpx2` by its version.
    """
    if isinstance(error, ProviderFailure):
        return error
    families = {(base.__module__.partition(".")[0], base.__name__) for base in type(error).__mro__}
    if families & {("httpx", "TransportError"), ("httpx2", "TransportError")} or isinstance(error, OSError):
        return failure_of_connection(error)
    unreadable = isinstance(error, (ValueError, RecursionError))
    if unreadable or type(error).__name__ == "UnknownApiResponseError":
        return ProviderFailure("transient", f"the answer's body is malformed: {shorten(str(error))}")
    raise error
