"""Write the hidden data of this task. Agents never see this file: the seeds below decide what is hidden."""

import sys

from aira_evaluator.compose.prepare.text import HiddenSeeds, evaluate_prepare

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0x587E780F4178123, test=0x41B9D9D8F8BF485, training=0xE258EB56E460A6F),
    "final": HiddenSeeds(validation=0x7361569CB5C03A3, test=0x427E08137BEE5A4, training=0x3B2049213D49F9C),
}

if __name__ == "__main__":
    sys.exit(evaluate_prepare("babistories", primitives=("M", "mA"), hidden=HIDDEN_SEEDS))
