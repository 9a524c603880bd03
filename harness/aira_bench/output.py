"""Text printed by code we do not trust, made safe to store, show and quote.

Raw bytes are hashed by the sandbox; what a person or a model sees has control characters, escape sequences and
direction overrides replaced. Not covered: whether the text is true. Nothing printed is ever a score.
"""

from dataclasses import dataclass

from aira_bench.escaping import printable


@dataclass(frozen=True)
class CapturedOutput:
    """A stream's beginning and end. The middle is dropped, but counted and hashed."""

    head: bytes
    tail: bytes
    """Empty when everything fitted into `head`."""
    total_bytes: int
    sha256: str


def display(output: CapturedOutput, limit: int = 8000) -> str:
    """Return beginning and end of a stream, escaped, at most about `limit` characters, with the gap counted."""
    head, tail = printable(output.head), printable(output.tail)
    if not tail and len(head) <= limit:
        return head
    half = limit // 2
    text_tail = (tail or head)[-half:]
    missing = output.total_bytes - len(output.head[:half]) - len(text_tail)
    return f"{head[:half]}\n[... about {max(missing, 0)} bytes left out ...]\n{text_tail}"


def last_line(output: CapturedOutput, limit: int = 300) -> str:
    """Return the last non-empty line of a stream, escaped and cut. A carriage return ends a line, as it does on a
    screen.
    """
    return last_line_of(output.tail or output.head, limit)


def last_lines_of(data: bytes, most: int = 4, limit: int = 300) -> str:
    """Return the last non-empty lines of output as one, escaped and each cut, for a message of one line."""
    lines = [line.strip() for line in printable(data.replace(b"\r", b"\n")).splitlines() if line.strip()]
    return " | ".join(line[:limit] for line in lines[-most:])


def last_line_of(data: bytes, limit: int = 300) -> str:
    """Return the last non-empty line of output that was kept whole, escaped and cut as by `last_line`."""
    lines = [line for line in printable(data.replace(b"\r", b"\n")).splitlines() if line.strip()]
    return lines[-1].strip()[:limit] if lines else ""
