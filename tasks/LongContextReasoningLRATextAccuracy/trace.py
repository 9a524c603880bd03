"""Trace the submitted module. Runs where the submission's code may run: without data, hidden seeds or a network."""

import sys

from aira_evaluator.lra.fit.trace import trace

if __name__ == "__main__":
    sys.exit(trace("text", configurable=False))
