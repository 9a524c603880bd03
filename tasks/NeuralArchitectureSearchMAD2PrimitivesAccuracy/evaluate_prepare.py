"""Write the labelled hidden data of this task. Agents never see this file: the seeds below are the hidden data."""

import sys

from aira_evaluator.compose.prepare.mad import HiddenSeeds, evaluate_prepare

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0x853607BD7E73EE2, test=0x39D8A6D9B9F4D62, training=0x59077C6625829C1),
    "final": HiddenSeeds(validation=0x2FE139AC225B3F2, test=0x2D450081CE7C007, training=0x2CA6A25E45B4993),
}

if __name__ == "__main__":
    sys.exit(evaluate_prepare(primitives=("M", "mA"), hidden=HIDDEN_SEEDS))
