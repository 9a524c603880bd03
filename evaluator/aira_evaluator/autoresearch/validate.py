"""The name by which task descriptions, and so recorded prompts and agents' scripts, know `agent.validate`."""

import sys

from aira_evaluator.autoresearch.agent.validate import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
