"""Which flavours of images there are: a folder of `images/` with a `flavour.toml` is one.

This is the only list. The command line, the locks (`images/lock.sh`, `make lock`) and the tests read the folders too.
"""

from aira_bench.bundled import bundled_folder

DEFAULT_FLAVOUR = "cpu"
"""Of every profile but `paper`, and of machines without a GPU."""
PAPER_FLAVOUR = "cuda-paper"
"""With the paper's versions, for whoever repeats its runs; nothing chooses it by itself."""


def flavour_names() -> tuple[str, ...]:
    """Names of all flavours, sorted."""
    return tuple(sorted(path.parent.name for path in bundled_folder("images").glob("*/flavour.toml")))
