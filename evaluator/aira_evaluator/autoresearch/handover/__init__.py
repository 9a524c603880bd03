"""Pickles: a trained model written in the fit container, read in predict containers. The judge may not import this."""
