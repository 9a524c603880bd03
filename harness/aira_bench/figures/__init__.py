"""Figures and tables of the paper, drawn from any runs: SVG, PDF, LaTeX, and the values of each as CSV.

Internal. Needs the extra `aira-bench[figures]`.
"""
