"""Train the submitted module and print its score on the hidden test data."""

import sys

from aira_evaluator.lra.judge.evaluate import evaluate

if __name__ == "__main__":
    sys.exit(evaluate("listops", configurable=True))
