"""Findings that were kept are had again, whatever cut the trial off; those of other sources are not."""

from pathlib import Path

import pytest

from faults import kept
from faults.cases import Case, Finding
from faults.command import Setting
from faults.kept import Kept, Tried
from faults.trees import Difference


def tried(case: Case) -> Tried:
    return Tried(Finding(case, (9, 0), Difference(blamed=1, left=("a", "b")), "why\nnot"), 1.5, 3.25)


@pytest.fixture
def cases() -> list[Case]:
    return [Case("file operation", "EIO", "search", f"fsync record.jsonl #{number}", Setting()) for number in range(3)]


def test_what_was_found_before_a_trial_was_cut_off_is_found_again(tmp_path: Path, cases: list[Case]) -> None:
    first = Kept(tmp_path / "found")
    first.add(tried(cases[0]))
    first.add(tried(cases[1]))
    whole = first.path.read_bytes()
    for size in range(len(whole) - 5, whole.rindex(b"\n"), -9):  # torn in the second finding
        first.path.write_bytes(whole[:size])
        again = Kept(tmp_path / "found")
        assert again.read(cases) == {str(cases[0]): tried(cases[0])}
        again.add(tried(cases[2]))
        assert again.read(cases) == {str(case): tried(case) for case in (cases[0], cases[2])}
        assert again.read(cases[:1]) == {str(cases[0]): tried(cases[0])}


def test_findings_of_other_sources_are_refused(
    tmp_path: Path, cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    Kept(tmp_path / "found").add(tried(cases[0]))
    monkeypatch.setattr(kept, "TRIED_WITH", ("tests/faults",))
    with pytest.raises(SystemExit, match="other sources"):
        Kept(tmp_path / "found")
