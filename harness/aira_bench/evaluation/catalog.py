"""Which evaluator a task needs: by what its submission is."""

from concurrent.futures import ThreadPoolExecutor

from aira_bench.errors import TaskError
from aira_bench.evaluation.judge import JudgeAlone
from aira_bench.evaluation.protocol import EvaluationSetting, SubmissionEvaluator
from aira_bench.evaluation.resident import ResidentJudge, may_stay
from aira_bench.evaluation.served_script import ServedScript
from aira_bench.evaluation.traced_module import TracedModule
from aira_bench.sandbox.protocol import Limits, Sandbox


def open_evaluator(
    setting: EvaluationSetting, sandbox: Sandbox, limits: Limits, ahead: ThreadPoolExecutor
) -> SubmissionEvaluator:
    """The evaluator of one slot; `ahead` starts its containers before they are needed.

    Raises:
        TaskError: no evaluator fits the task's artifact.
    """
    if may_stay(setting.task, limits):
        return ResidentJudge(setting, sandbox, limits, ahead)
    kind = setting.task.metadata.aira.artifact.kind
    if kind in ("csv", "architecture"):
        return JudgeAlone(setting, sandbox, limits, ahead)
    if kind == "script":
        return ServedScript(setting, sandbox, limits, ahead)
    if kind == "module":
        return TracedModule(setting, sandbox, limits, ahead)
    raise TaskError(f"Task {setting.task.title} wants a {kind}, for which there is no evaluator.")
