"""The list of long tests names tests that exist, and `make test` and `make test-long` together run all tests."""

import re
from pathlib import Path

from long_tests import LIST, long_tests

ROOT = Path(__file__).resolve().parents[1]


def test_every_long_test_exists() -> None:
    """A name that nothing has would put its test back into `make test`, unseen."""
    for name in long_tests():
        path, _, test = name.partition("::")
        assert re.search(rf"^def {test.partition('[')[0]}\(", (ROOT / path).read_text(), re.MULTILINE), name


def test_long_is_what_takes_long() -> None:
    assert all(seconds >= 6 for seconds in long_tests().values())
    assert LIST.read_text().startswith("# What `make test` leaves to `make test-long`")


def test_both_targets_together_run_every_test() -> None:
    """Each choice of marks of one stands in the other with `long` turned around."""
    makefile = (ROOT / "Makefile").read_text()
    short, long = (makefile.partition(f"\n{target}: ")[2].partition("\n\n")[0] for target in ("test", "test-long"))
    assert re.findall(r"-m '([^']*) and not long'", short) == ["not docker and not browser", "docker"]
    assert re.findall(r"-m '([^']*) and long'", long) == ["not docker", "docker"]
    assert "test-browser" in short, "none of these is long"
    files = {name.partition("::")[0] for name in long_tests()}
    assert not any("mark.browser" in (ROOT / path).read_text() for path in files)
