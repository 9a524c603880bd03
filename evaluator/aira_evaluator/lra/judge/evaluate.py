"""The scripts of a Long Range Arena task folder that deal with submissions: `trace` and `evaluate`.

`trace` runs in a fit container beside the submitted `model.py` and writes its graphs; `evaluate` runs in the judge,
which gets those graphs and never the text. Command line of `evaluate`, printed result and exit statuses are those of
AIRS-Bench. The profile and the seed set come from the environment (`AIRA_PROFILE`, default `paper`; `AIRA_SEED_SET`,
default `search`). No jax is imported before it is needed.

Exit statuses: 0 done, 1 a failure of the evaluation (folders, data, settings), 2 a wrong command line or a submission
that is refused, with one line that says why.

Not covered: preparing data (`data`).
"""

import argparse
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aira_evaluator import EVALUATOR_VERSION
from aira_evaluator.lra.contract.bundle import (
    BUNDLE_FILE,
    MAX_BUNDLE_BYTES,
    PLATFORMS,
    Bundle,
    RefusedError,
    read_bundle,
    write_bundle,
)
from aira_evaluator.lra.contract.hyperparameters import ConstantsError, Hyperparameters, read_hyperparameters
from aira_evaluator.lra.contract.profiles import PROFILES, LraProfile
from aira_evaluator.lra.contract.splits import SplitManifest, read_split
from aira_evaluator.lra.contract.submission import CONTRACTS, MAX_SOURCE_BYTES, MODULE_FILE, TaskName
from aira_evaluator.lra.fit.failures import failure
from aira_evaluator.lra.judge.programs import carried_programs
from aira_evaluator.split_manifest import DataError

