"""Modules to start from: a reference Transformer and five efficient mechanisms, each a whole `model.py`.

A `model.py` stands alone, so it is put together from the sources in `parts` (`compose`). Public: agents may read all.
"""
