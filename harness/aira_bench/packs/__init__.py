"""Packs: runs with their evidence in one file, for other machines. Internal."""
