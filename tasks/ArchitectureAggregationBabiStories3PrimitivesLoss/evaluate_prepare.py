"""Write the hidden data of this task. Agents never see this file: the seeds below decide what is hidden."""

import sys
from pathlib import Path

from aira_evaluator.compose.prepare.grown import HiddenSeeds, evaluate_prepare

HIDDEN_SEEDS = {
    "search": HiddenSeeds(validation=0x2B389462F5D7016, test=0x29CD6EC2F550083, training=0x2E74179B1B325C8),
    "final": HiddenSeeds(validation=0xE42F8C7B7A0B6C, test=0x1344ED372563D50, training=0x249730BDFD86935),
}

if __name__ == "__main__":
    sys.exit(
        evaluate_prepare(
            "aggregate",
            primitives=("M", "mA", "Mb"),
            hidden=HIDDEN_SEEDS,
            files=[Path(__file__).with_name("searched.csv")],
        )
    )
