"""Write what only judges see: the labels, beside a copy of the submission. No agent's code ever meets this data.

    evaluate_prepare.py --global-shared-data-dir RAW --agent-data-mount-dir HIDDEN --agent-log-dir LOGS

HIDDEN becomes `./data` of evaluate.py. The submission in LOGS is empty when aira-bench calls this, once for all
submissions; a judge gets the real one in its place.
"""

import argparse
import csv
import random
import shutil
import sys
from pathlib import Path

from examples import TEST_ROWS, TEST_SEED, draw

PARTS_SEED = 0x51C0FFEE
"""Draws which rows steer a search (validation) and which are the score (test)."""


def main(hidden: Path, logs: Path) -> None:
    """Write the labelled test rows, and copy the submission beside them."""
    rng = random.Random(PARTS_SEED)
    with (hidden / "test_with_labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label", "part"])
        for text, label in draw(TEST_SEED, TEST_ROWS):
            writer.writerow([text, label, rng.choice(["validation", "test"])])
    shutil.copy2(logs / "submission.csv", hidden / "submission.csv")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--global-shared-data-dir", type=Path, required=True)
    parser.add_argument("--agent-data-mount-dir", type=Path, required=True)
    parser.add_argument("--agent-log-dir", type=Path, required=True)
    args = parser.parse_args()
    for folder in (args.global_shared_data_dir, args.agent_data_mount_dir, args.agent_log_dir):
        if not folder.is_dir():
            sys.exit(f"Error: Directory not found: {folder}")
    main(args.agent_data_mount_dir, args.agent_log_dir)
