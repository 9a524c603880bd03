"""Tables 4, 5 and 16 to 18, and numbers that stand in the text alone: sums, differences, products and row counts.

Each number is computed from other published numbers. Where they contradict each other the cell is an erratum.

Not covered: normalized scores themselves (Table 4) and bits per byte (Table 5), which are measured.
"""

from fractions import Fraction
from pathlib import Path

from aira_bench.published_tables import read_counts, read_table
from aira_bench.reproduce.cells import Cell, LeftOut, Status, compare_decimal, compare_text, decimal_text

_LITERATURE = {"16": "architecture", "17": "training", "18": "optimizer"}
_GREEDY, _ONE_SHOT, _LRA_TASKS = 12, 8, 6
_SEEDS_GREEDY, _SEEDS_ONE_SHOT = 10, 20
_SCALES, _BUDGETS = 3, 5
_TOKENS_A_STEP = 4 * 8192 * 16
"""Batch of 4 sequences of 8,192 tokens on 16 devices (section 6.1.1)."""


def mean_cells(folder: Path | None = None) -> tuple[list[Cell], list[LeftOut]]:
    """Return Table 4: the mean over all 20 agents is 12/20 of the greedy ones', since no one-shot run was valid.

    Both sides are printed with three decimals, so they may be half a unit times 12/20, and half a unit, apart.
    """
    share, cells, left_out = Fraction(_GREEDY, _GREEDY + _ONE_SHOT), [], []
    columns = [f"{agents}_{setup}" for agents in ("greedy", "all") for setup in ("nonconfig", "config")]
    for row in read_table("4", ("task", *columns), folder):
        for setup in ("nonconfig", "config"):
            greedy, published = row[f"greedy_{setup}"], row[f"all_{setup}"]
            slack = (1 + share) * Fraction(1, 2000) + Fraction(1, 10**9)
            status, text = compare_decimal(published, Fraction(greedy) * share, slack)
            exact = decimal_text(Fraction(greedy) * share, 4)
            reason = "" if status is Status.REPRODUCED else f"12/20 of the greedy mean, itself rounded, is {exact}"
            cells.append(Cell("4", row["task"], f"all_{setup}", published, text, status, reason))
            left_out.append(LeftOut("4", f"{row['task']} {setup}", greedy, "a mean of runs that are not published"))
    return cells, left_out


def delta_cells(folder: Path | None = None) -> list[Cell]:
    """Return Table 5: each step's gain from the step before, the first from the baseline of section 6.2.2."""
    baseline = {row["claim"]: row["value"] for row in read_table("headline", ("claim", "value"), folder)}
    start, cells, before = baseline["Autoresearch baseline"], [], ""
    for row in sorted(
        read_table("5", ("agent", "seed", "literature", "step", "val_bpb", "delta"), folder),
        key=lambda row: (row["agent"], row["seed"], row["literature"], int(row["step"])),
    ):
        if row["step"] == "0":
            before = start
            continue
        name = f"{row['agent']} seed {row['seed']} step {row['step']}"
        cells.append(_delta_cell(name, row["delta"], before, row["val_bpb"]))
        before = row["val_bpb"]
    return cells


def _delta_cell(name: str, published: str, before: str, after: str) -> Cell:
    gain = Fraction(before) - Fraction(after)
    slack = sum((Fraction(1, 2 * 10 ** len(each.partition(".")[2])) for each in (before, after)), Fraction(0))
    if published.startswith("<"):
        status = Status.REPRODUCED if 0 <= gain < Fraction(published[1:]) else Status.MISMATCH
        if status is Status.MISMATCH and -slack < gain < Fraction(published[1:]) + slack:
            status = Status.ROUNDING
        text = decimal_text(gain, 3)
    else:
        status, text = compare_decimal(published, gain, slack + Fraction(1, 2000) + Fraction(1, 10**9))
    reason = "" if status is Status.REPRODUCED else f"{before} less {after}, both rounded, is {decimal_text(gain, 4)}"
    return Cell("5", name, "delta", published, text, status, reason)


def literature_cells(table: str, folder: Path | None = None) -> list[Cell]:
    """Return how many papers Table `16`, `17` or `18` lists beside what the text says of its kind."""
    said, rows = read_counts(folder), read_table(table, ("paper", "relevance", "code"), folder)
    kind, listed = _LITERATURE[table], str(len(rows))
    why = f"Table {table} lists {listed} papers; with them the three tables have the 41 of the text"
    return [compare_text(table, "papers", "text", said[f"literature {kind} papers"], listed, why)]


def text_cells(folder: Path | None = None) -> list[Cell]:
    """Return the numbers of the text that other published numbers give."""
    said = read_counts(folder)
    papers = {table: read_table(table, ("paper", "code"), folder) for table in _LITERATURE}
    every = [row for rows in papers.values() for row in rows]
    given = {
        "literature papers": len(every),
        "literature code": sum(row["code"] == "yes" for row in every),
        "lra greedy runs": _GREEDY * _SEEDS_GREEDY * _LRA_TASKS,
        "lra one-shot runs": _ONE_SHOT * _SEEDS_ONE_SHOT * _LRA_TASKS,
        "lra runs": int(said["lra greedy runs"]) + int(said["lra one-shot runs"]),
        "lra configurable valid steps": sum(
            int(said[f"lra configurable valid steps {task}"]) for task in ("ListOps", "Text", "Retrieval")
        ),
        "compose 2-primitive runs a dataset": int(said["compose 2-primitive greedy runs a dataset"])
        + int(said["compose 2-primitive one-shot runs a dataset"]),
        "compose 24-hour runs": int(said["compose 2-primitive runs a dataset"])
        + int(said["compose 2-primitive GPT-5 runs"])
        + int(said["compose 3-primitive runs"]),
        "compose 60-hour runs": 2 * int(said["compose 2-primitive runs a dataset"]),
        "isoFLOP 2-primitive experiments": len(read_table("10", ("scale",), folder)) * _BUDGETS,
        "isoFLOP 2-primitive models": len(read_table("10", ("scale",), folder)) // _SCALES,
        "isoFLOP 3-primitive experiments": len(read_table("11", ("scale",), folder)) * _BUDGETS,
        "isoFLOP 3-primitive models": len(read_table("11", ("scale",), folder)) // _SCALES,
        "autoresearch runs in all": int(said["autoresearch runs"]) + int(said["autoresearch runs with literature"]),
    }
    cells = [
        compare_text("text", name, "count", said[name], str(value), f"other published numbers give {value}")
        for name, value in given.items()
    ]
    share = Fraction(100 * int(said["autoresearch valid steps"]), int(said["autoresearch steps"]))
    tokens = Fraction(int(said["isoToken steps"]) * _TOKENS_A_STEP, 10**9)
    for name, exact in (("autoresearch valid steps share", share), ("isoToken tokens", tokens)):
        text = decimal_text(exact, 1)
        cells.append(compare_text("text", name, "value", said[name], text, f"other published numbers give {text}"))
    return cells
