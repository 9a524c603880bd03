"""`trace.py` of the Long Range Arena task folders: makes graphs of the submitted `model.py`, in a fit container.

Whatever the submission raises, prints or leaves behind, the worst it can do here is to be refused. No jax is imported
before it is needed. The profile comes from the environment (`task_scripts.settings`).

Exit statuses: 0 done, 1 a failure of the evaluation (folders, settings), 2 a wrong command line or a submission that is
refused, with one line that says why. Not covered: what the judge makes of the graphs (`lra.judge.evaluate`).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from aira_contract.files import GRAPHS_FILE, MODULE_FILE
from aira_contract.invocation import CPU, DONE, PLATFORM_OPTION, PLATFORMS, REFUSED
from aira_evaluator.lra.contract.bundle import Bundle, write_bundle
from aira_evaluator.lra.contract.hyperparameters import ConstantsError, Hyperparameters, read_hyperparameters
from aira_evaluator.lra.contract.profiles import NAMES, PROFILES, LraProfile
from aira_evaluator.lra.contract.refusal import RefusedError, read_file
from aira_evaluator.lra.contract.submission import CONTRACTS, MAX_SOURCE_BYTES, TaskName
from aira_evaluator.lra.fit.failures import failure
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.failing import failed
from aira_evaluator.task_scripts.settings import profile_in_force


def trace(task: TaskName, *, configurable: bool, arguments: Sequence[str] | None = None) -> int:
    """Trace `./model.py` and write `./module.graphs`.

    Args:
        task: which of the three tasks.
        configurable: whether the submission may set hyperparameters.
        arguments: the command line; None for the process's own.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Trace a submitted model.py.")
    parser.add_argument("--model-file", type=Path, default=Path(MODULE_FILE))
    parser.add_argument("--output-file", type=Path, default=Path(GRAPHS_FILE))
    parser.add_argument(PLATFORM_OPTION, choices=PLATFORMS, default=CPU, help="what the judge will run on")
    options = parser.parse_args(arguments)
    try:
        profile = PROFILES[profile_in_force(NAMES), task]
        hyperparameters = _read_hyperparameters(options.model_file, profile, configurable=configurable)
        bundle = _traced(options.model_file, profile, hyperparameters, options.platform)
        options.output_file.write_bytes(write_bundle(bundle))
    except DataError as error:
        return failed("trace", error)
    except (RefusedError, ConstantsError) as error:
        return failed(MODULE_FILE, error, REFUSED)
    except Exception as error:  # the submission's, of any kind
        return failed(MODULE_FILE, failure(error, options.model_file), REFUSED)
    return DONE


def _read_hyperparameters(path: Path, profile: LraProfile, *, configurable: bool) -> Hyperparameters:
    source = read_file(path, MAX_SOURCE_BYTES)
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError("not UTF-8") from None
    if not configurable:
        return profile.defaults
    return read_hyperparameters(text, profile.defaults, profile.ranges, profile.max_train_tokens)


def _traced(path: Path, profile: LraProfile, hyperparameters: Hyperparameters, platform: str) -> Bundle:
    from aira_evaluator.lra.fit.tracing import TraceRequest, load_module_class
    from aira_evaluator.lra.fit.tracing import trace as trace_graphs

    contract = CONTRACTS[profile.task]
    try:
        module_class = load_module_class(path, contract.class_name)
        request = TraceRequest(contract, hyperparameters, profile.eval_batch_size, platform)
        return Bundle(platform, hyperparameters, dict(trace_graphs(module_class, request)))
    except SystemExit:
        raise RefusedError("ends the process that imports it") from None
