"""Submit the pattern stacked: once whole, and then its first layers again, trimmed to the budget."""

from pathlib import Path

STACKED = "SSMSMSMAMSMAMSMA SMSMSMM"

Path("submission.csv").write_text(f"architecture\n{STACKED}\n")
print("submitted", STACKED)
