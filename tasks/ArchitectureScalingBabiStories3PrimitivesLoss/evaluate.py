"""Train the submitted pattern and print its loss on the hidden test data."""

import sys

from aira_evaluator.compose.judge.grown import evaluate

if __name__ == "__main__":
    sys.exit(evaluate("scale", primitives=("M", "mA", "Mb")))
