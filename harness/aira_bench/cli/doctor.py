"""`aira-bench doctor`: what is missing on this machine, and whether its sandbox holds."""

import argparse
from dataclasses import asdict

from aira_bench.cli.options import PROFILES, SUB_FORMAT, add_json, add_runtime

_EPILOG = """example:
  aira-bench doctor --profile cpu

exit status: 0 if runs of that profile can start, 1 if a check failed
"""
_MARKS = {"ok": "ok", "warning": "--", "failed": "FAILED"}


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor", help="check this machine", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Check Docker, disk, GPU, keys, images and data, and probe the sandbox with production options.",
    )  # fmt: skip
    parser.add_argument("--profile", choices=PROFILES, default="cpu", help="profile to check for (default: cpu)")
    add_runtime(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Print findings as they come; 1 if any failed."""
    from aira_bench.doctor import examine
    from aira_bench.paths import host_paths
    from aira_bench.terminal import say, say_json, tell

    findings = []
    for finding in examine(host_paths(), args.profile, args.runtime, tell):
        findings.append(finding)
        if not args.json:
            say(f"{_MARKS[finding.state]:>6}  {finding.check}: {finding.seen}", flush=True)
            if finding.mend:
                say(f"         mend: {finding.mend}", flush=True)
    if args.json:
        say_json([asdict(finding) for finding in findings])
    return int(any(finding.state == "failed" for finding in findings))
