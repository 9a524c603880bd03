"""Recomputes the published tables that follow from formulas, and says cell by cell whether they hold. Internal."""
