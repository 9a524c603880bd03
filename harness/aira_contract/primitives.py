"""The primitives of the architecture search spaces: their names, and what kind of layer each is.

To add one, add it here, build it in `aira_kernels.layers`, and count it in `aira_contract.training_arithmetic`; what
lists, reads, draws or searches primitives takes them from this table.

Written by agents into submissions; read by the host (metadata of tasks, searchers, notation, pictures), by the
evaluator, and by the kernels' tables of constructors. Not covered: what a layer computes (`aira_kernels`).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Primitive:
    """One kind of layer."""

    symbol: str
    """Its name in canonical architectures, submissions and reports: `mA`."""
    letter: str
    """One capital letter, for the compact spelling of whole architectures."""
    written: str
    """Its name in the notation of patterns, as the paper prints it."""
    title: str
    """Its name in a sentence."""
    colour: str
    """In pictures; the colours differ for readers who see few of them."""
    mixes_positions: bool
    """Whether what it says of one position depends on others; without such a layer a model sees one token at a time."""


MLP = Primitive("M", "M", "M", "MLP", "#e69f00", mixes_positions=False)
ATTENTION = Primitive("mA", "A", "A", "attention", "#0072b2", mixes_positions=True)
MAMBA = Primitive("Mb", "S", "Mb", "Mamba-2", "#009e73", mixes_positions=True)

PRIMITIVES = (MLP, ATTENTION, MAMBA)
"""All of them, in the order in which messages list them."""

BY_SYMBOL = {primitive.symbol: primitive for primitive in PRIMITIVES}
BY_LETTER = {primitive.letter: primitive for primitive in PRIMITIVES}
SYMBOLS = tuple(BY_SYMBOL)
IN_PATTERNS = tuple(BY_LETTER[letter].symbol for letter in sorted(BY_LETTER))
"""The symbols in the order of their letters: that of pictures, and the one that decides between equal votes."""
