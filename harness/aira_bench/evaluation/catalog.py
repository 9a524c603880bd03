"""Which evaluator a task needs: by what its submission is, or by what the user asked for."""

from concurrent.futures import ThreadPoolExecutor

from aira_bench.evaluation.judge import JudgeAlone
from aira_bench.evaluation.protocol import EvaluationSetting, SubmissionEvaluator
from aira_bench.evaluation.resident import ResidentJudge, may_stay
from aira_bench.evaluation.served_script import ServedScript
from aira_bench.evaluation.traced_module import TracedModule
from aira_bench.extensions import Catalog
from aira_bench.sandbox.protocol import Limits, Sandbox

EVALUATORS: Catalog[SubmissionEvaluator] = Catalog(
    "evaluator",
    {"csv": JudgeAlone, "architecture": JudgeAlone, "module": TracedModule, "script": ServedScript},
    SubmissionEvaluator,
)
"""By the kind of a task's artifact."""


def open_evaluator(
    setting: EvaluationSetting, sandbox: Sandbox, limits: Limits, ahead: ThreadPoolExecutor
) -> SubmissionEvaluator:
    """The evaluator of one slot; `ahead` starts its containers before they are needed.

    Raises:
        UsageError: nothing is called as the one asked for, or what a reference names is no evaluator.
        PrerequisiteError: what an installed distribution offers is none.
    """
    if setting.evaluator is None and may_stay(setting.task, limits):
        return ResidentJudge(setting, sandbox, limits, ahead)
    name = setting.evaluator or setting.task.metadata.aira.artifact.kind
    return EVALUATORS.make(name, setting=setting, sandbox=sandbox, limits=limits, ahead=ahead)
