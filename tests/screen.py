"""A terminal that understands what our displays send, and a process on one: what a person would see, line by line.

Only the sequences that rich writes are known; any other is an error, since nothing else may reach a terminal.
"""

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from unicodedata import east_asian_width

_SEQUENCE = re.compile(r"\x1b\[(\??)([0-9;]*)([A-Za-z])")


class Screen:
    """Columns and lines of characters, and a place to write at."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0
        self.colours = 0
        """How many sequences of colour came."""
        self._rest = ""

    def resize(self, columns: int, lines: int) -> None:
        """Another size; what was written wraps anew, as terminals of today do."""
        self.columns, self.lines = columns, lines
        wrapped: list[list[str]] = []
        for row in self.rows:
            wrapped += [row[at : at + columns] for at in range(0, len(row), columns)] or [[]]
        self.rows = wrapped
        self.row, self.column = len(wrapped) - 1, min(len(wrapped[-1]), columns - 1)

    @property
    def shown(self) -> list[str]:
        """What is in the window: its last lines, without blanks at their ends."""
        return ["".join(row).rstrip() for row in self.rows[self._top :]]

    @property
    def _top(self) -> int:
        return max(len(self.rows) - self.lines, 0)

    def write(self, text: str) -> None:
        """Take what a process wrote."""
        text, at = self._rest + text, 0
        self._rest = ""
        while at < len(text):
            if text[at] == "\x1b":
                found = _SEQUENCE.match(text, at)
                if found is None:
                    assert len(text) - at < 20, f"an unknown sequence: {text[at : at + 20]!r}"
                    self._rest = text[at:]
                    return
                self._act(found[1], [int(each or 0) for each in found[2].split(";")], found[3])
                at = found.end()
                continue
            self._put(text[at])
            at += 1

    def _put(self, character: str) -> None:
        if character == "\n":
            self.row += 1
            if self.row == len(self.rows):
                self.rows.append([])
        elif character == "\r":
            self.column = 0
        else:
            assert character.isprintable(), f"{character!r} reached the terminal"
            wide = 2 if east_asian_width(character) in "WF" else 1
            if self.column + wide > self.columns:
                self._put("\n")
                self.column = 0
            row = self.rows[self.row]
            row.extend(" " * (self.column + wide - len(row)))
            row[self.column : self.column + wide] = [character, *[""] * (wide - 1)]
            self.column += wide

    def _act(self, private: str, numbers: list[int], what: str) -> None:
        if what == "m":
            self.colours += any(30 <= number <= 48 or 90 <= number <= 107 for number in numbers)
        elif what == "A":
            self.row = max(self.row - max(numbers[0], 1), self._top)
        elif what == "K":
            assert numbers[0] in (0, 2)
            row = self.rows[self.row]
            self.rows[self.row] = [] if numbers[0] == 2 else row[: self.column]
        elif what == "J":
            assert numbers[0] == 2
            for index in range(self._top, len(self.rows)):
                self.rows[index] = []
        elif what == "H":
            self.row, self.column = self._top, 0
        else:
            assert (private, what) in (("?", "h"), ("?", "l")), f"an unknown sequence: {numbers} {what}"


class OnScreen:
    """A process whose output goes to a terminal of ours."""

    def __init__(self, command: Sequence[str], columns: int, lines: int, environment: Mapping[str, str]) -> None:
        self.screen = Screen(columns, lines)
        self._ours, theirs = pty.openpty()
        self._decode = codecs.getincrementaldecoder("utf-8")("strict").decode
        self._size(columns, lines)
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)

    def __enter__(self) -> "OnScreen":
        return self

    def __exit__(self, *failure: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def resize(self, columns: int, lines: int) -> None:
        """Give the window another size."""
        self._size(columns, lines)
        self.screen.resize(columns, lines)

    def until(self, is_shown: Callable[[list[str]], bool], within_s: float = 60.0) -> list[str]:
        """Read until something is in the window, and return all that is."""
        ends_s = time.monotonic() + within_s
        while time.monotonic() < ends_s:
            if select.select([self._ours], [], [], 0.05)[0]:
                if not self._read():
                    break
            elif is_shown(self.screen.shown):  # whole frames alone count: nothing more comes now
                return self.screen.shown
        if is_shown(self.screen.shown):
            return self.screen.shown
        raise AssertionError("\n".join(["not shown; instead:", *self.screen.shown]))

    def settle(self, seconds: float = 1.2) -> list[str]:
        """Read for a while and return what is in the window then."""
        ends_s = time.monotonic() + seconds
        return self.until(lambda rows: time.monotonic() > ends_s)

    def _read(self) -> bool:
        with contextlib.suppress(OSError):  # how Linux tells that the other end is closed
            data = os.read(self._ours, 65536)
            self.screen.write(self._decode(data))
            return bool(data)
        return False

    def _size(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
