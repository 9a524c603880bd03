"""Write the labelled hidden data of this task. Agents never see this file: the seeds below are the hidden data."""

import sys

from aira_evaluator.compose.prepare.mad import HiddenSeeds, evaluate_prepare

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0xD235246F278081F, test=0x58AC707F4FDE84A, training=0x73A5177286E4ABE),
    "final": HiddenSeeds(validation=0xD7AA5BDA8D47350, test=0xE4AE03966FA0A03, training=0x85951D0308A53EF),
}

if __name__ == "__main__":
    sys.exit(evaluate_prepare(primitives=("M", "mA", "Mb"), hidden=HIDDEN_SEEDS))
