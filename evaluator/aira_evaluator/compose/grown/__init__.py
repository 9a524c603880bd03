"""Patterns as full-size models have them, trained at toy widths on text: what two tasks of our own are scored by.

Blocks are those of the full-size models (grouped attention, SwiGLU, Mamba-2), not those of the small-scale tasks.
"""
