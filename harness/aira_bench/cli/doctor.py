"""`aira-bench doctor`: what is missing on this machine, and whether its sandbox holds."""

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runtime
from aira_contract.settings import PROFILES

if TYPE_CHECKING:
    from aira_bench.sandbox.channels import Reading
    from aira_bench.sandbox.sandbox import Isolation

_EPILOG = """example:
  aira-bench doctor --profile cpu
  aira-bench doctor --channels

exit status: 0 if runs of that profile can start, 1 if a check failed; with --channels 0 if no medium that should be
closed carries more than 10 bits a second, 1 if one does
"""
_MARKS = {"ok": "ok", "warning": "--", "failed": "FAILED"}


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor", help="check this machine", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Check the container engine, disk, GPU, keys, models (one tiny call for each whose key is set), "
        "images and data, and probe the sandbox with production options.",
    )  # fmt: skip
    parser.add_argument("--profile", choices=PROFILES, default="cpu", help="profile to check for (default: cpu)")
    parser.add_argument(
        "--channels", action="store_true",
        help="measure instead what one container can tell another, through each medium known (as root this frees the "
        "machine's caches; leave the machine alone meanwhile, two minutes)",
    )  # fmt: skip
    add_runtime(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Print findings as they come; 1 if any failed."""
    if args.channels:
        return _channels(args)
    from aira_bench.doctor import examine
    from aira_bench.paths import host_paths
    from aira_bench.terminal import say, say_json, tell

    findings = []
    for finding in examine(host_paths(), args.profile, args.runtime, tell, args.containers):
        findings.append(finding)
        if not args.json:
            say(f"{_MARKS[finding.state]:>6}  {finding.check}: {finding.seen}", flush=True)
            if finding.mend:
                say(f"         mend: {finding.mend}", flush=True)
    if args.json:
        say_json([asdict(finding) for finding in findings])
    return int(any(finding.state == "failed" for finding in findings))


def _channels(args: argparse.Namespace) -> int:
    """Print what got through each medium; 1 if more did than should."""
    from aira_bench.cli.tables import print_rows
    from aira_bench.doctor import channel_readings
    from aira_bench.terminal import say, say_json, tell

    isolation, readings = channel_readings(args.profile, args.runtime, tell, args.containers)
    if args.json:
        say_json(channels_record(isolation, readings))
    else:
        print_rows([_channel_row(reading) for reading in readings], empty="nothing was measured")
        say(f"isolation: {isolation.word}: {isolation.reason}")
    return int(any(reading.state == "OPEN" for reading in readings))


def channels_record(isolation: "Isolation", readings: "Sequence[Reading]") -> dict[str, Any]:
    """Return what `doctor --channels --json` prints: the isolation of this machine's containers, and a row for each
    medium.
    """
    rows = [_channel_row(reading) | {"refused with": reading.closed} for reading in readings]
    return {"isolation": asdict(isolation), "channels": rows}


def _channel_row(reading: "Reading") -> dict[str, Any]:
    return {
        "medium": reading.medium,
        "when": reading.when,
        "bits": reading.bits,
        "bits a second": round(reading.sent_bits_a_s),
        "errors": None if reading.error_rate is None else round(reading.error_rate, 3),
        "capacity": round(reading.capacity_bits_a_s, 1),
        "state": reading.state,
        "closed by": reading.closed_by,
    }
