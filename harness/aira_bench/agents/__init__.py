"""Agents: whatever proposes a `solution.py` when the scaffold asks for one. Internal."""
