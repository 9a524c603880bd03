"""What tells rows of a table apart that look the same: the fewest facts that do, and the count of the others.

Not covered: which facts there are (`aira_bench.record.identity`).
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import combinations

from aira_bench.boards.rows import Entry, Row
from aira_bench.excerpts import VALUE_CHARS

_MOST_CHOSEN = 3
"""Facts looked for together; where more are needed, all that vary are shown."""
_ABSENT = "-"
_HASH = re.compile(r"[0-9a-f]{64}")


def tell_apart(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, each with the facts that tell it from the rows that look like it."""
    alike: defaultdict[Hashable, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        alike[_looks(row.entry)].append(index)
    told = list(rows)
    for group in alike.values():
        facts = [rows[index].entry.identity.facts for index in group]
        chosen, others = _fewest(facts)
        more = f" (and {others} more)" if others else ""
        for index, of_row in zip(group, facts, strict=True):
            said = ", ".join(f"{name} {_in_words(of_row.get(name, _ABSENT))}" for name in chosen)
            told[index] = replace(rows[index], differs_in=said + more if said else "")
    return told


def _looks(entry: Entry) -> Hashable:
    """What a row says of itself anyway."""
    return entry.agent, entry.scaffold, entry.fitness, entry.record, entry.isolation, entry.changed


def _fewest(facts: Sequence[dict[str, str]]) -> tuple[tuple[str, ...], int]:
    """The first smallest set of names by which all differ, and how many more names vary."""
    names = dict.fromkeys(name for each in facts for name in each)
    varying = [name for name in names if len({each.get(name, _ABSENT) for each in facts}) > 1]
    for size in range(min(_MOST_CHOSEN, len(varying)) + 1):
        for chosen in combinations(varying, size):
            if len({tuple(each.get(name, _ABSENT) for name in chosen) for each in facts}) == len(facts):
                return chosen, len(varying) - size
    return tuple(varying), 0


def _in_words(value: str) -> str:
    """A value; of a hash its beginning, and of another long one its beginning and a hash of the whole."""
    if _HASH.fullmatch(value):
        return value[:12]
    return value if len(value) <= VALUE_CHARS else f"{value[:12]}... {hashlib.sha256(value.encode()).hexdigest()[:12]}"
