"""Names and largest sizes of the files that pass between the host and the code inside containers.

Each is written on one side and read on the other; the comments say by whom. Everything that an agent's code can write
is hostile: whoever reads it bounds it first by the size given here.

Not covered: what is in them (`reports`, `claims`, `training_record`, `judge_settings`, and the evaluator for the rest),
and files of run folders, which the host alone has.
"""

# Submissions: left by an agent's solution in its workspace, named to `evaluate.py`.
ARCHITECTURE_FILE = "submission.csv"
MODULE_FILE = "model.py"
SCRIPT_FILE = "train.py"

# Scripts of a task folder, run by the host in containers of their roles.
PREPARE_SCRIPT = "prepare.py"
HIDDEN_SCRIPT = "evaluate_prepare.py"
EVALUATE_SCRIPT = "evaluate.py"
TRACE_SCRIPT = "trace.py"

CLAIM_FILE = "validation.json"
"""By an agent's solution, or by what a submitted script imports: the submission's own number."""
REPORT_FILE = "report.json"
"""By `evaluate.py`, for the host."""

GRAPHS_FILE = "module.graphs"
"""By `trace.py` beside a submitted module, for the host, which gives it to a judge."""
MAX_GRAPHS_BYTES = 160 << 20
JUDGE_FILE = "judge.json"
"""By the host beside the graphs, for the judge."""
PROGRAMS_FILE = "programs.tar"
"""By one judge, for the next judge of the same graphs; kept by the host in between."""
MAX_PROGRAM_BYTES = 60 << 20
"""Of all compiled programs of a module."""
MAX_PROGRAMS_FILE_BYTES = 64 << 20
"""Of their archive, which has room for its own headers."""

COMPANION_FILES = ("prepare.py", "kernels.py")
"""What a submitted script imports: by the preparation into the public data, laid beside the script by the host."""
TRAINING_BEGAN_FILE = "training_began"
"""By the first of them when it deals the first batch; the host reads only when the kernel saw it made."""
MAX_TRAINING_BEGAN_BYTES = 64
HANDOVER_FILE = "handover.bin"
"""By the same when a script hands its model over; read by predict containers alone."""
FIT_FILE = "fit.json"
"""By the host beside the (empty) submission of a script, for the judge."""

LABELLED = "_with_labels"
"""Ends the name of a folder with a hidden split, which `evaluate_prepare.py` writes, as AIRS-Bench's do."""

NOT_FOR_SUBMISSIONS = frozenset(
    {PREPARE_SCRIPT, HIDDEN_SCRIPT, EVALUATE_SCRIPT, TRACE_SCRIPT, CLAIM_FILE, REPORT_FILE, GRAPHS_FILE, JUDGE_FILE,
     PROGRAMS_FILE, *COMPANION_FILES, TRAINING_BEGAN_FILE, HANDOVER_FILE, FIT_FILE}
)  # fmt: skip
"""Names that a task may not give its submission: the file of that name beside it would be lost or taken for it."""
