"""Tables 19 to 21: what features of training scripts gained, checked against each other.

Table 19 has a row a feature, Table 20 splits a switch's count into added and removed, Table 21 gathers features by
category. No run is published, so nothing is recomputed from one; what is checked is what must hold between the tables.

Not covered: medians and means of categories, which need the single improvements.
"""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from aira_bench.published_tables import Row, read_counts, read_table
from aira_bench.reproduce.cells import Cell, LeftOut, Status, compare_decimal, compare_text, decimal_text

_NONE = "—"
_HALF = Fraction(1, 20000)
"""Half a unit of gains, which are printed with four decimals."""
_MOST_STEPS = 1000


def feature_cells(folder: Path | None = None) -> list[Cell]:
    """Return Table 19: its number of features, how many ever were the only change, and what one or two gains fix."""
    rows, said = _features(folder), read_counts(folder)
    alone = str(sum(row["solo"] != "0" for row in rows))
    cells = [
        compare_text("19", "all", "features", said["features"], str(len(rows)), "the table has another number of rows"),
        compare_text(
            "19", "all", "ever alone", said["features ever alone"], alone,
            f"{alone} features have a solo count above 0; the text says {said['features ever alone']} of {len(rows)}",
        ),
    ]  # fmt: skip
    for row in rows:
        alike = "present" if row["solo"] != "0" else "absent"
        shown = "absent" if row["solo_median"] == _NONE else "present"
        cells.append(compare_text("19", row["feature"], "solo median", shown, alike, "solo count and median disagree"))
        cells += _few_gains(row)
    return cells


def _few_gains(row: Row) -> Iterable[Cell]:
    """One gain is its own median, mean and best; of two the median is the mean, and their best is at most twice
    that."""
    mean = Fraction(row["delta_mean"])
    if row["count"] in ("1", "2"):
        yield _same("19", row["feature"], "delta_median", row["delta_median"], mean, 2 * _HALF, "the mean of few gains")
    if row["count"] == "1":
        yield _same("19", row["feature"], "delta_best", row["delta_best"], mean, 2 * _HALF, "the mean of one gain")
    if Fraction(row["delta_best"]) + 2 * _HALF < max(mean, Fraction(row["delta_median"])):
        reason = "the best gain is below the mean or the median"
        yield Cell("19", row["feature"], "delta_best", row["delta_best"], row["delta_mean"], Status.ERRATUM, reason)


def toggle_cells(folder: Path | None = None) -> list[Cell]:
    """Return Table 20: added and removed make Table 19's count, and the verdict follows from the medians."""
    known, cells = {row["feature"]: row for row in _features(folder)}, []
    columns = ("feature", "add_count", "add_median", "remove_count", "remove_median", "verdict")
    for row in read_table("20", columns, folder):
        total = int(row["add_count"]) + int(row["remove_count"])
        count = known[row["feature"]]["count"] if row["feature"] in known else "-"
        why = f"added and removed make {total}, Table 19 counts {count}"
        cells.append(compare_text("20", row["feature"], "count", count, str(total), why))
        cells.append(
            compare_text("20", row["feature"], "verdict", row["verdict"], _verdict(row), "the medians say otherwise")
        )
        if row["add_count"] == row["remove_count"] == "1" and row["feature"] in known:
            mean = (Fraction(row["add_median"]) + Fraction(row["remove_median"])) / 2
            printed = known[row["feature"]]["delta_mean"]
            cells.append(_same("20", row["feature"], "mean", printed, mean, 2 * _HALF, "the mean of the two gains"))
    return cells


def _verdict(row: Row) -> str:
    if row["remove_median"] == _NONE:
        return "add only"
    if row["add_median"] == _NONE:
        return "remove only"
    added, removed = Fraction(row["add_median"]), Fraction(row["remove_median"])
    return "add helps more" if added > removed else "remove helps more" if removed > added else "the same"


def category_cells(folder: Path | None = None) -> tuple[list[Cell], list[LeftOut]]:
    """Return Table 21: shares of the improvements, the best gain of each category, and bounds of its count."""
    said, features = read_counts(folder)["improvement steps"], _features(folder)
    columns = ("category", "count", "percent_of_improvements", "delta_median", "delta_mean", "delta_best")
    rows, cells = read_table("21", columns, folder), []
    fitting = [steps for steps in range(1, _MOST_STEPS) if all(_share(row, steps) == _percent(row) for row in rows)]
    totals = " or ".join(map(str, fitting)) or "no number of"
    for row in rows:
        mine = [each for each in features if each["category"] == row["category"]]
        name, share = row["category"], _share(row, int(said))
        why = f"of {said} improvements, the text's number, it is {share}%; all of the column fit {totals} improvements"
        cells.append(compare_text("21", name, "percent_of_improvements", f"{_percent(row)}%", f"{share}%", why))
        best = max((each["delta_best"] for each in mine), key=Fraction, default="-")
        cells.append(compare_text("21", name, "delta_best", row["delta_best"], best, "not the best of its features"))
        cells.append(_bounded(name, row["count"], [int(each["count"]) for each in mine]))
    left_out = [
        LeftOut("21", row["category"], row["delta_median"], "the median of improvements that are not published")
        for row in rows
    ]
    return cells, left_out


def _share(row: Row, steps: int) -> str:
    return decimal_text(Fraction(100 * int(row["count"]), steps), 0)


def _percent(row: Row) -> str:
    return row["percent_of_improvements"].removesuffix("%")


def _bounded(name: str, count: str, features: list[int]) -> Cell:
    """A step counts once in a category, however many of its features it changed."""
    least, most = max(features, default=0), sum(features)
    ours = count if least <= int(count) <= most else f"{least} to {most}"
    return compare_text("21", name, "count", count, ours, f"its features' counts allow {least} to {most}")


def _same(table: str, row: str, column: str, printed: str, exact: Fraction, slack: Fraction, what: str) -> Cell:
    status, text = compare_decimal(printed, exact, slack + Fraction(1, 10**9))
    if status is Status.MISMATCH:
        status = Status.ERRATUM
    reason = "" if status is Status.REPRODUCED else f"{what} is {decimal_text(exact, 5)}"
    return Cell(table, row, column, printed, text, status, reason)


def _features(folder: Path | None) -> list[Row]:
    columns = ("feature", "category", "count", "solo", "delta_median", "delta_mean", "delta_best", "solo_median")
    return read_table("19", columns, folder)
