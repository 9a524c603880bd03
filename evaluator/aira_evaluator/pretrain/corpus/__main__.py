"""One process of a making: `python -m aira_evaluator.pretrain.corpus FOLDER`, as often as there are cores.

Exit statuses: 0 the folder is whole, 2 it cannot become so and one line says why, 130 interrupted.
"""

import sys
from pathlib import Path

from aira_contract.token_making import REFUSED_STATUS, REQUEST, RequestError, TokenRequest
from aira_evaluator.pretrain.corpus.making import Making
from aira_evaluator.split_manifest import DataError


def main(arguments: list[str]) -> int:
    """Carry out the request of a folder; return the exit status."""
    folder = Path(arguments[0])
    try:
        request = TokenRequest.from_json((folder / REQUEST).read_text(encoding="utf-8"))
        Making(folder, request, lambda line: print(line, file=sys.stderr, flush=True)).run()
    except (DataError, RequestError) as error:
        print(error, file=sys.stderr)
        return REFUSED_STATUS
    except OSError as error:
        print(f"{error.filename or folder}: {error.strerror or error}", file=sys.stderr)
        return REFUSED_STATUS
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
