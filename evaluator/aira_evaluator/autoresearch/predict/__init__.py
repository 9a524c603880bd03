"""Runs in predict containers, beside the submitted model: no labels, no text but the windows it is asked about."""
