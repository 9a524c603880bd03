"""`aira-bench grow`: from the votes of searches to trained models beside controls, with a page of the whole way."""

import argparse
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from aira_bench.cli.aggregate import add_selection, select, selection_words
from aira_bench.cli.options import SUB_FORMAT, add_json, add_runs_folder, positive_int
from aira_bench.cli.scale_plan import add_machine, plan_settings
from aira_bench.cli.scale_run import require_consent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aira_bench.scaling.downstream.suites import DownstreamSuite
    from aira_bench.scaling.grow.growth import GrowthRequest
    from aira_bench.scaling.grow.models import ComparedModel
    from aira_bench.scaling.plan.planned import Plan, PlanSettings
    from aira_bench.scaling.plan.trainings import SeedTraining
    from aira_contract.recipes import Recipe

_EPILOG = """examples:
  aira-bench grow my-suite --scale 350M --recipe isotoken-350m --gpus 8 --data tokens --seeds 3 --out grown
  aira-bench grow my-run --scale 1B --recipe isotoken-1b --data tokens --patterns llama-3.2 composite-stretched
  aira-bench grow demo --scale toy --recipe toy --patterns llama-3.2 composite-stretched airahybrid-d-stretched

The best architectures of the runs vote for a pattern, which is stretched and stacked to the scale and trained beside
the architectures of --patterns; the first of those is what all are compared with. What trainings take is shown and
asked about. --evaluate scores what was trained on downstream tasks. The same command goes on where it was cut off: what
is trained and scored stays. The page, its pictures and grow.json have votes, patterns, plan, losses with their
intervals over seeds, and scores.

At scale toy the trainings run on the processor, --at-once at a time, and without --data their text is generated:
losses on it say nothing about real text. Needs aira-bench[stats]; training on this Python needs aira-bench[evaluator],
and --evaluate aira-bench[downstream].

Exit status: 0 all are trained and compared; 1 a training ended otherwise or a task has no scores, which are named;
130 stopped.
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "grow", help="from votes to trained models", epilog=_EPILOG, formatter_class=SUB_FORMAT,
        description="Vote a pattern from runs, grow it to a scale, train it beside controls, and say how sure it is.",
    )  # fmt: skip
    parser.add_argument("names", nargs="+", metavar="RUN|SUITE", help="names or folders of runs, or of folders of runs")
    add_runs_folder(parser)
    add_selection(parser, "0")
    parser.add_argument("--scale", required=True, metavar="SCALE", help="350M, 1B, 3B or toy")
    parser.add_argument("--recipe", required=True, metavar="RECIPE", help="a shipped recipe or FILE.toml")
    parser.add_argument(
        "--method", choices=("stretch", "stack"), action="append",
        help="rule by which the voted pattern is grown; repeatable (default: both)",
    )  # fmt: skip
    parser.add_argument(
        "--patterns", nargs="+", metavar="ARCHITECTURE", default=["llama-3.2"],
        help="names or patterns to train beside it; the first is the reference (default: llama-3.2)",
    )  # fmt: skip
    parser.add_argument("--seeds", type=positive_int, default=3, metavar="N", help="trainings of each (default: 3)")
    add_machine(parser, gpus=None, said="default: 8, on a processor 1")
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of tokens (default at toy: generated text)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where all of it goes (default: grown/RUN-SCALE)")
    parser.add_argument("--python", metavar="PYTHON", help="whose torch it is (default: this one)")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="of the trainings (default: cuda, at toy cpu)")
    parser.add_argument(
        "--at-once", type=positive_int, metavar="N", help="trainings at a time (default: 1, on a processor its cores)"
    )
    parser.add_argument(
        "--evaluate",
        metavar="SUITE|DIR",
        help="downstream tasks of the trained models: zero-shot-6, dclm-core, or a folder",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="begin without the question")
    add_json(parser)
    parser.set_defaults(handle=handle)


def handle(args: argparse.Namespace) -> int:
    """Vote, grow, plan, ask, train, evaluate, compare, and write the page."""
    from aira_bench.scaling.corpus.made import made_tokens
    from aira_bench.scaling.grow.growth import require_same_growth
    from aira_bench.scaling.grow.render import print_growing
    from aira_bench.scaling.plan.trainings import require_same_tokens, seed_trainings
    from aira_bench.terminal import results_console

    _require_estimators()
    suite = _suite(args)
    growing = _growing(args)
    if not args.json:
        print_growing(growing, results_console())
    out: Path = args.out or Path("grown") / f"{growing.name}-{args.scale}"
    require_same_growth(out, growing)
    begun = seed_trainings(growing.plan, out / "trainings")
    if args.data is not None:
        require_same_tokens(begun, made_tokens(args.data))
    if missing := [run for run in begun if run.state != "done"]:
        require_consent(args, missing)
        _train(args, growing, out)
    runs = seed_trainings(growing.plan, out / "trainings")
    try:
        return 0 if suite is None else _evaluate(args, suite, runs)
    finally:  # losses are there whatever became of scores
        _conclude(args, growing, out, runs, suite)


def _suite(args: argparse.Namespace) -> "DownstreamSuite | None":
    """The suite to evaluate on, and that it can be, before anything is asked or trained."""
    from aira_bench.scaling.downstream.evaluation_process import require_lm_eval
    from aira_bench.scaling.downstream.suites import find_suite

    if args.evaluate is None:
        return None
    suite = find_suite(args.evaluate)
    require_lm_eval(args.python)
    return suite


def _evaluate(args: argparse.Namespace, suite: "DownstreamSuite", runs: "Sequence[SeedTraining]") -> int:
    from aira_bench.scaling.downstream.evaluation_process import EvaluationSettings
    from aira_bench.scaling.grow.downstream_scores import evaluate_trainings
    from aira_bench.terminal import tell

    missing = evaluate_trainings(runs, suite, EvaluationSettings(_device(args), args.python), tell)
    for folder, each in missing:
        tell(f"not evaluated: {folder}: {each.task}: {each.why}")
    return 1 if missing else 0


def _conclude(
    args: argparse.Namespace,
    growing: "GrowthRequest",
    out: Path,
    runs: "Sequence[SeedTraining]",
    suite: "DownstreamSuite | None",
) -> None:
    """Compare the losses, and write the page and the record."""
    from aira_bench.scaling.grow.comparison import compare
    from aira_bench.scaling.grow.downstream_scores import downstream_scores
    from aira_bench.scaling.grow.growth import growth_record
    from aira_bench.scaling.grow.render import print_comparison
    from aira_bench.terminal import results_console, say, say_json, tell
    from aira_bench.view.growth_page import write_page

    found = compare(runs, growing.reference)
    downstream = downstream_scores(runs, suite)
    record = growth_record(growing, found, runs, downstream)
    page = write_page(out, growing, found, runs, downstream, record)
    if args.json:
        say_json(record)
    else:
        print_comparison(found, results_console())
        say(f"{page}")
    tell("SYNTHETIC TEXT: these losses say nothing about real text." if found.synthetic else f"Text: {found.data}.")


def _require_estimators() -> None:
    import importlib.util

    from aira_bench.errors import PrerequisiteError

    if missing := [name for name in ("numpy", "scipy") if importlib.util.find_spec(name) is None]:
        raise PrerequisiteError(f"Intervals need {' and '.join(missing)}.", hint="pip install 'aira-bench[stats]'")


def _growing(args: argparse.Namespace) -> "GrowthRequest":
    from aira_bench.cli.figures import chosen_runs
    from aira_bench.keys import KeyFolder
    from aira_bench.paths import host_paths
    from aira_bench.record.run_record import read_run
    from aira_bench.scaling.aggregate import vote
    from aira_bench.scaling.grow.growth import GrowthRequest
    from aira_bench.scaling.grow.models import METHODS, control, grown_models, require_distinct
    from aira_bench.scaling.plan.experiments import named_recipe
    from aira_bench.scaling.run_scores import collect_scores

    paths = host_paths(args.runs)
    ring = KeyFolder(paths.keys).ring()
    runs = [read_run(folder, ring) for folder in chosen_runs(paths.runs, args.names)]
    voters = select(args, collect_scores(runs, args.split))
    votes = tuple(vote(voters, condition) for condition in dict.fromkeys(args.condition or (0,)))
    recipe, name = named_recipe(args.recipe), Path(args.names[0]).name
    grown = grown_models(name, votes, args.scale, recipe, tuple(dict.fromkeys(args.method or METHODS)))
    controls = tuple(control(text, args.scale, recipe) for text in args.patterns)
    require_distinct((*grown, *controls))
    return GrowthRequest(
        name, tuple(run.name for run in runs), any(run.manifest.synthetic for run in runs), selection_words(args),
        args.split, voters, votes, (*grown, *controls), controls[0].model.name, args.recipe,
        _plan(args, (*grown, *controls)),
    )  # fmt: skip


def _plan(args: argparse.Namespace, models: "Sequence[ComparedModel]") -> "Plan":
    from aira_bench.scaling.plan.experiments import PlannedCell, named_recipe
    from aira_bench.scaling.plan.models import planned_steps
    from aira_bench.scaling.plan.planned import Plan, plan_model

    recipe = named_recipe(args.recipe)
    settings, notes = _settings(args, recipe)
    planned = [
        plan_model(
            PlannedCell("grow", each.model.name, args.scale, recipe, args.seeds, args.recipe),
            each.model,
            planned_steps(each.model, recipe),
            settings,
        )
        for each in models
    ]
    return Plan(f"{len(models)} models at {args.scale}, {args.seeds} seeds each", tuple(planned), settings, notes)


def _settings(args: argparse.Namespace, recipe: "Recipe") -> "tuple[PlanSettings, tuple[str, ...]]":
    """Where the trainings run; on a processor each is whole on one, its figures are estimates of one core."""
    from dataclasses import replace

    from aira_contract.gpu_types import PROCESSOR_CORE

    args.gpus = args.gpus or (1 if _device(args) == "cpu" else 8)
    settings = plan_settings(args, checkpoints=2)
    if _device(args) != "cpu":
        return settings, ()
    gflops = PROCESSOR_CORE.peak_tflops * settings.mfu * 1000
    note = f"hours are of one core at {gflops:.0f} GFLOP/s, start-up left out; toys reached 20 to 39 (docs/scaling.md)"
    sequences = args.sequences or recipe.step_sequences // args.gpus
    return replace(settings, gpu=PROCESSOR_CORE, sequences=sequences, recompute=args.recompute or "none"), (note,)


def _device(args: argparse.Namespace) -> str:
    from aira_contract.model_sizes import TOY_SCALE

    chosen: str | None = args.device
    device = "cpu" if args.scale == TOY_SCALE else "cuda"
    return chosen or device


def _train(args: argparse.Namespace, growing: "GrowthRequest", out: Path) -> None:
    """Begin or go on with whatever is missing, on the text that there is or that is made."""
    import os

    from aira_bench.cli.stopping import current
    from aira_bench.scaling.grow.growth import keep_asked
    from aira_bench.scaling.plan.carrying_out import carry_out
    from aira_bench.scaling.plan.trainings import command, seed_trainings
    from aira_bench.terminal import tell

    current().way_on = lambda: " ".join(map(quote, args.typed))
    device, python = _device(args), args.python or sys.executable
    data = _tokens(args, out, python)
    keep_asked(out, growing)
    cores = len(os.sched_getaffinity(0))
    at_once = args.at_once or (cores if device == "cpu" else 1)
    threads = {"OMP_NUM_THREADS": str(max(1, cores // at_once))} if device == "cpu" else {}
    runs = [run for run in seed_trainings(growing.plan, out / "trainings") if run.state != "done"]
    lines = [(run, command(run, data, python, ["--device", device])) for run in runs]
    carry_out(lines, at_once, tell, threads)


def _tokens(args: argparse.Namespace, out: Path, python: str) -> Path:
    """The folder of tokens; at toy scale one of generated text is made, once."""
    import subprocess

    from aira_bench.errors import AiraError, UsageError
    from aira_bench.scaling.evaluator_process import environment
    from aira_contract.model_sizes import TOY_SCALE

    given: Path | None = args.data
    if given is not None:
        return given  # it was read before anybody was asked
    if args.scale != TOY_SCALE:
        raise UsageError(f"A training at {args.scale} needs tokens.", hint="--data DIR   (docs/pretraining.md)")
    made = out / "tokens"
    if not (made / "manifest.json").exists():
        line = [python, "-m", "aira_evaluator.pretrain.toy_tokens", str(made)]
        try:
            ended = subprocess.run(line, check=False, stdout=2, env=environment()).returncode
        except OSError as error:
            raise AiraError(f"{python} cannot be started: {error.strerror}.", hint="--python PYTHON") from error
        if ended:
            raise AiraError(
                f"Generated text was not made: status {ended}.", hint="pip install 'aira-bench[evaluator]', or --python"
            )
    return made
