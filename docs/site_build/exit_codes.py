"""The reference of exit statuses, from the classes of errors."""

import inspect

from aira_bench.cli.stopping import STOPPED
from aira_bench.errors import AiraError
from site_build.tables import code, table, text


def exit_codes_in_markdown() -> str:
    """Return a table of every exit status: what it means, and the errors of Python that stand for it."""
    by_status: dict[int, list[type[AiraError]]] = {}
    for error in _below(AiraError):
        by_status.setdefault(error.exit_code, []).append(error)
    rows = [("0", "What was asked for is done.", "")]
    for status, errors in sorted(by_status.items()):
        meanings = [_first_paragraph(error) for error in errors if error.exit_code != _of_parent(error)]
        rows.append((str(status), " ".join(meanings), ", ".join(code(error.__name__) for error in errors)))
    rows.append(
        (str(STOPPED), "Stopped by Ctrl-C, SIGTERM or SIGHUP; a run can be resumed.", code("KeyboardInterrupt"))
    )
    return table(("exit status", "meaning", "from Python"), rows)


def _below(error: type[AiraError]) -> list[type[AiraError]]:
    return [error, *(deeper for each in error.__subclasses__() if _ours(each) for deeper in _below(each))]


def _ours(error: type[AiraError]) -> bool:
    return error.__module__ == AiraError.__module__


def _of_parent(error: type[AiraError]) -> int | None:
    return getattr(error.__base__, "exit_code", None) if error is not AiraError else None


def _first_paragraph(error: type[AiraError]) -> str:
    if error is AiraError:
        return "A check or a comparison failed."
    return text((inspect.getdoc(error) or "").split("\n\n")[0])
