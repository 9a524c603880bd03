"""AIRA-Compose on MAD: data, training and scores of an architecture given as a string.

The data side (`synthetic`, `recall`, `copying`, `splits`, `profiles`, `commands` up to the scoring) imports
no torch, because preparing data happens once for every evaluation and must be quick.
"""
