"""The tests that `make test` leaves to `make test-long` (tests/long_tests.txt)."""

from pathlib import Path

LIST = Path(__file__).with_suffix(".txt")


def long_tests() -> dict[str, float]:
    """Seconds by test, or by one of its cases."""
    lines = (line.split(" ", 1) for line in LIST.read_text().splitlines() if not line.startswith("#"))
    return {name: float(seconds) for seconds, name in lines}
