"""What a conformance check is: one sentence that holds for every implementation of a protocol, and how to try it.

Checks need no test framework. `require_all(checks, subject)` tries all and raises one error that lists what does not
hold; with pytest, one test a check:

    @pytest.mark.parametrize("check", POLICY_CHECKS, ids=str)
    def test_my_policy(check): check(MyPolicy())
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from aira_bench.excerpts import LINE_CHARS

Subject = TypeVar("Subject")


class Nonconforming(AssertionError):
    """An implementation does not do what its protocol says."""


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """One sentence about a subject, and the function that raises `Nonconforming` where it does not hold."""

    sentence: str
    attempt: Callable[[Subject], None]

    def __call__(self, subject: Subject) -> None:
        """Try it.

        Raises:
            Nonconforming: it does not hold, or trying it raised what no protocol provides for.
        """
        try:
            self.attempt(subject)
        except Nonconforming as error:
            raise Nonconforming(f"{self.sentence}: {error}") from None
        except (Exception, SystemExit) as error:
            raise Nonconforming(f"{self.sentence}: it raised {type(error).__name__}: {error}") from error

    def __str__(self) -> str:
        """The sentence, as a test's name."""
        return self.sentence


def require(holds: bool, wanted: str, seen: object) -> None:
    """Raise `Nonconforming`, with what was wanted and what was seen, unless something holds."""
    if not holds:
        raise Nonconforming(f"wanted {wanted}, seen {repr(seen)[:LINE_CHARS]}")


def require_all(checks: Sequence[Check[Subject]], subject: Subject) -> None:
    """Try all checks on one subject.

    Raises:
        Nonconforming: some do not hold; the message has a line for each.
    """
    failures = []
    for check in checks:
        try:
            check(subject)
        except Nonconforming as error:
            failures.append(str(error))
    if failures:
        raise Nonconforming("\n".join([f"{len(failures)} of {len(checks)} checks do not hold:", *failures]))
