"""Write the labelled hidden data of this task. Agents never see this file: the seeds below are the hidden data."""

import sys

from aira_evaluator.lra.prepare.preparation import evaluate_prepare
from aira_evaluator.task_scripts.hidden import HiddenSeeds

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0xA33F3E2035D417B, test=0x4DBD6FF17047BF1, training=0x1C03F3BC1F3EE4F),
    "final": HiddenSeeds(validation=0xFDD0BF33FFC8991, test=0xEE3B6D26464B6D, training=0xF0CE53B128554D2),
}

if __name__ == "__main__":
    sys.exit(evaluate_prepare("retrieval", configurable=True, hidden=HIDDEN_SEEDS))
