"""A curve in one line of a terminal, and texts cut to its columns.

Not covered: escaping; whoever shows a stranger's text escapes it first, since one character may become ten.
"""

from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-=+*#@"
"""Where the terminal's encoding has no bars."""
_CUT, _ASCII_CUT = "…", "~"


def sparkline(values: Sequence[float | None], width: int, *, lower_is_better: bool, bars: str = BARS) -> str:
    """Return a curve of at most `width` columns, the better the higher.

    Args:
        values: one a step; None before there is any, shown as a blank. Infinite ones count as none.
        width: columns. Of more values than columns, each shows the last of its share, so the end is always shown.
        lower_is_better: whether small values are drawn high.
        bars: characters from the lowest to the highest.
    """
    known = [value for value in values if value is not None and abs(value) < float("inf")]
    if not known or width < 1:
        return ""
    low, high = min(known), max(known)
    # A difference of large values may overflow, and half of the smallest one is nothing.
    scale = 0.5 if high - low == float("inf") else 1.0
    count = min(len(values), width)
    drawn = []
    for column in range(count):
        value = values[(column + 1) * len(values) // count - 1]
        if value is None or not abs(value) < float("inf"):
            drawn.append(" ")
            continue
        share = 1.0 if high == low else (value * scale - low * scale) / (high * scale - low * scale)
        drawn.append(bars[round((1.0 - share if lower_is_better and high != low else share) * (len(bars) - 1))])
    return "".join(drawn)


def fit(text: str, width: int, *, ascii_only: bool = False) -> str:
    """Return a text cut to so many columns, with a mark where something is missing; wide characters count as two."""
    from rich.cells import cell_len, set_cell_size

    if cell_len(text) <= width:
        return text
    return "" if width < 1 else set_cell_size(text, width - 1) + (_ASCII_CUT if ascii_only else _CUT)
