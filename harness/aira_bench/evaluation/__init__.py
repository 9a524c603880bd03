"""Trusted evaluation: judge containers, their verdicts, and the cache of scores. Internal."""
