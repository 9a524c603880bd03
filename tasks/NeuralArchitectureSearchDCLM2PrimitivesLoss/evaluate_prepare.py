"""Write the hidden data of this task. Agents never see this file: the seeds below decide what is hidden."""

import sys

from aira_evaluator.compose.prepare.text import HiddenSeeds, evaluate_prepare

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0x48FC10CFDFCAC9B, test=0x0D200A88E1B2C44, training=0xCEDA70A46638F51),
    "final": HiddenSeeds(validation=0xEB5D3C5B07D2A0C, test=0x576C0EE75B455C0, training=0x34EEF4F142C6FC5),
}

if __name__ == "__main__":
    sys.exit(evaluate_prepare("dclm", primitives=("M", "mA"), hidden=HIDDEN_SEEDS))
