"""Write the labelled hidden data of this task. Agents never see this file: the seeds below are the hidden data."""

import sys

from aira_evaluator.lra.prepare.preparation import evaluate_prepare
from aira_evaluator.task_scripts.hidden import HiddenSeeds

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0xE952E36561A5ABC, test=0x9D6C673C31687ED, training=0x5E361D79CC7121A),
    "final": HiddenSeeds(validation=0xD433224B6A02062, test=0x3F9F714DDD8DBA4, training=0xB877E57DD259C0),
}

if __name__ == "__main__":
    sys.exit(evaluate_prepare("listops", configurable=True, hidden=HIDDEN_SEEDS))
