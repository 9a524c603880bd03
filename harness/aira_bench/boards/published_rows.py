"""Published figures of a board's task, to stand beside measured rows and be told from them.

From the paper's Tables 4, 5, 13 and 14 and its text: state of the art, baselines, what its agents reached and tried.
They were measured at profile `paper` on one H200; beside other profiles and synthetic data they are marked as no match.

Not covered: whether measured figures agree with them (`aira-bench reproduce --against`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from aira_bench.boards.board import Section, Table
from aira_bench.boards.board_runs import not_comparable
from aira_bench.published_tables import read_table

LRA = {"lra-listops": "ListOps", "lra-text": "Text", "lra-retrieval": "Retrieval"}
"""Data sets of the paper's tables by the tasks that are on them."""
CONFIGURABLE = "-conf"
AUTORESEARCH, WITH_LITERATURE = "autoresearch", "autoresearch-lit"


@dataclass(frozen=True)
class PublishedRow:
    """One published figure of a task."""

    table: str
    """Of the paper: the table's number, or `text`."""
    name: str
    value: str
    """As printed."""
    unit: str
    spread: str | None = None
    """Half of the printed interval, as printed."""


@dataclass(frozen=True)
class TablePublished:
    """The published figures of a table's task."""

    section: Section
    rows: tuple[PublishedRow, ...]
    no_match: str
    """Why measured scores do not compare with them; empty if they do."""


def published_of(table: Table) -> TablePublished | None:
    """Return the published figures of a table's task; None where there are none.

    Raises:
        PrerequisiteError: a published table is missing or damaged.
    """
    rows = tuple(published_rows(table.section.task))
    return TablePublished(table.section, rows, not_comparable(table.section)) if rows else None


def published_rows(task: str) -> Iterator[PublishedRow]:
    """Yield the published figures of a task.

    Args:
        task: its short name.

    Raises:
        PrerequisiteError: a published table is missing or damaged.
    """
    if task in (AUTORESEARCH, WITH_LITERATURE):
        yield from _autoresearch(task)
    plain = task.removesuffix(CONFIGURABLE)
    if plain in LRA:
        yield from _lra(LRA[plain], "config" if task.endswith(CONFIGURABLE) else "nonconfig")


def _lra(dataset: str, setup: str) -> Iterator[PublishedRow]:
    for row in read_table("14", ("task", "sota", "setup", "score", "agent", "architecture")):
        if (row["task"], row["setup"]) == (dataset, setup):
            yield PublishedRow("14", "state of the art", row["sota"], "accuracy")
            name = f"best of the paper's runs: greedy {row['agent']}, {row['architecture']}"
            yield PublishedRow("14", name, row["score"], "accuracy")
    for row in read_table("4", ("task", *(f"{who}_{setup}{end}" for who in ("greedy", "all") for end in ("", "_ci")))):
        if row["task"] == dataset:
            for who, name in (("greedy", "mean of 12 greedy agents"), ("all", "mean of all 20 agents")):
                yield PublishedRow("4", name, row[f"{who}_{setup}"], "normalized score", row[f"{who}_{setup}_ci"])
    if setup == "config":
        key = dataset.lower()
        for row in read_table("13", ("parameter", f"{key}_range", f"{key}_unique")):
            value = f"{row[f'{key}_range']} ({row[f'{key}_unique']} values)"
            yield PublishedRow("13", f"{row['parameter']} tried", value, "range")


def _autoresearch(task: str) -> Iterator[PublishedRow]:
    claims = {row["claim"]: row["value"] for row in read_table("headline", ("claim", "value"))}
    yield PublishedRow("text", "baseline script", claims["Autoresearch baseline"], "bits per byte")
    literature, last = ("yes" if task == WITH_LITERATURE else "no"), dict[str, str]()
    for row in read_table("5", ("agent", "seed", "literature", "step", "val_bpb")):
        if row["literature"] == literature:
            last[f"best seed of greedy {row['agent']} ({row['seed']})"] = row[
                "val_bpb"
            ]  # the last step of each stands last
    yield from (PublishedRow("5", name, value, "bits per byte") for name, value in last.items())


def published_records(tables: Sequence[TablePublished]) -> list[dict[str, object]]:
    """Return published figures for JSON: a record a table, each row marked."""
    return [
        {
            "task": each.section.task,
            "profile": each.section.profile,
            "not_comparable": each.no_match or None,
            "rows": [{"published": True, **asdict(row)} for row in each.rows],
        }
        for each in tables
    ]


def published_lines(table: TablePublished) -> list[str]:
    """Return what people read of published figures: one line each, with the table it is from.

    Args:
        table: of one section.
    """
    marked = f", NOT COMPARABLE: {table.no_match}" if table.no_match else ", measured on one H200"
    lines = [f"Published (profile paper{marked}):"]
    for row in table.rows:
        source = row.table if row.table == "text" else f"Table {row.table}"
        spread = f" +- {row.spread}" if row.spread else ""
        lines.append(f"  {row.name}: {row.value}{spread} {row.unit} ({source})")
    return lines
