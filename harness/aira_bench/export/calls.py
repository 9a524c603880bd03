"""When a model was asked and answered, and what it thought: of records that say so.

Records of versions before say neither; nothing is made up for them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from aira_bench.llm.model import Completion


@dataclass(frozen=True)
class CallFacts:
    """What a record of a call may say beside the answer."""

    started: str | None
    """When it was asked; ISO 8601."""
    ended: str | None
    reasoning: str
    """The model's reasoning, where its provider told it; else empty."""


def call_facts(completion: Completion) -> CallFacts:
    """Return what the record of a call says of its time and of the reasoning behind it."""
    started = completion.asked_at
    ended = None
    if started:
        try:
            ended = (datetime.fromisoformat(started) + timedelta(seconds=completion.latency_s)).isoformat()
        except (ValueError, OverflowError):
            started = None
    return CallFacts(started or None, ended, completion.reasoning or "")
