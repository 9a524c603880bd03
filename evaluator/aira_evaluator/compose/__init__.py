"""AIRA-Compose: data, training and scores of an architecture given as a string, on MAD's tasks and on text.

What prepares data imports no torch, because that happens once for every evaluation and must be quick.
"""
