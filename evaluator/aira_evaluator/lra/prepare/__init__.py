"""Data of the three tasks: made or read, split, freed of duplicates, stored as flat arrays."""
