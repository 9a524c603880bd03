"""From searched 16-layer patterns to full-size models: notation, arithmetic, aggregation and extrapolation.

Internal.
"""
