"""What a task may ask of the packages in its containers: names, extras and versions, nothing that a program acts on.

A requirement line of pip's can name an address, a path, an option or a file to read more lines from; in a task folder
of a stranger none of that is taken. What passes is spelt anew from its parts, so that no character of the file reaches
a command line unread.

Not covered: whether such a package exists (`aira_bench.images.declared`).
"""

import re

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from aira_bench.excerpts import VALUE_CHARS

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9._, -]*\])?[A-Za-z0-9.*+!<>=~, ]*", re.ASCII)
_MOST_CHARS = 200


def read_requirement(text: str) -> Requirement:
    """Return the requirement that `text` spells, such as `scikit-learn>=1.4,<2` or `jax[cpu]==0.5.0`.

    Raises:
        ValueError: it is no requirement, or one with an address, a path, an option or an environment marker.
    """
    if len(text) > _MOST_CHARS or not _PLAIN.fullmatch(text.strip()):
        raise ValueError(
            f"{text[:VALUE_CHARS]!r} is no package with versions, such as 'numpy' or 'scikit-learn>=1.4,<2'; "
            "options, addresses, paths and markers are not taken"
        )
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(f"{text[:VALUE_CHARS]!r} is no requirement: {' '.join(str(error).split())}") from None


def satisfied_by(requirement: Requirement, version: str) -> bool:
    """Whether a package of that version is what a requirement asks for, whatever is said of prereleases."""
    try:
        return requirement.specifier.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
