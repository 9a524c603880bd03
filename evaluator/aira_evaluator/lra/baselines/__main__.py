"""`python -m aira_evaluator.lra.baselines`, as task descriptions name it: prints a `model.py` (`agent.baselines`)."""

import sys

from aira_evaluator.lra.agent.baselines.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
