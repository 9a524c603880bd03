"""Trains and scores a module given as graphs, on whatever data it is passed: the judge's hidden, an agent's public."""
