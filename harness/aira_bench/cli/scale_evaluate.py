"""`aira-bench scale evaluate`: downstream tasks on trained models, beside what the paper prints."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from aira_bench.cli.options import SUB_FORMAT, add_json, positive_int

if TYPE_CHECKING:
    from aira_bench.scaling.downstream.evaluation_process import EvaluationSettings
    from aira_bench.scaling.downstream.scores import ScoreRow
    from aira_bench.scaling.downstream.suites import DownstreamSuite
    from aira_contract.downstream import NotEvaluated

_EPILOG = """examples:
  aira-bench scale evaluate trainings/llama-3.2-1b-isotoken-1b-s0 --suite zero-shot-6
  aira-bench scale evaluate trainings/* --suite dclm-core --offline
  aira-bench scale evaluate trained --suite my-tasks --device cpu --limit 100
  aira-bench scale evaluate --suite dclm-core

zero-shot-6 and dclm-core are the paper's tasks, examples and metrics (section 5); a folder with suite.toml and task
files of lm_eval is a suite of one's own, whose Python files are run: take none from strangers. Scores go into the
folder downstream of each training, task by task, with the hash of the weights and the versions of lm_eval and of the
tasks; what is there already is not done again. Data sets are lm_eval's own downloads. It runs on this machine, not in a
container: the model is one of our own. Without TRAINED the published rows alone are shown. Needs
aira-bench[downstream].

Exit status: 0 every task has its scores; 1 some have none, which are named.
"""


def register(within: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `scale`."""
    parser = within.add_parser(
        "evaluate", help="downstream tasks on trained models", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Evaluate trained models on downstream tasks, with standard errors, beside the published rows.",
    )  # fmt: skip
    parser.add_argument(
        "trained", nargs="*", type=Path, metavar="TRAINED", help="folders of trainings, or exported ones"
    )
    parser.add_argument("--suite", required=True, metavar="SUITE|DIR", help="zero-shot-6, dclm-core, or a folder")
    parser.add_argument("--step", type=positive_int, metavar="N", help="whose checkpoint (default: the newest)")
    parser.add_argument(
        "--data", type=Path, metavar="TOKENS", help="folder of tokens, where a training keeps no copy of its manifest"
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="where (default: cuda)")
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float16", "float32"),
        help="of products (default: bfloat16 on cuda, float32 on cpu)",
    )  # fmt: skip
    parser.add_argument(
        "--batch-tokens", type=positive_int, default=65_536, metavar="N",
        help="positions computed at once (default: 65536)",
    )  # fmt: skip
    parser.add_argument("--limit", type=positive_int, metavar="N", help="examples of a task at most, for trying")
    parser.add_argument("--offline", action="store_true", help="download nothing: data sets are cached")
    parser.add_argument("--python", metavar="PYTHON", help="the Python that has torch and lm_eval (default: this one)")
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Evaluate, and print a row for each model beside the published ones."""
    from aira_bench.cli.tables import print_rows
    from aira_bench.scaling.downstream import render
    from aira_bench.scaling.downstream.scores import published_rows
    from aira_bench.scaling.downstream.suites import find_suite
    from aira_bench.terminal import say_json, tell

    suite = find_suite(args.suite)
    rows, missing = _evaluated(args, suite)
    rows += published_rows(suite)
    if args.json:
        say_json({
            "suite": {"name": suite.name, "sha256": suite.sha256, "title": suite.title, "source": suite.source},
            "rows": [render.row_record(row) for row in rows],
            "notes": render.notes(suite, rows),
        })  # fmt: skip
    else:
        print_rows(render.table_rows(suite, rows), empty="Nothing was evaluated, and nothing is published of it.")
        for note in render.notes(suite, rows):
            tell(f"note: {note}")
    for folder, each in missing:
        tell(f"not evaluated: {folder}: {each.task}: {each.why}")
    return 1 if missing else 0


def _evaluated(
    args: argparse.Namespace, suite: "DownstreamSuite"
) -> "tuple[list[ScoreRow], list[tuple[Path, NotEvaluated]]]":
    from aira_bench.errors import UsageError
    from aira_bench.scaling.downstream.evaluation_process import evaluate
    from aira_bench.scaling.downstream.scores import evaluated_row
    from aira_bench.scaling.trained_folders import training_folders
    from aira_bench.terminal import tell

    rows, missing = [], []
    for place in args.trained:
        trainings = list(training_folders(place))
        if not trainings:
            raise UsageError(f"There is no training in {place}.", hint="aira-bench scale status --help")
        for training in trainings:
            found, without = evaluate(training.folder, suite, _settings(args), tell)
            missing += [(training.folder, each) for each in without]
            limited = "" if found.model.limit is None else f", {found.model.limit} examples"
            seed = training.record.identity.seed
            name = f"{training.architecture} {found.model.scale}, seed {seed}, step {found.model.step:,}{limited}"
            rows.append(evaluated_row(name, suite, found))
            for note in found.model.notes:
                tell(f"note: {training.folder}: {note}")
    return rows, missing


def _settings(args: argparse.Namespace) -> "EvaluationSettings":
    from aira_bench.scaling.downstream.evaluation_process import EvaluationSettings

    return EvaluationSettings(
        args.device, args.python, step=args.step, data=args.data, dtype=args.dtype, batch_tokens=args.batch_tokens,
        limit=args.limit, offline=args.offline,
    )  # fmt: skip
