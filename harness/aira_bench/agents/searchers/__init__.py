"""Agents without a model, which search by fitness alone."""
