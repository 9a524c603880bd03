"""Train the submitted architecture and print its loss on the hidden test data."""

import sys

from aira_evaluator.compose.judge.text import evaluate

if __name__ == "__main__":
    sys.exit(evaluate(primitives=("M", "mA")))
