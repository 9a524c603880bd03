"""Text of agents and models as other programs can take it: data, never acted on, and never too much of it.

Formats keep control characters and markup as they were said: showing them is their reader's part. What no reader can
take is spelt out: halves of surrogate pairs, which no UTF-8 holds, and in CSV whatever a spreadsheet would calculate.

Not covered: what terminals and pages are shown (`aira_bench.escaping`).
"""

MOST_CHARS = 2**20
"""Of one text; a longer one keeps its beginning and its end."""


def whole(text: str) -> str:
    """Return a text that can be encoded, halves of surrogate pairs spelt out."""
    return text.encode("utf-8", "backslashreplace").decode()


def bounded(text: str, most: int = MOST_CHARS) -> str:
    """Return a text that can be encoded, of at most about `most` characters; how many are missing is said."""
    if len(text) > most:
        half = most // 2
        text = f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"
    return whole(text)
