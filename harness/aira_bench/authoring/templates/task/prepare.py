"""Write what agents may see, in the container of preparation, without network.

    prepare.py --global-shared-data-dir RAW --agent-data-mount-dir PUBLIC [--agent-log-dir LOGS]

RAW is read-only and holds raw data: files of `aira.sources` under their names, or `<dataset>/<config>` below the folder
of --source. PUBLIC is empty; what is written there is `./data` of every solution. Exit status 0 says it is whole.
"""

import argparse
import csv
import sys
from pathlib import Path

from examples import TEST_ROWS, TEST_SEED, TRAIN_ROWS, TRAIN_SEED, draw


def main(public: Path) -> None:
    """Write train data with labels and test data without."""
    train = [{"text": text, "label": label} for text, label in draw(TRAIN_SEED, TRAIN_ROWS)]
    write_rows(public / "train.csv", ["text", "label"], train)
    # Not even in another order: whatever lies here is public.
    write_rows(public / "test.csv", ["text"], [{"text": text} for text, _ in draw(TEST_SEED, TEST_ROWS)])


def write_rows(path: Path, columns: list[str], rows: list[dict[str, object]]) -> None:
    """Write a CSV file with a header."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--global-shared-data-dir", type=Path, required=True)
    parser.add_argument("--agent-data-mount-dir", type=Path, required=True)
    parser.add_argument("--agent-log-dir", type=Path)
    args = parser.parse_args()
    for folder in (args.global_shared_data_dir, args.agent_data_mount_dir, args.agent_log_dir):
        if folder is not None and not folder.is_dir():
            sys.exit(f"Error: Directory not found: {folder}")
    main(args.agent_data_mount_dir)
