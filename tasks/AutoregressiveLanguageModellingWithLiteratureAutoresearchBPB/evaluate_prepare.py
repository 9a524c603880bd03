"""Write the hidden data of this task. Agents never see this file: the seeds below choose the hidden rows."""

import sys
from pathlib import Path

from aira_evaluator.autoresearch.prepare.preparation import evaluate_prepare

HIDDEN_SEEDS = {"search": 0x57EE3923C889A7F, "final": 0x50C9A054AB8BDC9}

if __name__ == "__main__":
    sys.exit(evaluate_prepare(Path(__file__).parent, HIDDEN_SEEDS))
