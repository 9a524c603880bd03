"""How a script of a task ends when it cannot do its work: one line on standard error, and an exit status.

Exit statuses: 0 done, 1 a failure of the evaluation (folders, data, settings), 2 a wrong command line or a submission
without a valid score.
"""

import sys

from aira_contract.invocation import FAILED

_MOST_CHARACTERS = 500
"""Of a message: the last words of a submission may be pages."""


def failed(subject: str, error: object, status: int = FAILED) -> int:
    """Print `subject: error` as one line of bounded length on standard error; return `status`."""
    print(f"{subject}: {' '.join(str(error).split())[:_MOST_CHARACTERS]}", file=sys.stderr)
    return status
