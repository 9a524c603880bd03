"""A `Model` over a provider: one deadline for the whole call, repeated attempts, the shared gate, and the price.

An attempt runs in a thread of its own, because the time-outs of HTTP clients bound one read and not an answer that
drips in for ever; when an attempt overruns, its session is closed under it.
"""

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import tenacity

from aira_bench.errors import ModelError
from aira_bench.llm.failures import ProviderFailure
from aira_bench.llm.limiter import AdaptiveLimiter, GateTimeout
from aira_bench.llm.model import Completion, CompletionRequest, Usage
from aira_bench.llm.pricing import call_cost_usd
from aira_bench.llm.providers.provider_session import Endpoint, ProviderAnswer, ProviderSession, Structured
from aira_bench.llm.providers.reading import cut_text
from aira_bench.llm.schemas import parse_object
from aira_bench.world import World

_PLAINER: Mapping[Structured, Structured] = {"json_schema": "json_object", "json_object": "text"}


@dataclass(frozen=True)
class RetryPolicy:
    """When and how often a call is repeated: exponential back-off with full jitter."""

    max_failures: int = 10
    """Passing failures after which a call is given up. Rate limits do not count; only the deadline ends those."""
    base_s: float = 1.0
    cap_s: float = 60.0
    attempt_timeout_s: float = 900.0
    """After this long an attempt is given up and repeated, if the call's deadline allows."""


@dataclass
class _Course:
    """How the attempts of one call went so far."""

    deadline_at_s: float
    failures: int = 0


