"""Labelled test data beside a copy of the submission."""

import argparse
import os
import shutil
import sys


def main(global_shared_data_dir, agent_data_mount_dir, agent_log_dir):
    source = os.path.join(global_shared_data_dir, "Example/parity/default/test.csv")
    shutil.copy2(source, os.path.join(agent_data_mount_dir, "test_with_labels.csv"))
    shutil.copy2(os.path.join(agent_log_dir, "submission.csv"), os.path.join(agent_data_mount_dir, "submission.csv"))


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
