"""One request in, as JSON on the standard input; lines of JSON out, each as soon as it is known.

Exit statuses: 0 all rows had their turn, 2 the request cannot be carried out; the reason is one line on standard error.
"""

import sys

from aira_contract.latency import LatencyRequest
from aira_evaluator.latency.session import Line, measure_all


def _write(line: Line) -> None:
    print(line.to_line(), flush=True)


def main() -> int:
    """Answer the request on the standard input."""
    try:
        measure_all(LatencyRequest.from_json(sys.stdin.read()), _write)
    except (ValueError, RuntimeError) as error:
        print((str(error).splitlines() or [type(error).__name__])[0], file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
