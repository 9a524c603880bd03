"""Write the labelled hidden data of this task. Agents never see this file: the seeds below are the hidden data."""

import sys

from aira_evaluator.lra.prepare.preparation import evaluate_prepare
from aira_evaluator.task_scripts.hidden import HiddenSeeds

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0xC269BAABC396C16, test=0x1345A647E6314FA, training=0x54563DF6FD3B9E),
    "final": HiddenSeeds(validation=0x325BCAB1C5A930E, test=0x98FA9F37DAC99BF, training=0x707A9CBF63BAF8A),
}

if __name__ == "__main__":
    sys.exit(evaluate_prepare("listops", configurable=True, hidden=HIDDEN_SEEDS))
