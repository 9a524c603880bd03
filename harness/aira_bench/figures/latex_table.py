"""Writes tables as LaTeX with booktabs; every cell is text, whatever an agent called itself or wrote.

Not covered: what is in them (`charts.PaperTable`).
"""

from collections.abc import Sequence

from aira_bench.escaping import latex
from aira_bench.figures.charts import PaperTable

_PREAMBLE = r"% Needs \usepackage{booktabs}; names beyond ASCII need LuaLaTeX or XeLaTeX."
_WIDE_CM = 9.0
"""For all columns of running text together."""


def latex_table(table: PaperTable, caption: str, label: str) -> str:
    """Return a table as a `table*` with caption and label.

    Args:
        table: its cells.
        caption: as plain text.
        label: by which a paper refers to it, of letters, digits and hyphens.
    """
    width = _WIDE_CM / max(1, len(table.wide))
    kinds = [
        rf"p{{{width:.1f}cm}}" if index in table.wide else "l" if index == 0 or _is_text(table, index) else "r"
        for index in range(len(table.header))
    ]
    return "\n".join(
        [
            _PREAMBLE,
            r"\begin{table*}",
            r"\centering\footnotesize",
            rf"\caption{{{latex_text(caption)}}}",
            rf"\label{{{label}}}",
            rf"\begin{{tabular}}{{{''.join(kinds)}}}",
            r"\toprule",
            _row(table.header),
            r"\midrule",
            *map(_row, table.body),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def latex_text(text: str) -> str:
    """Return running text of ours, however long, as LaTeX."""
    return " ".join(latex(word) for word in text.split())


def _row(cells: Sequence[str]) -> str:
    return " & ".join(latex(cell) for cell in cells) + r" \\"


def _is_text(table: PaperTable, index: int) -> bool:
    return any(row[index][:1].isalpha() for row in table.body)
