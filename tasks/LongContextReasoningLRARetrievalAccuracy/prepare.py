"""Write the public train and validation data of this task."""

import sys

from aira_evaluator.lra.prepare.preparation import prepare

if __name__ == "__main__":
    sys.exit(prepare("retrieval", configurable=False))
