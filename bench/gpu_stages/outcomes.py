"""A pytest plugin that writes each outcome down as it comes, one JSON line each: a suite that is killed has told it.

python -m pytest -p gpu_stages.outcomes        # with OUTCOMES_FILE in the environment
"""

import json
import os
from pathlib import Path

import pytest

OUTCOMES_VARIABLE = "OUTCOMES_FILE"
"""Where the lines go."""


def pytest_configure(config: pytest.Config) -> None:
    """Write where the session is led, not in the workers that it starts."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Writer(Path(os.environ[OUTCOMES_VARIABLE])))


class _Writer:
    def __init__(self, path: Path) -> None:
        self._path = path
        path.write_text("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            line = {"test": report.nodeid, "outcome": report.outcome, "seconds": round(report.duration, 2)}
            if report.outcome == "failed":
                line["said"] = report.longreprtext[-1500:]
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
