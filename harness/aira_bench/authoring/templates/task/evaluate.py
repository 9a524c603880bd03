"""Score a submission against the hidden labels, in a judge container.

    evaluate.py [--submission-file FILE] [--report-file FILE]

`./data` shows the hidden data beside the submission. Printed is one score block: the marker, then a JSON object with
the metric alone. Exit status 0 says that the submission is valid, 2 that it cannot be read, which is the agent's fault.
Anything else is a failure of this script, for which no agent is blamed. Never run anything of a submission here.
"""

import argparse
import csv
import json
import os
import time
from pathlib import Path

METRIC = "Accuracy"
EVALUATOR_VERSION = "1"
"""Change it whenever scores change: a board never mixes two."""


def read_labels(path: Path) -> tuple[list[str], list[str]]:
    """The hidden labels, and the part that each row belongs to."""
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    return [row["label"] for row in rows], [row["part"] for row in rows]


def read_predictions(path: Path, rows: int) -> list[str]:
    """The submitted labels.

    Raises:
        ValueError: the file is no list of that many labels.
    """
    header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
    if header.strip() != "label":
        raise ValueError("the first line is not the header 'label'")
    if len(lines) != rows:
        raise ValueError(f"{len(lines)} labels, expected {rows}")
    wrong = [number for number, line in enumerate(lines, 2) if line.strip() not in ("0", "1")]
    if wrong:
        raise ValueError(f"line {wrong[0]} is neither 0 nor 1")
    return [line.strip() for line in lines]


def accuracy(labels: list[str], predictions: list[str], parts: list[str], part: str) -> float:
    """The share of right labels in one part."""
    right = [
        label == prediction for label, prediction, of in zip(labels, predictions, parts, strict=True) if of == part
    ]
    return sum(right) / len(right)


def main() -> None:
    """Read, score, print and report."""
    started_s = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--submission-file", type=Path, default=Path("submission.csv"))
    parser.add_argument("--report-file", type=Path)
    args = parser.parse_args()
    labels, parts = read_labels(Path("data/test_with_labels.csv"))
    try:
        predictions = read_predictions(args.submission_file, len(labels))
    except (OSError, ValueError) as error:
        parser.error(f"submission.csv cannot be read: {error}")  # exit status 2
    scores = {part: accuracy(labels, predictions, parts, part) for part in ("validation", "test")}
    if args.report_file is not None:
        report = {
            "schema": 1,
            "validation": scores["validation"],
            "test": scores["test"],
            "evaluator_version": EVALUATOR_VERSION,
            "seed_set": os.environ.get("AIRA_SEED_SET", "search"),
            "seconds": time.monotonic() - started_s,
        }
        args.report_file.write_text(json.dumps(report), encoding="utf-8")
    print("\n--- EVALUATION RESULT ---")
    print(json.dumps({METRIC: scores["test"]}, indent=2))


if __name__ == "__main__":
    main()
