"""Write the labelled hidden data of this task. Agents never see this file: the seeds below are the hidden data."""

import sys

from aira_evaluator.lra.prepare.preparation import evaluate_prepare
from aira_evaluator.task_scripts.hidden import HiddenSeeds

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0x63F2F1E3431208F, test=0xB3F2C0DEE5EB378, training=0xD4C36CA1ABD11CA),
    "final": HiddenSeeds(validation=0xCF73303FD01E23B, test=0x13CE4E4CEA41DA8, training=0x1959E9A4F70D061),
}

if __name__ == "__main__":
    sys.exit(evaluate_prepare("text", configurable=True, hidden=HIDDEN_SEEDS))
