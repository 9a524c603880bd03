"""From losses of trained models to compute-optimal frontiers, and what they can be told to show. Internal."""
