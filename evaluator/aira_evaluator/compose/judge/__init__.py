"""Runs in the judge container, beside hidden labels: the submission arrives as one bounded string."""
