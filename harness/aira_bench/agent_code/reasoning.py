"""Takes what a model thought out of its answer, where the server left it in.

Servers without a parser for a model's reasoning hand it on between tags, often without the tag that opens it, which
stood in the prompt. Drafts of programs in it are none of the answer. Outside of reasoning a tag counts only where it
begins a line, or closes one.

Not covered: reasoning without tags, and tags in texts of a program, which `code_extraction` knows.
"""

import re

_NAMES = "think|thinking|thought|thoughts|reasoning|reflection|scratchpad"
_TAG = re.compile(
    rf"(?P<opens><(?:{_NAMES})>|\[THINK\]|<\|(?:begin_of_thought|START_THINKING)\|>)"
    rf"|</(?:{_NAMES})>|\[/THINK\]|<\|(?:end_of_thought|END_THINKING)\|>",
    re.IGNORECASE,
)
_CHANNEL = re.compile(r"<\|channel\|>\s{0,9}([a-z]{1,20})[^<\n]{0,99}(?:<\|constrain\|>[^<\n]{0,99})?<\|message\|>")
_ENDS = ("<|return|>", "<|end|>")
_BLANKS = "\ufeff\u200b \t\r\xa0"
_WINDOW = 100
"""Characters of a line that are looked at on either side of a tag."""


def without_reasoning(answer: str, *, first_alone: bool = False) -> str:
    """Return the rest of an answer, or all behind its first reasoning; empty where there is nothing but reasoning."""
    answer = last_channel(answer)
    kept: list[str] = []
    at, inside = 0, False
    for tag in _TAG.finditer(answer):
        closes = tag["opens"] is None
        if inside:
            if closes:
                at, inside = tag.end(), False
                if first_alone:
                    break
        elif _begins_a_line(answer, tag.start()) or (closes and _ends_a_line(answer, tag.end())):
            # What closes reasoning that was never opened ends it all the same: all before it is none of the answer.
            kept = [] if closes else [*kept, answer[at : tag.start()]]
            at, inside = tag.end(), not closes
            if closes and first_alone:
                break
    return "".join(kept) + ("" if inside else answer[at:])


def last_channel(answer: str) -> str:
    """Return what an answer says in its final channel, where it has channels; empty where it never came to that."""
    channels = list(_CHANNEL.finditer(answer))
    if not channels:
        return answer
    if channels[-1][1] != "final":
        return ""
    said = answer[channels[-1].end() :].rstrip()
    for end in _ENDS:
        said = said.removesuffix(end)
    return said


def has_tag(text: str) -> bool:
    """Whether a text holds what would be taken for a tag of reasoning."""
    return _TAG.search(text) is not None


def _begins_a_line(text: str, at: int) -> bool:
    _, newline, line = text[max(at - _WINDOW, 0) : at].rpartition("\n")
    return not line.strip(_BLANKS) and (bool(newline) or at <= _WINDOW)


def _ends_a_line(text: str, at: int) -> bool:
    return not text[at : at + _WINDOW].partition("\n")[0].strip(_BLANKS)
