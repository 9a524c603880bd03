"""Public data: train with labels, test without."""

import argparse
import csv
import os
import sys


def main(global_shared_data_dir, agent_data_mount_dir, agent_log_dir):
    source = os.path.join(global_shared_data_dir, "Example/parity/default")
    for split in ("train", "test"):
        with open(os.path.join(source, f"{split}.csv"), newline="") as stream:
            rows = list(csv.DictReader(stream))
        columns = ["bits", "label"] if split == "train" else ["bits"]
        with open(os.path.join(agent_data_mount_dir, f"{split}.csv"), "w", newline="") as stream:
            writer = csv.DictWriter(stream, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--global-shared-data-dir", required=True)
    parser.add_argument("--agent-data-mount-dir", required=True)
    parser.add_argument("--agent-log-dir")
    args = parser.parse_args()
    for path in (args.global_shared_data_dir, args.agent_data_mount_dir, args.agent_log_dir):
        if path is not None and not os.path.isdir(path):
            print(f"Error: Directory not found: {path}", file=sys.stderr)
            sys.exit(1)
    main(args.global_shared_data_dir, args.agent_data_mount_dir, args.agent_log_dir)
