"""Where things lie inside containers.

The host mounts them; task scripts, the evaluator and agents' solutions find them there. docs/architecture.md says which
container sees which. Not covered: places of the engine and of the programs that the host sends in as text
(`aira_bench.sandbox.inside`), which import nothing of ours.
"""

from pathlib import PurePosixPath

WORKSPACE = PurePosixPath("/workspace")
"""The writable folder and working directory of every container, fresh for each."""
DATA = "data"
"""Folder of the workspace with the task's data: the public half for agents and scripts, the hidden half in judges."""
LOGS = "logs"
"""Folder of the workspace where a preparing script finds the (empty) submission."""
TASK = PurePosixPath("/task")
"""The task folder; agents see its description alone."""
HIDDEN = PurePosixPath("/hidden")
"""The hidden half of the data, in judges alone."""
RAW = PurePosixPath("/raw")
"""Raw data, in preparing containers alone."""
OUTPUT = PurePosixPath("/output")
"""Where a preparing script writes its half of the data."""
SOCKET_VOLUME = PurePosixPath("/sockets")
"""Where a judge leaves its sockets under secret names, and predict containers find them."""
HANDOVER_FOLDER = PurePosixPath("/handover")
"""A handed-over model, in predict containers alone."""
