"""Write the public data of this task: tokens, tokenizer, baseline, what scripts import, and literature."""

import sys
from pathlib import Path

from aira_evaluator.autoresearch.prepare.preparation import prepare

if __name__ == "__main__":
    sys.exit(prepare(Path(__file__).parent))
