"""The synthetic tasks of MAD: drawing them, training an architecture on them, accuracy on held-out splits."""
