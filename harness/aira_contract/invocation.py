"""Command lines and exit statuses of the programs that the host starts in containers.

The host writes the arguments, and the names of modules into solutions of its own agents; task scripts and programs of
the evaluator read them. Those of task scripts are
AIRS-Bench's, so folders in the upstream layout take them too, but for `REPORT_OPTION`, `PROGRAMS_OPTION` and
`PLATFORM_OPTION`, which only tasks of ours are given. Not covered: the code of agents, which gets no arguments.
"""

DONE, FAILED, REFUSED = 0, 1, 2
"""Exit statuses of task scripts: done; a failure of the script, its data or its settings; a submission (or a command
line) that cannot be scored, with one line on standard error that says why."""

SUBMISSION_OPTION = "--submission-file"
REPORT_OPTION = "--report-file"
PROGRAMS_OPTION = "--programs-file"
PLATFORM_OPTION = "--platform"
CPU, CUDA = "cpu", "cuda"
PLATFORMS = (CPU, CUDA)
"""What a judge runs on, and so what a module is traced for."""

RAW_OPTION = "--global-shared-data-dir"
MOUNT_OPTION = "--agent-data-mount-dir"
LOGS_OPTION = "--agent-log-dir"

RESIDENT_PROGRAM = "aira_evaluator.compose.judge.resident"
"""The judge that stays, started with `python3 -m`."""
SCRIPT_OPTION = "--script"
HIDDEN_OPTION = "--hidden"

ARCHITECTURE_VALIDATION = "aira_evaluator.compose.validate"
MODULE_VALIDATION = "aira_evaluator.lra.validate"
SCRIPT_VALIDATION = "aira_evaluator.autoresearch.validate"
"""What solutions import, and descriptions of tasks name, to score themselves on public data: their function `main`."""
MODULE_WRITER = "aira_evaluator.lra.baselines.compose"
"""What solutions import to make a `model.py` of a genome: its function `write_model`."""

SERVING_PROGRAM = "aira_evaluator.autoresearch.predict.serving"
"""The program of a predict container."""
HANDOVER_OPTION = "--handover"
SOCKET_OPTION = "--socket"
SOCKET_VOLUME_OPTION = "--socket-volume"
"""Of `evaluate.py` where models are served; the host leaves it at its default, `containers.SOCKET_VOLUME`."""
