"""Figures and tables of the paper, drawn from any runs: SVG, PDF, LaTeX, and the values of each as CSV.

Needs the extra `aira-bench[figures]`. Internal.
"""
