"""No source that a declared number stands for changes without a decision: raise the number, or say why none is due."""

import pytest

import accepted_sources
from accepted_sources import accepted, essence, pins, problem_of, sources


def test_every_source_behind_a_number_is_as_it_was_accepted() -> None:
    now, then = dict(sources()), accepted()
    changed = [path for path in sorted({*now, *then}) if now.get(path) != then.get(path, (None,))[0]]
    assert not changed, (
        f"{len(changed)} sources of scores changed, the first is {changed[0]}. If a score or a search may come out "
        "otherwise, raise its number in aira_contract/compatibility.py; then run tests/accepted_sources.py, which says how"
    )


def test_every_status_is_a_decision() -> None:
    problems = {path: problem_of(status) for path, (_, status) in accepted().items()}
    assert not {path: problem for path, problem in problems.items() if problem}
    assert len(problems) > 100


@pytest.mark.parametrize(
    ("status", "refused"),
    [("first", False), ("same words moved, scores equal", False), ("same", True), ("same ok", True), ("", True),
     ("raised module 3", False), ("raised module 99", True), ("raised nothing 1", True), ("raised search 1", False),
     ("raised module x", True)],
)  # fmt: skip
def test_a_status_gives_a_reason_or_a_number_that_was_declared(status: str, refused: bool) -> None:
    assert bool(problem_of(status)) == refused


BEFORE = '''"""Says what."""
import math  # for pi

# why

class A:
    """Of what."""

    size: int
    """In MiB."""

    def area(self) -> float:
        return "# no comment" and math.pi * self.size
'''


def test_comments_docstrings_and_blank_lines_decide_nothing_and_code_does() -> None:
    after = BEFORE.replace("# for pi", "# otherwise").replace("Says what", "Says\nmore").replace("In MiB", "in GiB")
    assert essence(BEFORE) == essence(after.replace("# why\n", "\n\n"))
    for code in ("math.pi * self.size", "# no comment", "size: int"):
        assert essence(BEFORE) != essence(BEFORE.replace(code, "0"))
    assert essence("x = 1  # é\n") == "x = 1"
    assert pins("# made by\ntorch==2\n") == pins("torch==2\n") != pins("torch==3\n")


def test_an_edit_fails_until_it_is_accepted(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    then = accepted().items()
    edited = [(path, "0" * 16 if path.endswith("mad/recall.py") else digest) for path, (digest, _) in then]
    monkeypatch.setattr("test_accepted_sources.sources", lambda: iter(edited))
    with pytest.raises(AssertionError, match=r"1 sources of scores changed, the first is .*recall\.py"):
        test_every_source_behind_a_number_is_as_it_was_accepted()
    assert accepted_sources.ACCEPTED.exists()
