"""What a person sees of a download: a bar on a terminal, a line now and then elsewhere."""

import io

import pytest
from rich.console import Console

from aira_bench.cli.display import RunDisplay
from aira_bench.tasks.transfer import Transfer

MIB = 1 << 20


def test_without_a_terminal_a_download_is_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    display = RunDisplay((), 0)
    for done in range(0, 101):
        display.transfer(Transfer("a.bin", done * MIB, 100 * MIB))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[0].endswith("a.bin: 0.0 of 100.0 MiB")
    assert lines[-1].endswith("a.bin: 100.0 of 100.0 MiB")


def test_a_download_of_unknown_size_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    display = RunDisplay((), 0)
    for done in range(50):
        display.transfer(Transfer("a.bin", done * MIB, None))
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_on_a_terminal_a_download_is_a_bar_until_it_is_done() -> None:
    display = RunDisplay((0,), 3)
    display._console = Console(file=io.StringIO(), force_terminal=True, width=100)

    def shown() -> str:
        screen = io.StringIO()
        Console(file=screen, width=100).print(display)
        return screen.getvalue()

    display.transfer(Transfer("a.bin", 25 * MIB, 100 * MIB))
    assert "a.bin" in shown()
    assert "26.2/104.9 MB" in shown()
    assert "0/3" in shown(), "the seeds' rows stay"
    display.transfer(Transfer("a.bin", 100 * MIB, 100 * MIB))
    assert "a.bin" not in shown()


def test_a_quiet_display_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display = RunDisplay((), 0, quiet=True)
    display.transfer(Transfer("a.bin", 0, MIB))
    assert capsys.readouterr().err == ""
