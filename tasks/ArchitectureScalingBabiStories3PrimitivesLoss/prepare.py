"""Write the public data of this task."""

import sys

from aira_evaluator.compose.prepare.grown import prepare

if __name__ == "__main__":
    sys.exit(prepare("scale", primitives=("M", "mA", "Mb")))
