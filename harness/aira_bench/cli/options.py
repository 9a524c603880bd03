"""Options and argument types that several commands share."""

import argparse
import os
from pathlib import Path

SUB_FORMAT = argparse.RawDescriptionHelpFormatter
PROFILES = ("paper", "cpu")


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`: machine-readable output on stdout, nothing else there."""
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def add_runs_folder(parser: argparse.ArgumentParser) -> None:
    """`--runs`: where run folders are."""
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder of runs (default: $AIRA_RUNS or ./runs)")


def add_profile(parser: argparse.ArgumentParser) -> None:
    """`--profile`: sizes and budgets."""
    parser.add_argument(
        "--profile", choices=PROFILES, default="paper", help="paper: the paper's sizes; cpu: shrunk (default: paper)"
    )


def add_runtime(parser: argparse.ArgumentParser) -> None:
    """`--runtime`: what starts containers of untrusted code."""
    parser.add_argument(
        "--runtime", metavar="NAME", default=os.environ.get("AIRA_RUNTIME") or None,
        help="Docker runtime of containers that run untrusted code, such as runsc "
        "(default: $AIRA_RUNTIME; else Docker's own, for predict containers runsc or Kata where there is one)",
    )  # fmt: skip


def add_source(parser: argparse.ArgumentParser) -> None:
    """`--source`: where raw data comes from."""
    parser.add_argument(
        "--source", metavar="DIR|synthetic",
        help="raw data: files already on disk, or a generated stand-in that every score is marked with "
        "(default: download public files)",
    )  # fmt: skip


def positive_int(text: str) -> int:
    """An integer above 0."""
    value = int(text) if text.isascii() and text.isdigit() else 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


def positive_float(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def seed_list(text: str) -> tuple[int, ...]:
    """`10` stands for seeds 0 to 9, `3,5` for those two, `7,` for that one."""
    if "," not in text:
        return tuple(range(positive_int(text)))
    parts = text.removesuffix(",").split(",")
    if not all(part.isascii() and part.isdigit() for part in parts) or len(set(map(int, parts))) != len(parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of distinct seeds such as 0,3,7")
    return tuple(map(int, parts))
