"""A `Model` over a provider: one deadline for the whole call, repeated attempts, the shared gate, and the price.

An attempt runs in a thread of its own, because the time-outs of HTTP clients bound one read and not an answer that
drips in for ever; when an attempt overruns, or its run is stopped, its session is closed under it. Whatever is waited
for between attempts goes through `aira_bench.waiting`: it is said, counted apart, and ended by the run's stop.
"""

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

import tenacity

from aira_bench.errors import ModelError
from aira_bench.llm.failures import ProviderFailure, shorten
from aira_bench.llm.limiter import AdaptiveLimiter, GateTimeout
from aira_bench.llm.mending import model_error
from aira_bench.llm.model import Completion, CompletionRequest, Model, Usage
from aira_bench.llm.pricing import call_cost_usd
from aira_bench.llm.providers.provider_session import Endpoint, ProviderAnswer, ProviderSession, Structured
from aira_bench.llm.providers.reading import cut_reasoning, cut_text
from aira_bench.llm.schemas import parse_object
from aira_bench.waiting import TICK_S, Waits
from aira_bench.world import World

_SAID_CHARS = 120
"""Of a failure, in the line that says when the next attempt is."""
_PLAINER: Mapping[Structured, Structured] = {"json_schema": "json_object", "json_object": "text"}


@dataclass(frozen=True)
class RetryPolicy:
    """When and how often a call is repeated: exponential back-off with full jitter."""

    max_failures: int = 10
    """Passing failures after which a call is given up. Rate limits do not count; only time ends those."""
    base_s: float = 1.0
    cap_s: float = 60.0
    attempt_timeout_s: float = 900.0
    """After this long an attempt is given up and repeated, if the call's deadline allows."""
    patience_s: float = 3600.0
    """The longest that one call waits for the provider, all its pauses together; they are none of its deadline."""


@dataclass
class _Course:
    """How the attempts of one call went so far."""

    waits: Waits
    policy: RetryPolicy
    deadline_s: float
    """On the clock of `waits`, which stands still in pauses."""
    patience_ends_s: float
    """Of pauses, in seconds that `waits` counts for the provider."""
    failures: int = 0
    attempts: int = 0

    @property
    def left_s(self) -> float:
        return self.deadline_s - self.waits()

    @property
    def patience_s(self) -> float:
        return self.patience_ends_s - _paused_s(self.waits)

    def is_over(self, state: tenacity.RetryCallState) -> bool:
        """Whether the call is given up, after a failure that would pass."""
        if self.failures >= self.policy.max_failures or self.left_s <= 0:
            return True
        return state.upcoming_sleep >= self.patience_s


class WaitingModel(Protocol):
    """A model whose calls can be made part of one piece of work, with its stop and its pauses."""

    def within(self, waits: Waits, policy: RetryPolicy | None = None) -> Model:
        """Return the model for that piece of work; `policy` replaces its own."""
        ...


