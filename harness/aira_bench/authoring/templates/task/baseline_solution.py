"""A solution to beat, run like an agent's: `aira-bench check` scores it. Agents never see this file."""

import csv
from pathlib import Path


def guess(text: str) -> int:
    """Whether there are as many closing as opening brackets of each kind; their order is ignored."""
    return int(text.count("(") == text.count(")") and text.count("[") == text.count("]"))


def looks_open(text: str) -> bool:
    """Whether the first bracket closes or the last one opens, which no balanced string has."""
    return text[0] in ")]" or text[-1] in "(["


with Path("data/test.csv").open(newline="", encoding="utf-8") as stream:
    labels = [str(0 if looks_open(row["text"]) else guess(row["text"])) for row in csv.DictReader(stream)]
Path("submission.csv").write_text("\n".join(["label", *labels]) + "\n", encoding="utf-8")
