"""Long Range Arena: modules written in JAX/Flax, trained from scratch and scored on hidden data."""
