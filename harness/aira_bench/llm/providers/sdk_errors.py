"""Errors of the Anthropic and OpenAI SDKs, which are generated from one template and fail alike."""

from datetime import datetime
from types import ModuleType

from aira_bench.llm.failures import (
    ProviderFailure,
    failure_of_connection,
    failure_of_status,
    parse_retry_after,
    shorten,
)


def failure_of(error: Exception, sdk: ModuleType, now: datetime) -> ProviderFailure:
    """Classify an exception raised by a call of `sdk` (`anthropic` or `openai`).

    Raises:
        Exception: `error` itself, when it is none of the SDK's and no unreadable body: a defect of ours.
    """
    if isinstance(error, sdk.APIStatusError):
        return failure_of_status(
            error.status_code,
            f"{error} {getattr(error, 'code', None) or ''}".rstrip(),
            retry_after_s=parse_retry_after(error.response.headers, now),
            request_id=error.request_id,
        )
    if isinstance(error, sdk.APITimeoutError):
        return ProviderFailure("transient", "the connection timed out")
    if isinstance(error, (sdk.APIConnectionError, OSError, ProviderFailure)):
        return failure_of_connection(error)
    if isinstance(error, (sdk.APIError, ValueError, RecursionError)):
        return ProviderFailure("transient", f"the answer's body is malformed: {shorten(str(error))}")
    raise error
