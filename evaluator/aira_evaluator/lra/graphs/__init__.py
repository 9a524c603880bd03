"""Graphs of a submission as data: read by allow-list, counted, run and derived operation by operation."""
