"""What is said of honest claims on mad-2p, cpu: the summary by hand, and that documents have the table's figures."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))

import overclaim  # noqa: E402

STORED = ROOT / "bench" / "tables" / "mad_2p_overclaim.csv"


def test_a_summary_by_hand(tmp_path: Path) -> None:
    rows = [overclaim.Claim("A", 0.5, 0.25, 0.25, 11.0, 10.0), overclaim.Claim("M", 0.25, 0.5, 0.25, 11.0, 10.0)]
    assert list(overclaim.summary(rows)) == [
        "overclaim: mean +0.000 +- 0.250 (n = 2), standard deviation 0.354, -0.250 to +0.250",
        "claimed - trusted: mean +0.125 +- 0.125 (n = 2), standard deviation 0.177, +0.000 to +0.250",
        "public rows: +10.0% CPU time of an evaluation",
    ]
    overclaim.write(tmp_path / "t.csv", rows)
    assert overclaim.read(tmp_path / "t.csv") == rows


def test_documents_have_the_figures_of_the_table_and_the_honest_are_near_zero() -> None:
    rows = overclaim.read(STORED)
    documented = (ROOT / "docs" / "mad.md").read_text()
    for line in overclaim.summary(rows):
        assert line in documented, line
    assert [row.stack for row in rows] == overclaim.stacks("2", overclaim.COUNT, overclaim.STACK_SEED)[: len(rows)]
    assert abs(sum(row.overclaim for row in rows) / len(rows)) < 0.03, "what was -0.10 against hidden rows"
