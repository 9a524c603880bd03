"""Submits one architecture. A random start."""

from pathlib import Path

ARCHITECTURE = "mA,M,M,mA,M,mA,mA,M,M,M,mA,M,mA,M,M,mA"

Path("submission.csv").write_text('architecture\n"' + ARCHITECTURE + '"\n', encoding="ascii")
print("submitted", ARCHITECTURE)
