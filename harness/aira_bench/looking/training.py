"""How the training of a step went, in a line a curve: of the judge's own measure, and as a script told it.

Not covered: curves as pictures, and what becomes of a training (`step_view`).
"""

from aira_bench.looking.sparkline import ASCII_BARS, BARS, sparkline
from aira_bench.looking.step_view import StepScores
from aira_contract.training_series import Series

_COLUMNS = 40


def training_pairs(scores: StepScores, *, ascii_only: bool = False) -> list[tuple[str, str]]:
    """Return a name and a line of each curve that is known of a step, the loss drawn as it is: what learns falls.

    Args:
        scores: of the step.
        ascii_only: for terminals whose encoding has nothing else.
    """
    bars = ASCII_BARS if ascii_only else BARS
    pairs = [("loss", _line(scores.series, bars))] if scores.series else []
    if scores.claimed_series:
        told = f"{_line(scores.claimed_series, bars)}   told by the script, not measured"
        pairs.append(("claimed loss", told))
    return pairs


def _line(series: Series, bars: str) -> str:
    curve = sparkline([point.loss for point in series], _COLUMNS, lower_is_better=False, bars=bars)
    last = series[-1]
    parts = [f"{last.step:,} step{'' if last.step == 1 else 's'}"]
    parts += [] if last.tokens is None else [f"{last.tokens:,} tokens"]
    parts += [] if last.seconds is None else [f"{last.seconds:.1f} s"]
    return f"{curve}   {series[0].loss:.4g} to {last.loss:.4g} in {', '.join(parts)}"
