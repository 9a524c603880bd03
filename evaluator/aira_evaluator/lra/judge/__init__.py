"""Runs in the judge container, beside hidden labels: graphs come in, never the text of a submission."""
