"""Which evaluator a task needs: by what its submission is, or by what the user asked for."""

from concurrent.futures import ThreadPoolExecutor

from aira_bench.evaluation.judge import JudgeAlone
from aira_bench.evaluation.resident import ResidentJudge, may_stay
from aira_bench.evaluation.served_script import ServedScript
from aira_bench.evaluation.submission_evaluator import EvaluationSetting, SubmissionEvaluator
from aira_bench.evaluation.traced_module import TracedModule
from aira_bench.extensions import Catalog
from aira_bench.sandbox.sandbox import Limits, Sandbox

EVALUATORS: Catalog[SubmissionEvaluator] = Catalog(
    "evaluator",
    {"csv": JudgeAlone, "architecture": JudgeAlone, "module": TracedModule, "script": ServedScript},
    SubmissionEvaluator,
)
"""By the kind of a task's artifact."""


def open_evaluator(
    setting: EvaluationSetting, sandbox: Sandbox, limits: Limits, ahead: ThreadPoolExecutor
) -> SubmissionEvaluator:
    """Return the evaluator of one slot; `ahead` starts its containers before they are needed.

    One of another distribution is also offered `usual`, which makes what this package would score with, so that it can
    stand around it; for a kind of artifact that is its own, that is the judge of plain files.

    Raises:
        UsageError: nothing is called as the one asked for, or what a reference names is no evaluator.
        PrerequisiteError: what an installed distribution offers is none.
    """
    if setting.elsewhere is not None:
        return setting.elsewhere.open(setting, limits)
    name = setting.evaluator or setting.task.metadata.aira.artifact.kind

    def usual() -> SubmissionEvaluator:
        if may_stay(setting.task, limits):
            return ResidentJudge(setting, sandbox, limits, ahead)
        kind = setting.task.metadata.aira.artifact.kind
        built_in = kind if kind in EVALUATORS.built_in else "csv"
        return EVALUATORS.make(built_in, setting=setting, sandbox=sandbox, limits=limits, ahead=ahead)

    if name in EVALUATORS.built_in:
        return usual()
    return EVALUATORS.make(name, setting=setting, sandbox=sandbox, limits=limits, ahead=ahead, usual=usual)
