"""Sources that a `model.py` is put together from; each imports only jax and flax besides other parts.

Shapes: B sequences, L positions, D width, H heads, E width of a head. A mixer maps `x` (B, L, D) to (B, L, D); `mask`
(B, L) is True where there is a token. What a mixer returns behind the last token is never used.
"""
