"""Named search-and-replace edits of a file.

    ### change: raise the learning rate
    <<<<<<< SEARCH
    lr = 0.01
    =======
    lr = 0.03
    >>>>>>> REPLACE

Each block is one change. Its search text must occur exactly once in the file as edited so far; a block that does not is
named in the problem, so that the model can give it again. Lines are matched whole and exactly, trailing blanks aside.
"""

import re
from dataclasses import dataclass

from aira_bench.agent_code.reasoning import without_reasoning
from aira_bench.agent_code.syntax import LONGEST_CODE_BYTES
from aira_bench.record.node import Change

_NAME = re.compile(r"[ \t]*+#*+[ \t]*+change[ \t]*+:[ \t]*+(.{1,200}?)[ \t]*+", re.IGNORECASE)
_SEARCH, _DIVIDE, _REPLACE = "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE"


@dataclass(frozen=True)
class Edit:
    """One SEARCH/REPLACE block of a model's answer: the lines to find in a file, and those to put in their place."""

    name: str
    search: tuple[str, ...]
    replace: tuple[str, ...]


@dataclass(frozen=True)
class Edited:
    """The edited file and what changed, or a problem worded for the model."""

    code: str
    changes: tuple[Change, ...]
    problem: str = ""


def apply_answer(code: str, answer: str) -> Edited:
    """Apply every block of an answer, all or none."""
    edits, problem = parse_edits(without_reasoning(answer))
    if problem:
        return Edited("", (), problem)
    return apply_edits(code, edits)


def parse_edits(answer: str) -> tuple[list[Edit], str]:
    """Return the blocks of an answer in order, and what is wrong with the answer (empty if nothing is)."""
    edits: list[Edit] = []
    name, state = "", "outside"
    search: list[str] = []
    replace: list[str] = []
    for line in answer.replace("\r\n", "\n").split("\n"):
        mark = line.strip()
        if state == "outside":
            if found := _NAME.fullmatch(line):
                name = found[1]
            elif mark == _SEARCH:
                state, search, replace = "search", [], []
        elif state == "search":
            if mark == _DIVIDE:
                state = "replace"
            else:
                search.append(line)
        elif mark == _REPLACE:
            edits.append(Edit(name or f"change {len(edits) + 1}", tuple(search), tuple(replace)))
            name, state = "", "outside"
        else:
            replace.append(line)
    if state != "outside":
        return [], f"Block {len(edits) + 1} is not closed by {_REPLACE}."
    return edits, "" if edits else f"The answer holds no block between {_SEARCH} and {_REPLACE}."


def apply_edits(code: str, edits: list[Edit]) -> Edited:
    """Apply blocks one after the other."""
    lines, changes = code.split("\n"), []
    for number, edit in enumerate(edits, start=1):
        search = [line.rstrip() for line in edit.search]
        if not any(search):
            return Edited("", (), f"Block {number} ({edit.name}): the search text is empty.")
        bare = [line.rstrip() for line in lines]
        places = [at for at in range(len(bare) - len(search) + 1) if bare[at : at + len(search)] == search]
        if len(places) != 1:
            found = f"{len(places)} times" if places else "nowhere"
            return Edited("", (), f"Block {number} ({edit.name}): its search text stands {found} in the file.")
        if tuple(search) == tuple(line.rstrip() for line in edit.replace):
            return Edited("", (), f"Block {number} ({edit.name}): it changes nothing.")
        lines[places[0] : places[0] + len(search)] = edit.replace
        changes.append(Change(edit.name, len(edit.search), len(edit.replace)))
    edited = "\n".join(lines)
    if len(edited.encode("utf-8", "replace")) > LONGEST_CODE_BYTES:
        return Edited("", (), f"The edited program is longer than {LONGEST_CODE_BYTES} bytes.")
    return Edited(edited, tuple(changes))
