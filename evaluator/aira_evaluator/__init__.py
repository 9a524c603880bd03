"""The trusted evaluator: what runs in judge and fit containers."""

# Part of every score's cache key: raise it whenever a score could change.
EVALUATOR_VERSION = "2"
