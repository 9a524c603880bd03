"""Downstream tasks on trained models: which there are, what was found, and how it stands to what is published."""
