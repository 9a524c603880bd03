"""`aira-bench` and `python -m aira_bench`."""

import sys

from aira_bench.cli.main import run_command_line


def main() -> None:
    """Run the command line and exit with its status."""
    sys.exit(run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
