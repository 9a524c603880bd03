"""Write the public train data of this task."""

import sys

from aira_evaluator.compose.prepare.text import prepare

if __name__ == "__main__":
    sys.exit(prepare("babistories", primitives=("M", "mA")))
