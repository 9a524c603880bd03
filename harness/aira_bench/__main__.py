"""`aira-bench` and `python -m aira_bench`."""

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    # `python -m` looks for modules in the current folder first, the script `aira-bench` never. Both shall import the
    # same: a file in a folder that somebody happens to be in stands for nothing that is named (aira_bench.extensions).
    del sys.path[0]

from aira_bench.cli.main import run_command_line
from aira_bench.cli.stopping import STOPPED


def main() -> None:
    """Run the command line and exit with its status; once stopped, without waiting for threads that still wait."""
    status = run_command_line(sys.argv[1:])
    if status == STOPPED:
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
