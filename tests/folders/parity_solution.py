"""A solution for the parity folder: right on every row, and claims what it measured on the public data."""

import csv
import json
from pathlib import Path


def label(bits: str) -> int:
    return bits.count("1") % 2


with Path("data/train.csv").open(newline="") as stream:
    rows = list(csv.DictReader(stream))
accuracy = sum(label(row["bits"]) == int(row["label"]) for row in rows) / len(rows)
Path("validation.json").write_text(json.dumps({"metric": "Accuracy", "value": accuracy}))
with Path("data/test.csv").open(newline="") as stream:
    answers = [str(label(row["bits"])) for row in csv.DictReader(stream)]
Path("submission.csv").write_text("\n".join(["label", *answers]) + "\n")
