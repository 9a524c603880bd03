"""Submits one architecture. A random start."""

from pathlib import Path

ARCHITECTURE = "M,M,M,mA,M,mA,M,M,M,M,M,M,mA,M,mA,M"

Path("submission.csv").write_text('architecture\n"' + ARCHITECTURE + '"\n', encoding="ascii")
print("submitted", ARCHITECTURE)
