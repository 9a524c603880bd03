"""The name by which task descriptions, and so recorded prompts and agents' scripts, know `agent.validate`."""

import sys

from aira_evaluator.compose.agent.validate import main, validate

__all__ = ["main", "validate"]

if __name__ == "__main__":
    sys.exit(main())
