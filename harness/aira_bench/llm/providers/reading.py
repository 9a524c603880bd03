"""What providers answer, made into what the harness counts on: text, one of four ends, and counts of tokens.

Servers that speak one format speak it differently: content as text or as a list of parts, a reason of the end that is
absent, empty or another provider's word, counts as text, below zero or above what they are a part of. All of it is read
here, before an answer is recorded, so that what is on disk can be used and read back. What says nothing becomes None,
never a guess: an unknown count costs the bound that was reserved for it.

Not covered: answers without an answer in them (error bodies, pages, event streams), which each provider's module meets.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

from aira_bench.llm.failures import ProviderFailure, shorten
from aira_bench.llm.model import FinishReason, Usage
from aira_bench.llm.providers.provider_session import LONGEST_NAME

LONGEST_TEXT_CHARS = 4 << 20
"""Of an answer. The longest a model of today can give has about 1 MB; what is longer is cut, and says so."""
MOST_COUNTED_TOKENS = 10**8
"""Of one call, as a provider may count them: ten times the longest context there is."""
LONGEST_REASONING_CHARS = 1 << 20
"""Of what came of a model's reasoning, which is for people; what is longer is cut, and says so."""
_MOST_LEVELS = 8
"""Of parts of an answer's content within parts; known servers have one."""
_ENDS: Mapping[FinishReason, str] = {
    # A model that calls a tool nobody offered has ended its answer; what it said before is what there is.
    "stop": "stop eos eos_token end_turn stop_sequence complete completed done tool_calls tool_call tool_use "
    "function_call pause_turn",
    "length": "length max_tokens max_output_tokens max_length model_length token_limit",
    "content_filter": "content_filter refusal safety image_safety recitation language blocklist prohibited_content "
    "spii escalation sensitive",
    "context_overflow": "model_context_window_exceeded context_length_exceeded",
}
_MEANING: Mapping[str, FinishReason] = {word: end for end, words in _ENDS.items() for word in words.split()}
_REASONING_FIELDS = ("thinking", "reasoning", "summary", "text", "content")
_HIDDEN_PARTS = {"thinking", "reasoning", "redacted_thinking", "tool_use", "tool_call", "image_url", "input_audio"}


def read_text(content: object, levels: int = _MOST_LEVELS) -> str:
    """Return the text of an answer's content: the text itself, or its parts joined, without what the model thought.

    Args:
        content: a text, a part, or a list of parts, whose texts may be lists of parts again.
        levels: of such lists within lists.

    Raises:
        ValueError: it is neither.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        if not levels:
            raise ValueError("parts of its content are nested too deep")
        return "".join(_part_text(part, levels - 1) for part in content)
    if isinstance(content, Mapping):
        return _part_text(content, levels)
    raise ValueError(f"its content is a {type(content).__name__}")


def read_reasoning(*found: object) -> str | None:
    """Return what a provider tells of a model's reasoning: the texts among `found`, and those of lists, a blank line
    between them. None where there is none. Whatever has another shape is left out: no answer is lost for it.
    """
    texts = [text for each in found for text in _reasoning_texts(each, _MOST_LEVELS) if text.strip()]
    return "\n\n".join(texts) or None


def _reasoning_texts(found: object, levels: int) -> list[str]:
    if isinstance(found, str):
        return [found]
    if not isinstance(found, list | Mapping) or not levels:
        return []
    if isinstance(found, list):
        return [text for each in found for text in _reasoning_texts(each, levels - 1)]
    return [text for name in _REASONING_FIELDS for text in _reasoning_texts(found.get(name), levels - 1)]


def reasoning_parts(content: object) -> list[object]:
    """Return those parts of an answer's content in which the model thinks."""
    parts = content if isinstance(content, list) else [content]
    return [part for part in parts if isinstance(part, Mapping) and _is_reasoning(part)]


def _is_reasoning(part: Mapping[object, object]) -> bool:
    return part.get("type") in ("thinking", "reasoning") or part.get("thought") is True


def cut_reasoning(text: str) -> str:
    """Return what a record can hold of a model's reasoning; what is left out is counted in a last line."""
    more = len(text) - LONGEST_REASONING_CHARS
    return text if more <= 0 else f"{text[:LONGEST_REASONING_CHARS]}\n[{more} more characters are not kept]"


def is_refusal(content: object) -> bool:
    """Whether one of the parts of an answer's content says that the model refuses."""
    return isinstance(content, list) and any(
        isinstance(part, Mapping) and part.get("type") == "refusal" for part in content
    )


def _part_text(part: object, levels: int) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise ValueError(f"a part of its content is a {type(part).__name__}")
    if str(part.get("type")) in _HIDDEN_PARTS or part.get("thought") is True:
        return ""
    text = part.get("text", part.get("content", ""))
    if not isinstance(text, str | list):
        raise ValueError("the text of a part of its content is none")
    return read_text(text, levels)


def read_end(reason: object, text: str) -> FinishReason:
    """Return how an answer ended, from a provider's word for it, in whatever spelling, and the answer's text.

    Raises:
        ProviderFailure: transient, where there is neither text nor a reason that is known.
    """
    known = _MEANING.get(reason.strip().lower()) if isinstance(reason, str) else None
    if known is not None:
        return known
    if text.strip():
        return "stop"  # the answer is there; why it ended changes nothing about it
    said = f"the reason {shorten(repr(reason), 80)}" if reason else "no reason"
    raise ProviderFailure("transient", f"the answer is empty, and ended for {said}")


def cut_text(text: str, end: FinishReason) -> tuple[str, FinishReason]:
    """Return an answer that a record can hold, and how it ended: what is too long was cut."""
    return (text, end) if len(text) <= LONGEST_TEXT_CHARS else (text[:LONGEST_TEXT_CHARS], "length")


def read_count(value: object) -> int | None:
    """Return a provider's count of tokens as a whole number; None for what cannot be one."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) <= 20:
        value = int(value)
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST_COUNTED_TOKENS else None


def read_usage(
    *, prompt: object, answer: object, cached: object = None, reasoning: object = None, written: object = None
) -> Usage:
    """Return a call's counts. A part that is larger than its whole is unknown, which can only overstate the cost.

    Args:
        prompt: the whole prompt, as the provider counted it.
        answer: the whole answer, reasoning included.
        cached: the part of the prompt that was read from a cache.
        reasoning: the part of the answer that is reasoning.
        written: the part of the prompt that was written to a cache, where that is billed apart.
    """
    usage = Usage(
        read_count(prompt), read_count(answer), read_count(cached), read_count(reasoning), read_count(written)
    )
    if (usage.cached_tokens or 0) + (usage.cache_write_tokens or 0) > (usage.input_tokens or 0):
        usage = replace(usage, cached_tokens=None, cache_write_tokens=None)
    if (usage.reasoning_tokens or 0) > (usage.output_tokens or 0):
        usage = replace(usage, reasoning_tokens=None)
    return usage


def field_of(value: object, *names: str) -> object:
    """Return a field of a field of what an SDK built without validation; None where one is absent."""
    for name in names:
        value = getattr(value, name, None)
    return value


def sum_counts(*values: object) -> int | None:
    """Return the sum of counts that a provider gave apart; an absent one is 0, and None where one is no count."""
    counts = [0 if value is None else read_count(value) for value in values]
    return None if None in counts else sum(count or 0 for count in counts)


def read_name(value: object) -> str | None:
    """Return what a provider calls a model or a request; None where that is no short text. No answer is lost for it."""
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME else None
