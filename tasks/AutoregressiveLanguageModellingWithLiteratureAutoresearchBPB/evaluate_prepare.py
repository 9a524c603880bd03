"""Write the hidden data of this task. Agents never see this file: the seeds below choose the hidden rows."""

import sys
from pathlib import Path

from aira_evaluator.autoresearch.prepare.preparation import evaluate_prepare

HIDDEN_SEEDS = {"search": 0x694EBEF79FD3631, "final": 0x8CD9C8403C486C3}

if __name__ == "__main__":
    sys.exit(evaluate_prepare(Path(__file__).parent, HIDDEN_SEEDS))