class ProviderModel:
    """Calls the model of one card, again where an attempt failed for a passing reason. Thread-safe."""

    def __init__(
        self,
        endpoint: Endpoint,
        open_session: Callable[[Endpoint], ProviderSession],
        *,
        limiter: AdaptiveLimiter,
        world: World,
        rng: random.Random,
        policy: RetryPolicy,
    ) -> None:
        self._endpoint = endpoint
        self._open_session = open_session
        self._limiter = limiter
        self._world = world
        self._rng = rng
        self._policy = policy

    @property
    def name(self) -> str:
        """The name on the model's card."""
        return self._endpoint.card.name

    def within(self, waits: Waits, policy: RetryPolicy | None = None) -> Model:
        """Return this model for one piece of work, whose stop its calls listen to and whose pauses they count among."""
        return _Bound(self, waits, policy or self._policy)

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        """Answer `request` within `deadline_s` seconds, repeating attempts that failed for a passing reason.

        Raises:
            ModelError: the provider refused for good, or attempts, time or patience ran out.
            Stopped: the run was stopped meanwhile.
        """
        waits = Waits(clock=self._world.monotonic_s)
        return self.answer(request, deadline_s, waits, self._policy)

    def answer(self, request: CompletionRequest, deadline_s: float, waits: Waits, policy: RetryPolicy) -> Completion:
        """Answer a request as `complete` does, on a clock of work and by a policy of its own."""
        started_s, asked_at = self._world.monotonic_s(), self._world.now().isoformat()
        course = _Course(waits, policy, waits() + deadline_s, _paused_s(waits) + policy.patience_s)
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_passing),
            wait=lambda state: self._wait_s(state, policy),
            stop=course.is_over,
            before_sleep=lambda state: self._pause(state, course),
            sleep=lambda seconds: None,
            reraise=True,
        )
        try:
            answer = retrying(self._attempt, request, course)
        except ProviderFailure as failure:
            if failure.finish_reason is None:
                spent_s = self._world.monotonic_s() - started_s
                raise model_error(self._endpoint, failure, course.attempts, spent_s) from failure
            answer = ProviderAnswer("", failure.finish_reason, self._endpoint.card.model, Usage(), failure.request_id)
        except GateTimeout as error:
            closed_s = self._limiter.closed_s
            asked = f"asked for {closed_s:.0f} s without calls, which" if closed_s else "is behind a rate limit that"
            message = f"The model of agent {self.name!r} {asked} is longer than one call waits."
            raise ModelError(message) from error
        return replace(self._completion(request, answer, course.attempts, started_s), asked_at=asked_at)

    def _attempt(self, request: CompletionRequest, course: _Course) -> ProviderAnswer:
        with self._limiter.place(self._world.monotonic_s() + max(course.patience_s, 0.0), course.waits):
            course.attempts += 1
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
            try:
                answer = self._timed_attempt(endpoint, request, course)
            except ProviderFailure as failure:
                plainer = _PLAINER.get(endpoint.structured) if request.schema is not None else None
                if plainer is None or not failure.may_mean_structure:
                    raise
                endpoint = replace(endpoint, structured=plainer)
            else:
                self._endpoint = endpoint
                return answer

    def _timed_attempt(self, endpoint: Endpoint, request: CompletionRequest, course: _Course) -> ProviderAnswer:
        timeout_s = min(course.left_s, course.policy.attempt_timeout_s)
        outcome: list[ProviderAnswer | BaseException] = []
        session = self._opened(endpoint)

        def ask() -> None:
            try:
                outcome.append(session.ask(request, timeout_s=max(timeout_s, 0.001)))
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=ask, name=f"llm-{self.name}", daemon=True)
        ends_s = self._world.monotonic_s() + timeout_s
        try:
            thread.start()
            while thread.is_alive() and (left_s := ends_s - self._world.monotonic_s()) > 0:
                thread.join(min(left_s, TICK_S))
                course.waits.check_stop()
            came = list(outcome)  # before the session is closed, which makes what is under way fail
        finally:
            session.close()
        if not came:
            raise ProviderFailure("transient", f"no complete answer within {timeout_s:.1f} s", is_busy=True)
        if isinstance(came[0], BaseException):
            raise came[0]
        return came[0]

    def _opened(self, endpoint: Endpoint) -> ProviderSession:
        try:
            return self._open_session(endpoint)
        except Exception as error:
            if not isinstance(error, ImportError | OSError | ValueError) and type(error).__name__ != "InvalidURL":
                raise
            said = f"{type(error).__name__}: {shorten(str(error))}"
            raise ProviderFailure("refused", said, culprit="environment") from error

    def _wait_s(self, state: tenacity.RetryCallState, policy: RetryPolicy) -> float:
        ceiling_s = min(policy.cap_s, policy.base_s * 2.0 ** (state.attempt_number - 1))
        jittered_s = self._rng.uniform(0.0, ceiling_s)
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, ProviderFailure) else None
        # Jitter is added to a Retry-After, so that seeds told the same moment do not come back as one.
        return jittered_s if asked_s is None else asked_s + min(jittered_s, policy.base_s)

    def _pause(self, state: tenacity.RetryCallState, course: _Course) -> None:
        """Wait for the next attempt, saying what failed, how often, and when the next one is."""
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, ProviderFailure), "no other is passing"
        count = f"failure {course.failures} of {course.policy.max_failures}"
        if error.kind == "rate_limited":
            count = f"attempt {course.attempts}"
        at = (self._world.now() + timedelta(seconds=state.upcoming_sleep)).astimezone()
        said = f"{shorten(self._endpoint.redact(error.message), _SAID_CHARS)} ({count}); next try at {at:%H:%M:%S}"
        course.waits.pause(state.upcoming_sleep, "provider", f"{self.name}: {said}")

    def _completion(
        self, request: CompletionRequest, answer: ProviderAnswer, attempts: int, started_s: float
    ) -> Completion:
        redact = self._endpoint.redact
        text, end = cut_text(redact(answer.text), answer.finish_reason)
        return Completion(
            text=text,
            finish_reason=end,
            model_id=redact(answer.model_id),
            structured=None if request.schema is None else parse_object(text),
            usage=answer.usage,
            cost_usd=call_cost_usd(self._endpoint.card.prices, answer.usage),
            latency_s=self._world.monotonic_s() - started_s,
            request_id=redact(answer.request_id) if answer.request_id else None,
            attempts=attempts,
            reasoning=cut_reasoning(redact(answer.reasoning)) if answer.reasoning else None,
        )


@dataclass(frozen=True)
class _Bound:
    """A model for one piece of work."""

    model: ProviderModel
    waits: Waits
    policy: RetryPolicy

    @property
    def name(self) -> str:
        return self.model.name

    def complete(self, request: CompletionRequest, *, deadline_s: float) -> Completion:
        return self.model.answer(request, deadline_s, self.waits, self.policy)


def _paused_s(waits: Waits) -> float:
    return waits.seconds.get("provider", 0.0)


def _is_passing(error: BaseException) -> bool:
    return isinstance(error, ProviderFailure) and error.kind in ("transient", "rate_limited")
