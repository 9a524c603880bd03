"""Boards built from run folders."""
