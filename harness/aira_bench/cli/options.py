"""Options and argument types that several commands share."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.escaping import one_line
from aira_bench.runs.request import RunRequest
from aira_bench.terminal import tell
from aira_contract.settings import PROFILES

if TYPE_CHECKING:
    from aira_bench.errors import AiraError

SUB_FORMAT = argparse.RawDescriptionHelpFormatter
MOST_SEEDS = 1000
MOST_CORES = 65_536
LARGEST_SEED = 2**31 - 1
MOST_STEPS = 1_000_000
MOST = 10**12
"""Of anything counted on the command line."""
MOST_HOURS = 87_600
"""Ten years."""
MOST_SECONDS = MOST_HOURS * 3600
_SHOWN_CHARS = 40


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`: machine-readable output on stdout, and nothing else there."""
    parser.add_argument("--json", action="store_true", help="print JSON and nothing else")


def add_runs_folder(parser: argparse.ArgumentParser) -> None:
    """Add `--runs`: the folder in which run folders lie."""
    parser.add_argument(
        "--runs", type=Path, metavar="DIR",
        help="folder of runs, or s3://BUCKET/PREFIX or gs://BUCKET/PREFIX (default: $AIRA_RUNS or ./runs)",
    )  # fmt: skip


def add_profile(parser: argparse.ArgumentParser) -> None:
    """Add `--profile`: which sizes and budgets of a task are used."""
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default=RunRequest.profile,
        help="paper: the paper's sizes; cpu: shrunk (default: paper)",
    )


def add_allow_cpu(parser: argparse.ArgumentParser) -> None:
    """Add `--allow-cpu`: profile `paper` without a GPU."""
    parser.add_argument(
        "--allow-cpu", action="store_true", default=False,
        help="where no GPU can be used, take the processor and the cpu images for profile paper (a run takes weeks)",
    )  # fmt: skip


def add_runtime(parser: argparse.ArgumentParser, *, begins: bool = False) -> None:
    """Add `--containers` and `--runtime`: what makes containers; where a run begins, `--accept-missing-walls` too."""
    add_containers(parser)
    parser.add_argument(
        "--runtime", metavar="NAME", default=os.environ.get("AIRA_RUNTIME") or None,
        help="runtime of containers that run untrusted code, such as runsc "
        "(default: $AIRA_RUNTIME; else the engine's own, for predict containers runsc or Kata where there is one)",
    )  # fmt: skip
    if not begins:
        return
    parser.add_argument(
        "--accept-missing-walls", metavar="NAME", nargs="+", action="extend", default=[], dest="accepted_walls",
        help="begin although the engine cannot build these walls, by the names that aira-bench doctor tells; record "
        "and boards say so (default: none may be missing)",
    )  # fmt: skip


def add_containers(parser: argparse.ArgumentParser) -> None:
    """Add `--containers`: which engine makes containers."""
    parser.add_argument(
        "--containers", metavar="ENGINE", default=None,
        help="what makes containers: docker, podman or apptainer (default: $AIRA_CONTAINERS, or docker)",
    )  # fmt: skip


def add_judge_on(parser: argparse.ArgumentParser) -> None:
    """Add `--judge-on`: which machines judge."""
    parser.add_argument(
        "--judge-on", metavar="NODES", default=os.environ.get("AIRA_JUDGE_ON") or None,
        help="judge on machines where no agent code runs and hidden data is alone: ssh:HOST[,HOST...], or "
        "ray:RESOURCE (default: $AIRA_JUDGE_ON, or this machine; docs/cluster.md)",
    )  # fmt: skip


