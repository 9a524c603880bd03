"""Boards built from run folders. Internal."""
