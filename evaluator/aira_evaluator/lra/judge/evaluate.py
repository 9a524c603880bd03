"""`evaluate.py` of the Long Range Arena task folders: train the graphs of a submission, score them on hidden data.

The judge gets the graphs that a fit container wrote (`lra.fit.trace`) and never the submission's text. No jax is
imported before it is needed. Command line, report and exit statuses: `task_scripts.evaluating`; settings:
`task_scripts.settings`.
"""

from collections.abc import Sequence

from aira_contract.files import GRAPHS_FILE, JUDGE_FILE, MAX_GRAPHS_BYTES, MODULE_FILE
from aira_contract.invocation import CPU, CUDA, PROGRAMS_OPTION
from aira_contract.judge_settings import JudgeSettings
from aira_evaluator.lra.contract.bundle import Bundle, read_bundle
from aira_evaluator.lra.contract.profiles import METRIC, NAMES, PROFILES, LraProfile
from aira_evaluator.lra.contract.refusal import RefusedError, read_file
from aira_evaluator.lra.contract.splits import SplitManifest, read_split
from aira_evaluator.lra.contract.submission import TaskName
from aira_evaluator.lra.judge.programs import carried_programs
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.evaluating import EvaluateScript, EvaluationRequest, EvaluationResult, PathOption
from aira_evaluator.task_scripts.hidden import hidden_folder, training_seed
from aira_evaluator.task_scripts.settings import profile_in_force, seed_set_in_force, training_in_force

_PROGRAMS = PathOption(PROGRAMS_OPTION, None, "compiled programs, read if there and left")
SCRIPT = EvaluateScript(
    "Train and score a traced model.py.",
    METRIC,
    GRAPHS_FILE,
    RefusedError,
    MODULE_FILE,
    options=(_PROGRAMS,),
    kind="module",
)
_FAULTS_OF_GRAPHS = ("INVALID_ARGUMENT", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED")
"""XLA's words for what no other device would do either."""


def evaluate(task: TaskName, *, configurable: bool, arguments: Sequence[str] | None = None) -> int:
    """Train the traced module once, print its test score, and report both hidden scores and the public one.

    Reads `./data/train`, `./data/validation` and, of the seed set in force, `./data/validation_with_labels` and
    `./data/test_with_labels`.

    Args:
        task: which of the three tasks.
        configurable: whether the submission may set hyperparameters.
        arguments: the command line; None for the process's own.

    Returns:
        The exit status.
    """

    def score(asked: EvaluationRequest) -> EvaluationResult:
        profile = PROFILES[profile_in_force(NAMES), task]
        bundle = read_bundle(read_file(asked.submission, MAX_GRAPHS_BYTES), profile, configurable=configurable)
        with carried_programs(asked.paths[_PROGRAMS.flag]):
            return _scored(bundle, profile, asked)

    return SCRIPT.run(score, arguments)


def _scored(bundle: Bundle, profile: LraProfile, asked: EvaluationRequest) -> EvaluationResult:
    seed_set = seed_set_in_force()
    train, _ = read_split(asked.data / "train")
    public, _ = read_split(asked.data / "validation")
    validation, _ = read_split(hidden_folder(asked.data, "validation", seed_set))
    test, manifest = read_split(hidden_folder(asked.data, "test", seed_set))
    seed = _training_seed(manifest, profile)

    import jax

    from aira_evaluator.lra.training.limits import JudgeLimits
    from aira_evaluator.lra.training.module_score import Splits, score_module

    here = CPU if jax.default_backend() == "cpu" else CUDA
    if here != bundle.platform:
        raise RefusedError(f"the module was traced for {bundle.platform}, and this judge runs on {here}")

    judge_file = asked.submission.parent / JUDGE_FILE
    settings = JudgeSettings.from_json(judge_file.read_bytes()) if judge_file.exists() else JudgeSettings()
    limits = JudgeLimits(settings.timeout_s, settings.memory_mib)
    try:
        score = score_module(
            bundle, profile, Splits(train, validation, test, public), seed=seed, limits=limits,
            started_s=asked.started_s, note=lambda text: print(text, flush=True),
            draw_secret=bytes.fromhex(settings.draw_secret), synthetic=manifest.source == "synthetic",
            controls=seed_set == "final" and training_in_force() == 0,
            training_deviation=settings.training_deviation,
        )  # fmt: skip
    except jax.errors.JaxRuntimeError as error:
        kind, _, told = str(error).partition(":")
        if here != CPU and kind not in _FAULTS_OF_GRAPHS:
            raise  # a device may fail by itself
        raise RefusedError(f"the compiler does not take its graphs: {kind}: {told.strip()[:200]}") from None
    found = {"flags": score.flags, "unranked": score.unranked, "remarks": score.remarks}
    return EvaluationResult(
        score.validation, score.test, seed_set, score.details, score.canonical, public=score.public,
        series=score.series, more=found,
    )  # fmt: skip


def _training_seed(manifest: SplitManifest, profile: LraProfile) -> int:
    if (manifest.profile, manifest.task) != (profile.name, profile.task):
        raise DataError(
            f"the data is of {manifest.task} in profile {manifest.profile}, expected {profile.task} in {profile.name}"
        )
    if manifest.training_seed is None:
        raise DataError("the hidden test split names no training seed; run evaluate_prepare.py again")
    return training_seed(manifest.training_seed)
