"""Accuracy of predictions against the hidden labels, in the upstream manner."""

import argparse
import csv
import json

import numpy as np


def load_test_set():
    with open("./data/test_with_labels.csv", newline="") as stream:
        return np.array([int(row["label"]) for row in csv.DictReader(stream)])


def _cli():
    p = argparse.ArgumentParser(description="Evaluate predictions")
    p.add_argument("--submission-file", default="submission.csv")
    a = p.parse_args()
    labels = load_test_set()
    try:
        with open(a.submission_file) as stream:
            lines = stream.read().splitlines()[1:]
        print("predictions start with", lines[:3])
        predictions = np.array([int(line) for line in lines])
        if len(predictions) != len(labels):
            raise ValueError(f"row count {len(predictions)} is not {len(labels)}")
    except Exception as e:
        p.error(f"Error loading submission_file: {e}")
    print("\n--- EVALUATION RESULT ---")
    print(json.dumps({"Accuracy": float((predictions == labels).mean())}, indent=2))


if __name__ == "__main__":
    _cli()
