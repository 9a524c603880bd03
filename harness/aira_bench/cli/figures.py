"""`aira-bench figures`: the paper's figures and tables, drawn from any runs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder, report, report_faults

if TYPE_CHECKING:
    from aira_bench.figures.folder import Group
    from aira_bench.record.folder import RunFolder

_EPILOG = """examples:
  aira-bench figures my-suite --out figures
  aira-bench figures my-run other-run --out figures --worst observed

Counterparts of figures 8 to 13 and 18 to 20 (SVG and PDF) and of tables 4, 5, 13, 14 and 19 to 21 (LaTeX), the values
of each as CSV, and a README.md that says of which runs they are. Hidden test scores are among them. What the runs
cannot fill is named with the reason. Runs of several profiles, machines or keys get a folder each below DIR.

Exit status 0 if at least one was drawn, 1 if none was. A run that cannot be read is left out: one line says which and
why, and the exit status is 6.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "figures", help="draw the paper's figures and tables", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Draw counterparts of the paper's figures and tables from runs or suites: SVG, PDF, LaTeX and CSV.",
    )  # fmt: skip
    parser.add_argument(
        "names",
        nargs="*",
        metavar="RUN|SUITE",
        help="names or folders of runs, or of folders of runs (default: all runs)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    parser.add_argument(
        "--worst", choices=("fixed", "observed"), default="fixed",
        help="where normalized scores are 0, at the task's worst score or, as in the paper, at the worst of all runs "
        "drawn (default: fixed)",
    )  # fmt: skip
    add_runs_folder(parser)
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Read the runs, write all that they can fill, and name the rest."""
    from aira_bench.boards.board import tables_of
    from aira_bench.errors import AiraError
    from aira_bench.figures.drawing import require_drawing
    from aira_bench.keys import KeyFolder
    from aira_bench.paths import host_paths, require_new_folders
    from aira_bench.record.folder import no_runs
    from aira_bench.record.run_record import read_runs
    from aira_bench.terminal import say_json

    require_drawing()
    from aira_bench.figures.folder import groups_of, write_group
    from aira_bench.statistics.runs import Worst
    from aira_bench.statistics.suite import StatisticsSettings

    paths = host_paths(args.runs)
    require_new_folders(args.out.absolute(), "--out DIR")
    folders = chosen_runs(paths.runs, args.names)
    if not folders:
        raise no_runs(paths.runs)
    ring = KeyFolder(paths.keys).ring()
    found, faults = read_runs(folders, ring)
    if not found:
        return report_faults(faults)
    groups = groups_of(tables_of(found, ring), found, StatisticsSettings(worst=Worst(args.worst)))
    for group in groups:
        write_group(group, args.out)
    if args.json:
        say_json({"folder": str(args.out), "groups": [_record(group) for group in groups]})
    else:
        _print(groups, args.out)
    status = report_faults(faults)
    if not any(group.drawn for group in groups):
        report(AiraError("These runs fill none of the figures and tables.", hint="aira-bench status"))
        return AiraError.exit_code
    return status


def chosen_runs(runs: Path, names: list[str]) -> "list[RunFolder]":
    """The runs of these names, and those in folders of these names, each once; without a name all."""
    from aira_bench.record.folder import find_run, is_run, list_runs

    if not names:
        return list_runs(runs)
    found = []
    for name in names:
        places = [path for path in (runs / name, Path(name)) if path.is_dir()]
        inside = next((each for path in places if not is_run(path) and (each := list_runs(path))), [])
        found += inside if inside and not any(map(is_run, places)) else [find_run(runs, name)]
    return list({folder.path.resolve(): folder for folder in found}.values())


def _record(group: "Group") -> dict[str, object]:
    return {
        "folder": group.place,
        "shared": group.shared,
        "drawn": [{"name": each.name, "of": each.number, "runs": each.runs} for each in group.drawn],
        "not_drawn": [{"name": each.name, "of": each.number, "reason": each.reason} for each in group.not_drawn],
    }


def _print(groups: "list[Group]", out: Path) -> None:
    from aira_bench.terminal import say, tell

    for group in groups:
        say(f"{out / group.place}: {', '.join(group.shared)}")
        for drawn in group.drawn:
            say(f"  {drawn.name}  ({drawn.number}, {len(drawn.runs)} run{'' if len(drawn.runs) == 1 else 's'})")
        for other in group.not_drawn:
            say(f"  not drawn: {other.name} ({other.number}): {other.reason}")
    tell("HIDDEN TEST SCORES are in these files, as they are in published tables.")
