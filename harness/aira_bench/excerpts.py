"""How many characters of a text made elsewhere are quoted, kept or asked for: every cut of one text, in one table.

A cut keeps a stranger's text from flooding a message, a record or a prompt. It is made before the text is escaped for a
terminal or a page (`aira_bench.escaping`, which has the limits of what is shown).

Not covered: limits on files and on streams of bytes, which lie beside what reads them.
"""

LINE_CHARS = 300
"""Of a line that another program printed, or of another package's words, in a message of ours."""
PROBLEM_CHARS = 200
"""Of what a schema finds wrong with a document."""
VALUE_CHARS = 80
"""Of a value that is refused: enough to find it again."""
NAME_CHARS = 100
"""Of a name that is made of other names."""
REPLAYED_NAME_CHARS = 60
"""Of a run's name, in the name of its replay."""
PLAN_CHARS = 1000
"""Of the plan and the summary that an agent gives, as a node keeps them."""
TOLD_REASON_CHARS, TOLD_PLAN_CHARS = 300, 600
"""Of an earlier step's reason, and of its plan and its summary, in a prompt."""
EARLIER_ANSWER_CHARS = 6000
"""Of a model's unusable answer, when it is asked again."""
