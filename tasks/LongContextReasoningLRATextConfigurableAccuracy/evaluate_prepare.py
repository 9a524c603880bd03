"""Write the labelled hidden data of this task. Agents never see this file: the seeds below are the hidden data."""

import sys

from aira_evaluator.lra.prepare.preparation import evaluate_prepare
from aira_evaluator.task_scripts.hidden import HiddenSeeds

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0x3EAD3BECA2ED29, test=0xA77ABF74C397134, training=0x25E7DB31B731398),
    "final": HiddenSeeds(validation=0x645557B555BE9D5, test=0x83FAECFBC1AF41, training=0x9FA56E8E78F1C44),
}

if __name__ == "__main__":
    sys.exit(evaluate_prepare("text", configurable=True, hidden=HIDDEN_SEEDS))
