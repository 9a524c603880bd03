"""How many digits of a number people are shown, in tables, pages and lines alike; files have all of them.

Not covered: counts, shares and seconds, whose units say it.
"""


def figure(value: float, spec: str = "") -> str:
    """Return a number with four digits after the point; of one that would have none then, or no end, with four in all.

    Args:
        value: the number.
        spec: what stands before the point of a format: a sign (`+`), or a comma between thousands.
    """
    return f"{value:{spec}.4f}" if value == 0 or 5e-5 <= abs(value) < 1e9 else f"{value:{spec}.4g}"