METRIC = "Accuracy"
RESULT_MARKER = "--- EVALUATION RESULT ---"
REPORT_SCHEMA = 1
JUDGE_FILE = "judge.json"
"""Beside the submission, from the host: `{"timeout_s": 300, "memory_mib": 3072}`. May be absent."""
SEED_SETS = ("search", "final")
_FAULTS_OF_GRAPHS = ("INVALID_ARGUMENT", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED")
"""XLA's words for what no other device would do either."""


def trace(task: TaskName, *, configurable: bool, arguments: Sequence[str] | None = None) -> int:
    """Trace `./model.py` and write `./module.graphs`.

    Whatever the submission raises, prints or leaves behind, the worst it can do here is to be refused.
    """
    parser = argparse.ArgumentParser(description="Trace a submitted model.py.")
    parser.add_argument("--model-file", type=Path, default=Path(MODULE_FILE))
    parser.add_argument("--output-file", type=Path, default=Path(BUNDLE_FILE))
    parser.add_argument("--platform", choices=PLATFORMS, default="cpu", help="what the judge will run on")
    options = parser.parse_args(arguments)
    try:
        profile = _profile(task)
        hyperparameters = _read_constants(options.model_file, profile, configurable=configurable)
        bundle = _traced(options.model_file, profile, hyperparameters, options.platform)
        options.output_file.write_bytes(write_bundle(bundle))
    except DataError as error:
        return _failed("trace", error, 1)
    except (RefusedError, ConstantsError) as error:
        return _failed(MODULE_FILE, error, 2)
    except Exception as error:  # the submission's, of any kind
        return _failed(MODULE_FILE, failure(error, options.model_file), 2)
    return 0


def evaluate(task: TaskName, *, configurable: bool, arguments: Sequence[str] | None = None) -> int:
    """Train the traced module once, print its test score, and report both hidden scores.

    Reads `./data/train` and, of the seed set in force, `./data/validation_with_labels` and `./data/test_with_labels`.
    """
    parser = argparse.ArgumentParser(description="Train and score a traced model.py.")
    parser.add_argument("--submission-file", type=Path, default=Path(BUNDLE_FILE))
    parser.add_argument("--report-file", type=Path, default=None, help="also write a JSON report there")
    parser.add_argument("--programs-file", type=Path, default=None, help="compiled programs, read if there and left")
    options = parser.parse_args(arguments)
    started_s = time.monotonic()
    try:
        profile = _profile(task)
        data = _read_file(options.submission_file, MAX_BUNDLE_BYTES)
        bundle = read_bundle(data, profile, configurable=configurable)
        with carried_programs(options.programs_file):
            report = _scored(bundle, profile, Path("data"), options.submission_file.parent / JUDGE_FILE, started_s)
    except RefusedError as error:
        return _failed(MODULE_FILE, error, 2)
    except (DataError, OSError) as error:
        return _failed("evaluate", error, 1)
    report["seconds"] = round(time.monotonic() - started_s, 3)
    if options.report_file is not None:
        options.report_file.write_text(json.dumps(report, indent=2) + "\n", encoding="ascii")
    print(RESULT_MARKER)
    print(json.dumps({METRIC: report["test"]}, indent=2))
    return 0


def _read_constants(path: Path, profile: LraProfile, *, configurable: bool) -> Hyperparameters:
    source = _read_file(path, MAX_SOURCE_BYTES)
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


def _scored(bundle: Bundle, profile: LraProfile, data: Path, judge_file: Path, started_s: float) -> dict[str, object]:
    seed_set = os.environ.get("AIRA_SEED_SET", "search")
    if seed_set not in SEED_SETS:
        raise DataError(f"AIRA_SEED_SET is {seed_set!r}, expected one of {', '.join(SEED_SETS)}")
    train, _ = read_split(data / "train")
    validation, _ = read_split(data / "validation_with_labels" / seed_set)
    test, manifest = read_split(data / "test_with_labels" / seed_set)
    seed = _training_seed(manifest, profile)

    import jax

    from aira_evaluator.lra.training.limits import JudgeLimits
    from aira_evaluator.lra.training.module_score import Splits, score_module

    here = "cpu" if jax.default_backend() == "cpu" else "cuda"
    if here != bundle.platform:
        raise RefusedError(f"the module was traced for {bundle.platform}, and this judge runs on {here}")

    asked = json.loads(judge_file.read_text()) if judge_file.exists() else {}
    draw_secret = bytes.fromhex(asked.pop("draw_secret", ""))
    try:
        score = score_module(
            bundle, profile, Splits(train, validation, test), seed=seed, limits=JudgeLimits(**asked),
            started_s=started_s, note=_note(), draw_secret=draw_secret, synthetic=manifest.source == "synthetic",
            controls=seed_set == "final",
        )  # fmt: skip
    except jax.errors.JaxRuntimeError as error:
        kind, _, told = str(error).partition(":")
        if here != "cpu" and kind not in _FAULTS_OF_GRAPHS:
            raise  # a device may fail by itself
        raise RefusedError(f"the compiler does not take its graphs: {kind}: {told.strip()[:200]}") from None
    return {
        "schema": REPORT_SCHEMA,
        "canonical": score.canonical,
        "validation": score.validation,
        "test": score.test,
        "flags": score.flags,
        "unranked": score.unranked,
        "remarks": score.remarks,
        "details": score.details,
        "evaluator_version": EVALUATOR_VERSION,
        "seed_set": seed_set,
    }


def _training_seed(manifest: SplitManifest, profile: LraProfile) -> int:
    if (manifest.profile, manifest.task) != (profile.name, profile.task):
        raise DataError(
            f"the data is of {manifest.task} in profile {manifest.profile}, expected {profile.task} in {profile.name}"
        )
    if manifest.training_seed is None:
        raise DataError("the hidden test split names no training seed; run evaluate_prepare.py again")
    return manifest.training_seed


def _note() -> Callable[[str], None]:
    return lambda text: print(text, flush=True)


def _profile(task: TaskName) -> LraProfile:
    name = os.environ.get("AIRA_PROFILE", "paper")
    if (name, task) not in PROFILES:
        raise DataError(f"AIRA_PROFILE is {name!r}, expected one of {', '.join(sorted({n for n, _ in PROFILES}))}")
    return PROFILES[name, task]


def _read_file(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise RefusedError(f"{path.name} is not a regular file")
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise RefusedError(f"{path.name} cannot be read: {error.strerror}") from None
    if len(data) > max_bytes:
        raise RefusedError(f"{path.name} is larger than {max_bytes:,} bytes")
    return data


def _failed(subject: str, error: object, status: int) -> int:
    """Print one line: the last words of a traced module may be pages."""
    text = " ".join(str(error).split())
    print(f"{subject}: {text[:500]}", file=sys.stderr)
    return status
