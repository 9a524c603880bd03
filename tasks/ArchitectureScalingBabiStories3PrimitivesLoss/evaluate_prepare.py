"""Write the hidden data of this task. Agents never see this file: the seeds below decide what is hidden."""

import sys

from aira_evaluator.compose.prepare.grown import HiddenSeeds, evaluate_prepare

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0x308D0F8C429AA95, test=0x102DB75EA473D08, training=0x14AA60CD4AED6EA),
    "final": HiddenSeeds(validation=0xD78F588A5BF7DE, test=0x12C39761015C423, training=0x3B1A8ABDF979A17),
}

if __name__ == "__main__":
    sys.exit(evaluate_prepare("scale", primitives=("M", "mA", "Mb"), hidden=HIDDEN_SEEDS))
