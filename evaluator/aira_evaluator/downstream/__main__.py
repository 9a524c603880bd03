"""One request in, as JSON on the standard input; lines of JSON out, each as soon as it is known.

Whatever lm_eval prints goes to the standard error. Exit statuses: 0 all tasks had their turn, 2 the request cannot be
carried out; the reason is the last line on standard error.
"""

import os
import sys

from aira_contract.downstream import DownstreamRequest, Line, to_line
from aira_evaluator.split_manifest import DataError


def main() -> int:
    """Answer the request on the standard input."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(line: Line) -> None:
        print(to_line(line), file=answers, flush=True)

    try:
        from aira_evaluator.downstream.session import evaluate_all

        evaluate_all(DownstreamRequest.from_json(sys.stdin.read()), tell)
    except (DataError, RuntimeError, ImportError, OSError) as error:
        print((str(error).splitlines() or [type(error).__name__])[0], file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