def judge_options(args: argparse.Namespace) -> list[str]:
    """Return the options that have another command judge as this one was asked to."""
    return [] if args.judge_on is None else ["--judge-on", args.judge_on]


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add `--source`: where raw data comes from."""
    parser.add_argument(
        "--source", metavar="DIR|synthetic",
        help="raw data: files already on disk, or a generated stand-in that every score is marked with "
        "(default: download public files)",
    )  # fmt: skip


def add_track(parser: argparse.ArgumentParser) -> None:
    """Add `--track`: where a run is mirrored while it goes on."""
    parser.add_argument(
        "--track", choices=("mlflow", "wandb"),
        help="mirror what the search knows of each step to MLflow or Weights & Biases, from a process of its own "
        "(needs aira-bench[mlflow] or aira-bench[wandb]; docs/formats.md)",
    )  # fmt: skip


def add_hidden_key(parser: argparse.ArgumentParser, default: str) -> None:
    """Add `--hidden-key`: the file of the secret that hidden data is derived from."""
    parser.add_argument(
        "--hidden-key", metavar="FILE",
        help=f"key that hidden data is derived from, made by aira-bench key hidden FILE (default: {default})",
    )  # fmt: skip


def report_faults(faults: Sequence["AiraError"]) -> int:
    """Print one line for each run that was left out; return the exit status that says so, 0 if there is none."""
    for fault in faults:
        report(fault)
    return faults[0].exit_code if faults else 0


def report(error: "AiraError") -> None:
    """Print what went wrong and the next command to type, as one line on stderr."""
    message, hint = (one_line(" ".join(text.split())) for text in (error.message, error.hint or ""))
    tell(f"aira-bench: error: {message}" + (f" Try: {hint}" if hint else ""))


def positive_int(text: str) -> int:
    """Read a whole number above 0 from an argument."""
    value = _whole(text)
    if not 0 < value <= MOST:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is not a whole number above 0, at most {MOST}")
    return value


def step_count(text: str) -> int:
    """Read a number of steps of a seed from an argument."""
    value = _whole(text)
    if not 0 < value <= MOST_STEPS:
        raise argparse.ArgumentTypeError(f"{_cut(text)} is not a number of steps above 0, at most {MOST_STEPS}")
    return value


def positive_float(text: str) -> float:
    """Read a finite number above 0 from an argument."""
    return _number(text, MOST)


def hours(text: str) -> float:
    """Read a number of hours, above 0 and at most ten years, from an argument."""
    return _number(text, MOST_HOURS)


def seconds(text: str) -> float:
    """Read a number of seconds, above 0 and at most ten years, from an argument."""
    return _number(text, MOST_SECONDS)


def _number(text: str, most: int) -> float:
    try:
        value = float(text) if text.isascii() and "_" not in text else 0.0
    except ValueError:
        value = 0.0
    if not 0 < value <= most:  # false for NaN too
        raise argparse.ArgumentTypeError(f"{_cut(text)} is not a number above 0, at most {most}")
    return value


def _whole(text: str) -> int:
    """The number that plain digits spell; -1 for any other text, and for more digits than any number here has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else -1


def _cut(text: str) -> str:
    """Quote a text; what counts is what is shown, since one character can be escaped by ten."""
    shown = repr(text[: _SHOWN_CHARS + 1])
    return shown if len(shown) <= _SHOWN_CHARS + 2 else f"{shown[: _SHOWN_CHARS + 1]}...{shown[0]}"


def core_list(text: str) -> int | tuple[int, ...]:
    """`4` stands for any four cores; `0,2`, `0-3` and `7,` for those that are named."""
    if text.isdigit():
        return positive_int(text)
    cores: set[int] = set()
    for part in text.removesuffix(",").split(","):
        first, dash, last = part.partition("-")
        ends = (_whole(first), _whole(last if dash else first))
        if not 0 <= ends[0] <= ends[1] < MOST_CORES:
            raise argparse.ArgumentTypeError(f"{_cut(text)} is neither a number of cores nor a list such as 0,1 or 0-3")
        cores |= set(range(ends[0], ends[1] + 1))
    return tuple(sorted(cores))


def _gpu_names(text: str) -> tuple[str, ...]:
    """`0-3` are four; anything else is one name, as UUIDs have dashes, too."""
    first, dash, last = text.partition("-")
    ends = (_whole(first), _whole(last)) if dash else (0, -1)
    return tuple(map(str, range(ends[0], ends[1] + 1))) if 0 <= ends[0] <= ends[1] < MOST_CORES else (text,)


def gpu_list(text: str) -> int | tuple[str, ...]:
    """`2` stands for any two GPUs; `0,1`, `0-3`, `3,` and UUIDs for those that are named; `all` for all."""
    if text.isdigit():
        return positive_int(text)
    names = tuple(name for part in text.removesuffix(",").split(",") for name in _gpu_names(part.strip()))
    if "all" in names and names != ("all",):
        raise argparse.ArgumentTypeError(f"{_cut(text)} names GPUs beside all of them")
    if not all(names) or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(
            f"{_cut(text)} is neither a number of GPUs nor a list such as 0,1 or 0-3, each once"
        )
    return names


def seed_list(text: str) -> tuple[int, ...]:
    """`10` stands for seeds 0 to 9, `3,5` for those two, `7,` for that one."""
    if "," not in text:
        count = _whole(text)
        if not 0 < count <= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"{_cut(text)} is not a number of seeds above 0, at most {MOST_SEEDS}")
        return tuple(range(count))
    seeds = tuple(map(_whole, text.removesuffix(",").split(",")))
    if not all(0 <= seed <= LARGEST_SEED for seed in seeds) or len(set(seeds)) != len(seeds) or len(seeds) > MOST_SEEDS:
        raise argparse.ArgumentTypeError(
            f"{_cut(text)} is not a list of distinct seeds such as 0,3,7, at most {MOST_SEEDS} up to {LARGEST_SEED}"
        )
    return seeds