class ProviderModel:
    """Calls the model of one card, again where an attempt failed for a passing reason. Thread-safe if `sleep` is."""

    def __init__(
        self,
        endpoint: Endpoint,
        open_session: Callable[[Endpoint], ProviderSession],
        *,
        limiter: AdaptiveLimiter,
        world: World,
        rng: random.Random,
        sleep: Callable[[float], None],
        policy: RetryPolicy,
    ) -> None:
        self._endpoint = endpoint
        self._open_session = open_session
        self._limiter = limiter
        self._world = world
        self._rng = rng
        self._sleep = sleep
        self._policy = policy

    @property
    def name(self) -> str:
        """The name on the model's card."""
        return self._endpoint.card.name

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Answer `request` within `deadline_s` seconds, repeating attempts that failed for a passing reason.

        Raises:
            ModelError: the provider refused for good, or attempts or time ran out.
        """
        started_s = self._world.monotonic_s()
        course = _Course(started_s + deadline_s)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_passing),
            wait=self._wait_s,
            stop=lambda state: self._is_over(state, course),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            answer = retrying(self._attempt, request, course)
        except ProviderFailure as failure:
            if failure.finish_reason is None:
                raise self._error(failure, self._attempts(retrying), started_s) from failure
            answer = ProviderAnswer("", failure.finish_reason, self._endpoint.card.model, Usage(), failure.request_id)
        except GateTimeout as error:
            message = f"{self._who()} stayed behind its rate limit for all of {deadline_s:.0f} s."
            raise ModelError(message, hint="resume the run with a lower --concurrency") from error
        return self._completion(request, answer, self._attempts(retrying), started_s)

    def _attempt(self, request: CompletionRequest, course: _Course) -> ProviderAnswer:
        with self._limiter.place(course.deadline_at_s):
            try:
                answer = self._answer(request, course)
            except ProviderFailure as failure:
                if failure.kind == "rate_limited":
                    self._limiter.rate_limited(failure.retry_after_s)
                else:
                    course.failures += 1
                raise
        self._limiter.succeeded()
        return answer

    def _answer(self, request: CompletionRequest, course: _Course) -> ProviderAnswer:
        """Ask once; where a wish for structured output is refused, at once again with a plainer one. What the server
        took is remembered, for all calls of the run.
        """
        endpoint = self._endpoint
        while True:
            left_s = course.deadline_at_s - self._world.monotonic_s()
            try:
                answer = self._timed_attempt(endpoint, request, min(left_s, self._policy.attempt_timeout_s))
            except ProviderFailure as failure:
                plainer = _PLAINER.get(endpoint.structured) if request.schema is not None else None
                if plainer is None or not failure.may_mean_structure:
                    raise
                endpoint = replace(endpoint, structured=plainer)
            else:
                self._endpoint = endpoint
                return answer

    def _timed_attempt(self, endpoint: Endpoint, request: CompletionRequest, timeout_s: float) -> ProviderAnswer:
        outcome: list[ProviderAnswer | BaseException] = []
        session = self._open_session(endpoint)

        def ask() -> None:
            try:
                outcome.append(session.ask(request, timeout_s=max(timeout_s, 0.001)))
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=ask, name=f"llm-{self.name}", daemon=True)
        try:
            thread.start()
            thread.join(max(timeout_s, 0.0))
        finally:
            session.close()
        if not outcome:
            raise ProviderFailure("transient", f"no complete answer within {timeout_s:.1f} s")
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]

    def _wait_s(self, state: tenacity.RetryCallState) -> float:
        policy = self._policy
        ceiling_s = min(policy.cap_s, policy.base_s * 2.0 ** (state.attempt_number - 1))
        jittered_s = self._rng.uniform(0.0, ceiling_s)
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, ProviderFailure) else None
        # Jitter is added to a Retry-After, so that seeds told the same moment do not come back as one.
        return jittered_s if asked_s is None else asked_s + min(jittered_s, policy.base_s)

    def _is_over(self, state: tenacity.RetryCallState, course: _Course) -> bool:
        if course.failures >= self._policy.max_failures:
            return True
        return self._world.monotonic_s() + state.upcoming_sleep >= course.deadline_at_s

    def _attempts(self, retrying: tenacity.Retrying) -> int:
        return int(retrying.statistics.get("attempt_number", 1))

    def _completion(
        self, request: CompletionRequest, answer: ProviderAnswer, attempts: int, started_s: float
    ) -> Completion:
        text, end = cut_text(self._redact(answer.text), answer.finish_reason)
        return Completion(
            text=text,
            finish_reason=end,
            model_id=self._redact(answer.model_id),
            structured=None if request.schema is None else parse_object(text),
            usage=answer.usage,
            cost_usd=call_cost_usd(self._endpoint.card.prices, answer.usage),
            latency_s=self._world.monotonic_s() - started_s,
            request_id=self._redact(answer.request_id) if answer.request_id else None,
            attempts=attempts,
        )

    def _error(self, failure: ProviderFailure, attempts: int, started_s: float) -> ModelError:
        card, said = self._endpoint.card, self._redact(failure.message)
        if failure.kind != "refused":
            spent_s = self._world.monotonic_s() - started_s
            return ModelError(
                f"{self._who()} gave no answer in {attempts} attempts and {spent_s:.0f} s; the last one: {said}.",
                hint="aira-bench doctor, then aira-bench resume RUN",
            )
        reason, hint = {
            "key": (f"rejected the key in {card.key_variable}", f"export {card.key_variable}=..."),
            "permission": (
                f"does not let the key in {card.key_variable} use {card.model!r}",
                f"export {card.key_variable}=... with a key that may",
            ),
            "billing": (f"bills no more calls to the key in {card.key_variable}", "top up the account, then resume"),
            "model": (f"does not know {card.model!r}, the card's field 'model'", "aira-bench agents"),
            "address": (
                "redirects elsewhere, and no key follows a redirect",
                f"export {card.url_override_variable}=... with the final address",
            ),
            "request": ("rejected the request; see the card's [sampling] and [reasoning]", "aira-bench agents"),
        }[failure.culprit]
        return ModelError(f"{self._who()} {reason} ({said}).", hint=hint)

    def _who(self) -> str:
        return f"The model of agent {self.name!r} at {self._endpoint.base_url}"

    def _redact(self, text: str) -> str:
        key = self._endpoint.key
        return text.replace(key, "[key removed]") if key else text


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, ProviderFailure) and error.kind in ("transient", "rate_limited")
