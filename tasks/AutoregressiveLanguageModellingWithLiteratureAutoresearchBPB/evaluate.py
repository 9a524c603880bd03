"""Print the bits per byte of what the submitted script trained, measured from its logits on hidden text."""

import sys

from aira_evaluator.autoresearch.judge.evaluate import evaluate

if __name__ == "__main__":
    sys.exit(evaluate())
