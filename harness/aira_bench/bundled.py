"""Finds the data folders that come with the product: task folders, image recipes, published tables.

In a checkout they are top-level folders; in an installed wheel they lie inside the package.
"""

from pathlib import Path

from aira_bench.errors import PrerequisiteError

_IN_CHECKOUT = {"tasks": "tasks", "images": "images", "published": "results/published"}


def bundled_folder(name: str) -> Path:
    """Return the folder `tasks`, `images` or `published`.

    Raises:
        PrerequisiteError: the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    candidates = (package / "_bundled" / name, package.parents[1] / _IN_CHECKOUT[name])
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise PrerequisiteError(
        f"The folder {name!r} that belongs to aira-bench is missing (looked in {candidates[0]} and {candidates[1]}).",
        hint="pip install --force-reinstall aira-bench",
    )
