"""What is said of a name that stands for nothing: the known one that its user most likely meant, or all there are.

Case, spaces and punctuation tell nothing apart here, since tables print `GPT-5` and `Llama 3.2` for `gpt5` and
`llama-3.2`.

Not covered: whether a name is known, which its kind decides.
"""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most like another; None where none is.

    Args:
        name: as it was typed.
        known: names of the same kind.
    """
    by_letters = {_letters(each): each for each in known}
    close = difflib.get_close_matches(_letters(name), by_letters, n=1)
    return by_letters[close[0]] if close else None


def guess(name: str, known: Iterable[str], otherwise: str = "There are") -> str:
    """Return a sentence that ends what is said of an unknown name.

    Args:
        name: as it was typed.
        known: names of the same kind, in the order in which they are listed.
        otherwise: what stands before all of them where none is alike.
    """
    names = list(known)
    found = nearest(name, names)
    return f"{otherwise}: {', '.join(names)}." if found is None else f"Did you mean {found!r}?"


def _letters(name: str) -> str:
    return "".join(each for each in name.casefold() if each.isalnum())
