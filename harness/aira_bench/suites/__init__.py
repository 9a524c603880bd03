"""Suites: agents by tasks by seeds as one whole, from a file. Internal."""
