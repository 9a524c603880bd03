"""Styles and scripts of pages: ours, and Plotly's as its Python package ships it."""

from importlib import resources
from pathlib import Path

from aira_bench.errors import PrerequisiteError
from aira_bench.view.rendering import STATIC

TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def static_file(name: str) -> Path | None:
    """Return where a style or a script lies; None where there is none of that name.

    Raises:
        PrerequisiteError: Plotly is not there.
    """
    if name == "plotly.min.js":
        return plotly_file()
    return next((path for path in STATIC.iterdir() if path.name == name and path.suffix in TYPES), None)


def plotly_file() -> Path:
    """Return where Plotly's script lies, as its Python package ships it.

    Raises:
        PrerequisiteError: the package is not there.
    """
    try:
        found = Path(str(resources.files("plotly"))) / "package_data" / "plotly.min.js"
    except ModuleNotFoundError:
        found = Path()
    if not found.is_file():
        raise PrerequisiteError("Pages need plotly.", hint="pip install 'aira-bench[view]'")
    return found
