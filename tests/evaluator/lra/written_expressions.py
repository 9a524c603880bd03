"""ListOps expressions as people write them."""

import numpy as np
from numpy.typing import NDArray

from aira_evaluator.lra.listops.expressions import OPERATORS

_WORDS = (*(str(digit) for digit in range(10)), *OPERATORS, "]")


def to_text(symbols: NDArray[np.uint8]) -> str:
    """The words behind symbols, such as `[MAX 4 3 [MIN 2 3 ] 1 0 ]`."""
    return " ".join(_WORDS[symbol] for symbol in symbols)
