"""The process that makes a board: run folders in on standard input, the board out on standard output, both as JSON.

It has no model's keys in its environment, and what it took of memory goes with it.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from aira_bench.keys import KeyFolder
from aira_bench.record.folder import RunFolder
from aira_bench.view.boards import make_board


def main() -> None:
    """Answer the one request."""
    request = json.loads(sys.stdin.buffer.read())
    folders = [RunFolder(Path(path)) for path in request["runs"]]
    made = make_board(folders, KeyFolder(Path(request["keys"])).ring())
    sys.stdout.write(json.dumps(asdict(made)))


if __name__ == "__main__":
    main()
