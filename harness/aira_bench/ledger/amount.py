"""Amounts of money and tokens in whole numbers, so that sums of many are exact: billionths of a dollar, and tokens.

What is spent is rounded up and what may be spent is rounded down, each by less than a billionth of a dollar.
"""

import math
from dataclasses import dataclass
from decimal import Decimal

_NANO = 1_000_000_000


@dataclass(frozen=True)
class Amount:
    """Money and tokens of one call, or of many."""

    nanousd: int = 0
    tokens: int = 0

    @classmethod
    def of(cls, usd: float, tokens: int) -> "Amount":
        """Return dollars and tokens as an amount, rounded up."""
        return cls(math.ceil(Decimal(str(usd)) * _NANO), tokens)

    @property
    def usd(self) -> float:
        """In US dollars, for people."""
        return self.nanousd / _NANO

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.nanousd + other.nanousd, self.tokens + other.tokens)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.nanousd - other.nanousd, self.tokens - other.tokens)


NOTHING = Amount()


@dataclass(frozen=True)
class Caps:
    """The most that may be spent, in dollars and in tokens; None is no limit."""

    usd: float | None = None
    tokens: int | None = None

    def hold(self, amount: Amount) -> bool:
        """Whether so much may be spent in all."""
        return self.passed_by(amount) is None

    def passed_by(self, amount: Amount) -> str | None:
        """Which of them an amount passes, `usd` or `tokens`; None if it passes neither."""
        if self.usd is not None and amount.nanousd > math.floor(Decimal(str(self.usd)) * _NANO):
            return "usd"
        if self.tokens is not None and amount.tokens > self.tokens:
            return "tokens"
        return None

    @property
    def any(self) -> bool:
        """Whether anything is capped."""
        return self.usd is not None or self.tokens is not None
