"""What pages need of other packages, and what to say where it is missing."""

import importlib.util

from aira_bench.errors import PrerequisiteError

EXTRA = "aira-bench[view]"


def require_view(*, server: bool) -> None:
    """Check that the packages of the extra are there.

    Args:
        server: whether pages are to be served, or only written.

    Raises:
        PrerequisiteError: they are not.
    """
    wanted = ["jinja2", "pygments", "plotly", *(["starlette", "uvicorn"] if server else [])]
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise PrerequisiteError(f"Pages need {' and '.join(missing)}.", hint=f"pip install '{EXTRA}'")
