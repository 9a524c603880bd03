"""Declared numbers that say which scores, and which searches, may be compared: raised by decision, never by a comment.

An image's tag changes with every byte of our sources, so it tells too much apart; nothing at all would tell too little.
So each number stands for some sources. Whoever edits one of those either raises the number or records why the edit
moves no score, in `tests/accepted_sources.txt`, which a test compares with the sources
(docs/decisions/0038-same-experiment.md).

Not covered: what a run records by itself: names, budgets, limits, prompts, cards, data sources, hardware.
"""

from collections.abc import Mapping

EVALUATORS: Mapping[str, int] = {"csv": 1, "architecture": 4, "module": 4, "script": 4}
"""By the kind of artifact: the code that trains and scores it, and the scripts and seeds of the shipped tasks that make
its data. `module` and `script` were raised to 3 when pairs of tasks began to share hidden data; `module` to 4 when its
controls began to allow for the noise of training; `architecture` was when
linear biases began at zero and the autoencoder's positions became MAD-lab's, and to 4 when recall of MAD's cpu profile
was made to reach induction; `script` to 4 when the baseline, which trains its references, and the tokenizer became
those of the public reference."""
LIBRARIES: Mapping[str, int] = {}
"""By flavour of images: the pinned libraries that judges compute with. 1 for those that are not named."""
SEARCH = 1
"""The agents and scaffolds of this package, but for prompts, whose hashes each run records."""


def libraries_of(flavour: str) -> int:
    """Return the number of a flavour's libraries."""
    return LIBRARIES.get(flavour, 1)
