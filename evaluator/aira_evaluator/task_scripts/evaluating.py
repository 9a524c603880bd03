"""The body of every `evaluate.py`: the command line, what a failure means, the printed result and the report.

Command line, printed result and exit statuses are those of AIRS-Bench, besides `--report-file` and what a family of
tasks adds. Nothing heavy is imported here.

Exit statuses: 0 a score was printed, 1 a failure of the evaluation (folders, data, settings), 2 a wrong command line or
a submission without a valid score. Not covered: how a score is made (the families' `judge` folders), and the scripts
that prepare data (`preparing`).
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from aira_contract.compatibility import EVALUATORS
from aira_contract.invocation import DONE, REFUSED, REPORT_OPTION, SUBMISSION_OPTION
from aira_contract.reports import REPORT_SCHEMA, score_block
from aira_contract.training_series import Series
from aira_evaluator.split_manifest import DataError
from aira_evaluator.task_scripts.failing import failed


@dataclass(frozen=True)
class PathOption:
    """A path on the command line of one family's `evaluate.py`."""

    flag: str
    default: Path | None
    help: str


@dataclass(frozen=True)
class EvaluationRequest:
    """What one call of `evaluate.py` asks for."""

    submission: Path
    paths: Mapping[str, Path | None]
    """Values of the family's own options, by flag."""
    started_s: float
    """When the evaluation began, by `time.monotonic`."""
    data: Path = Path("data")
    """Public train data and hidden splits, in the folder the script was started in."""


@dataclass(frozen=True)
class EvaluationResult:
    """What an evaluation found; the report and the printed result are made of it."""

    validation: float
    test: float
    seed_set: str
    details: Mapping[str, object]
    """Figures behind the scores, for people; plain values."""
    canonical: str | None = None
    """The submission in the one form that all spellings of it share, where the family has such a form."""
    public: float | None = None
    """On the public validation rows, which agents can claim a number on; None where there are none."""
    series: Series = field(default=(), kw_only=True)
    """How the training of the scores went; empty where this family trains nothing itself."""
    more: Mapping[str, object] = field(default_factory=dict)
    """Entries of the report that only this family has, such as flags."""

    def report(self, version: int, seconds: float) -> dict[str, object]:
        """Return the report as the host reads it.

        Args:
            version: of the evaluator (`aira_contract.compatibility`).
            seconds: what the evaluation took.
        """
        return {
            "schema": REPORT_SCHEMA,
            **({} if self.canonical is None else {"canonical": self.canonical}),
            "validation": self.validation,
            "test": self.test,
            "public": self.public,
            **self.more,
            **({"series": self.series} if self.series else {}),
            "details": self.details,
            "evaluator_version": str(version),
            "seed_set": self.seed_set,
            "seconds": round(seconds, 3),
        }


@dataclass(frozen=True)
class EvaluateScript:
    """The `evaluate.py` of one family of tasks: what differs between families, and the body they share."""

    description: str
    metric: str
    """Name under which the test score is printed."""
    submission: str
    """Default of `--submission-file`."""
    refusal: type[Exception]
    """What scoring raises where the submission has no valid score."""
    refused_as: str = "{file}"
    """Begins the line that says why; `{file}` is the name of the submission's file."""
    options: Sequence[PathOption] = ()
    kind: str = field(kw_only=True)
    """Of the submission, as metadata of tasks and `aira_contract.compatibility` name it."""

    def run(
        self, score: Callable[[EvaluationRequest], EvaluationResult], arguments: Sequence[str] | None = None
    ) -> int:
        """Evaluate one submission: score, print the result, and write the report where one is asked for.

        Args:
            score: trains and scores. It may raise the family's `refusal`, DataError and OSError.
            arguments: the command line; None for the process's own.

        Returns:
            The exit status; what failed is one line on standard error.
        """
        options = vars(self._parser().parse_args(arguments))
        submission: Path = options.pop("submission_file")
        report_file: Path | None = options.pop("report_file")
        request = EvaluationRequest(submission, options, time.monotonic())
        try:
            found = score(request)
        except self.refusal as error:
            return failed(self.refused_as.format(file=submission.name), error, REFUSED)
        except (DataError, OSError) as error:
            return failed("evaluate", error)
        report = found.report(EVALUATORS[self.kind], time.monotonic() - request.started_s)
        if report_file is not None:
            report_file.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="ascii")
        print(score_block(self.metric, found.test))
        return DONE

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(description=self.description)
        parser.add_argument(SUBMISSION_OPTION, type=Path, default=Path(self.submission))
        parser.add_argument(REPORT_OPTION, type=Path, default=None, help="also write a JSON report there")
        for option in self.options:
            parser.add_argument(option.flag, dest=option.flag, type=Path, default=option.default, help=option.help)
        return parser
