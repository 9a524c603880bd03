"""Write the labelled hidden data of this task. Agents never see this file: the seeds below are the hidden data."""

import sys

from aira_evaluator.lra.prepare.preparation import evaluate_prepare
from aira_evaluator.task_scripts.hidden import HiddenSeeds

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0x8220AFD6B811A50, test=0xD58FA6182276100, training=0x25D1481A8D6569E),
    "final": HiddenSeeds(validation=0x920B74CD7551C2, test=0xA13430C60F56C00, training=0x3F46FCA84332E1E),
}

if __name__ == "__main__":
    sys.exit(evaluate_prepare("retrieval", configurable=True, hidden=HIDDEN_SEEDS))
