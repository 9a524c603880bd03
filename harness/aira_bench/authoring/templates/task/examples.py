"""The examples of this task, drawn from seeds. Replace this module by readers of your data.

Agents never see the task folder: of all that is in it they get the description and what prepare.py writes.
"""

import random

TRAIN_SEED, TEST_SEED = 0x2F6E7C51, 0x6B1D90A4
TRAIN_ROWS, TEST_ROWS = 2000, 1000
_PAIRS = ("()", "[]")
_MOST_PAIRS = 12


def draw(seed: int, rows: int) -> list[tuple[str, int]]:
    """Strings of brackets, each with its label; about half of them are balanced."""
    rng = random.Random(seed)
    found = []
    for _ in range(rows):
        text = _balanced(rng, rng.randint(3, _MOST_PAIRS))
        if rng.random() < 0.5:
            text = _with_a_fault(rng, text)
        found.append((text, int(is_balanced(text))))
    return found


def is_balanced(text: str) -> bool:
    """Whether every bracket is closed by one of its kind, in the right order."""
    waiting: list[str] = []
    closing = {"(": ")", "[": "]"}
    for bracket in text:
        if bracket in closing:
            waiting.append(closing[bracket])
        elif not waiting or waiting.pop() != bracket:
            return False
    return not waiting


def _balanced(rng: random.Random, pairs: int) -> str:
    text = ""
    for _ in range(pairs):
        at, pair = rng.randint(0, len(text)), rng.choice(_PAIRS)
        inside = rng.random() < 0.3
        text = pair[0] + text + pair[1] if inside else text[:at] + pair + text[at:]
    return text


def _with_a_fault(rng: random.Random, text: str) -> str:
    """One bracket made another, or two unlike ones swapped; now and then that leaves the string balanced."""
    brackets = list(text)
    at = rng.randrange(len(text))
    unlike = [other for other, bracket in enumerate(text) if bracket != text[at]]
    if rng.random() < 0.5:
        other = rng.choice(unlike)
        brackets[at], brackets[other] = brackets[other], brackets[at]
    else:
        brackets[at] = rng.choice([bracket for bracket in "()[]" if bracket != text[at]])
    return "".join(brackets)
